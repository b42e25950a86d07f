"""A pytest plugin (``-p benchmarks.on_gpu.plugin``): which tests run on a GPU, and their outcomes as they come."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--on", metavar="DEVICE", help="run the tests of that device alone")
    parser.addoption("--share", metavar="I/N", help="run one of N shares of the tests, in processes of their own")
    parser.addoption("--report", metavar="FILE", type=Path, help="add a line of JSON for each test that has ended")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--report")
    if path and not hasattr(config, "workerinput"):  # xdist's workers tell its controller
        config.pluginmanager.register(Report(path))


def is_on(item: pytest.Item, device: str) -> bool:
    """Whether a test's tensors are made there: it is one of several for devices, or for a GPU alone."""
    if item.get_closest_marker("gpu"):
        return device == "cuda"
    return hasattr(item, "callspec") and item.callspec.params.get("device") == device


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    device, share = config.getoption("--on"), config.getoption("--share")
    if device:
        items[:] = [item for item in items if is_on(item, device)]
    if share:
        mine, shares = map(int, share.split("/"))
        items[:] = items[mine::shares]


class Report:
    """Writes lines like ``{"id": …, "outcome": "passed", "seconds": 0.1}`` and, once, ``{"collected": 200}``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, **line: object) -> None:
        with self.path.open("a") as file:  # several processes may add to it
            file.write(json.dumps(line) + "\n")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.items:
            self.write(collected=len(session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: object, ids: list[str]) -> None:
        if node.gateway.id == "gw0":  # all of them collect the same
            self.write(collected=len(ids))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.write(id=report.nodeid, outcome="failed", seconds=0.0, message=_last_line(report.longreprtext))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            line = {"id": report.nodeid, "outcome": report.outcome, "seconds": round(report.duration, 3)}
            if report.skipped:
                line["message"] = str(report.longrepr[2]).removeprefix("Skipped: ")
            elif report.failed:
                crash = getattr(report.longrepr, "reprcrash", None)
                line["message"] = _first_line(crash.message) if crash else _last_line(report.longreprtext)
            self.write(**line)


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")[:300]


def _last_line(text: str) -> str:
    return next(reversed(text.strip().splitlines()), "")[:300]
