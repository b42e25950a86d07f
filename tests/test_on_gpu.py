"""What make gpu-test makes of the reports of its processes and of compute-sanitizer."""

from __future__ import annotations

import importlib.util
import os
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

REPORT = """<testsuites><testsuite name="pytest">
<testcase classname="tests.ops.test_a" name="test_one"/>
<testcase classname="tests.ops.test_a" name="test_two"><failure message="assert 1 == 2&#10;more"/></testcase>
<testcase classname="tests.ops.test_a" name="test_three"><skipped message="not an op of feature maps"/></testcase>
<testcase classname="tests.train" name="test_four"><error message="no fixture">trace</error></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def on_gpu() -> ModuleType:
    spec = importlib.util.spec_from_file_location("on_gpu", Path(__file__).parent / "on_gpu.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_report_is_counted_and_its_failures_named(on_gpu: ModuleType) -> None:
    counts, failures, reasons = Counter(), [], Counter()
    on_gpu.read_report(ElementTree.fromstring(REPORT), counts, failures, reasons)
    assert counts == {"passed": 1, "failed": 2, "skipped": 1}
    assert failures == [
        "FAILED tests.ops.test_a::test_two: assert 1 == 2",
        "FAILED tests.train::test_four: no fixture",
    ]
    assert reasons == {"not an op of feature maps": 1}


def test_shares_hold_every_test_once(on_gpu: ModuleType, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(on_gpu.machine, "usable_cores", lambda: 2 * on_gpu.THREADS)
    these = ["tests/ops/test_pixel_norm.py", "tests/ops/test_fade_in.py", "-k", "by_hand and cpu"]
    counts, failures = on_gpu.run_tests(these, until=time.time() + 300, log=tmp_path / "log")
    assert (counts, failures) == ({"passed": 2, "failed": 0, "skipped": 0}, [])
    assert (tmp_path / "log").read_text().count("1 passed") == 2


def test_a_share_that_does_not_end_in_time_is_a_failure(on_gpu: ModuleType, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(on_gpu.machine, "usable_cores", lambda: on_gpu.THREADS)
    counts, failures = on_gpu.run_tests(["tests/ops"], until=time.time(), log=tmp_path / "log")
    assert counts["failed"] == 1 and "did not end" in failures[0]


@pytest.mark.parametrize(
    ("code", "output", "verdict"),
    [
        (0, "========= ERROR SUMMARY: 0 errors\n", "clean"),
        (9, "========= Invalid __global__ read\n========= ERROR SUMMARY: 3 errors\n", "3 errors"),
        (9, "========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)\n", "1 hazard displayed"),
        (1, "Device not supported", "not run, compute-sanitizer does not support"),
        (1, "Unknown option", "failed with exit code 1"),
        (None, "", "not run, no time"),
        (None, "========= Invalid __global__ read of size 4", "errors, then no time"),
    ],
)
def test_the_verdict_is_the_tool_s(
    on_gpu: ModuleType, monkeypatch, code: int | None, output: str, verdict: str
) -> None:
    monkeypatch.setattr(on_gpu.shutil, "which", lambda _: "/bin/tool")
    monkeypatch.setattr(on_gpu, "run", lambda *_: (code, output))
    assert on_gpu.sanitize("memcheck", float("inf")).startswith(verdict)


def test_a_command_that_takes_too_long_ends_with_all_that_it_started(on_gpu: ModuleType, tmp_path: Path) -> None:
    program = f"echo begun; (sleep 2; touch {tmp_path}/later) & wait"
    code, output = on_gpu.run(["sh", "-c", program], dict(os.environ), until=time.time() + 0.5)
    assert (code, output) == (None, "begun\n")
    time.sleep(2)
    assert not (tmp_path / "later").exists()


def test_a_missing_tool_is_said(on_gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_gpu.shutil, "which", lambda _: None)
    assert "not installed" in on_gpu.sanitize("memcheck", float("inf"))


def test_the_result_goes_beside_the_benchmarks(on_gpu: ModuleType, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(on_gpu.machine, "hardware", lambda: {"gpu": "NVIDIA Nonesuch"})
    path = on_gpu.keep({"passed": 3, "failed": 0, "skipped": 1, "sanitizer": {}}, tmp_path)
    assert path == tmp_path / "nonesuch.json" and '"passed": 3' in path.read_text()
