"""A run keeps what it has measured, and ends in time."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from benchmarks.keeping import Keeper

MEASURED = {"params": {}, "subject": "ours", "seconds": {"ours": [1.0]}, "units": {}, "memory": {}}


def run(keeper: Keeper, name: str, takes: float = 0.0, fails: bool = False) -> None:
    """What pytest does with a benchmark."""
    item = SimpleNamespace(
        name=name,
        nodeid=f"benchmarks/test_{name}.py::test_{name}",
        funcargs={"benchmark": SimpleNamespace(extra_info=MEASURED)},
    )
    keeper.pytest_runtest_setup(item)
    call = keeper.pytest_runtest_call(item)
    next(call)
    time.sleep(takes)
    if fails:
        with pytest.raises(AssertionError):
            call.throw(AssertionError())
    else:
        next(call, None)


def test_every_result_is_kept_at_once() -> None:
    kept = []
    keeper = Keeper(lambda rows: kept.append([row["name"] for row in rows]))
    run(keeper, "one")
    run(keeper, "broken", fails=True)
    run(keeper, "two")
    assert kept == [["one"], ["one", "two"]]


def test_nothing_begins_when_time_is_up() -> None:
    keeper = Keeper(lambda rows: None, until=time.time() - 1)
    with pytest.raises(pytest.skip.Exception, match="no time is left"):
        run(keeper, "late")
    assert keeper.left_out == ["late"] and not keeper.rows


def test_nothing_begins_that_would_end_too_late() -> None:
    keeper = Keeper(lambda rows: None, until=time.time() + 0.15)
    run(keeper, "long", takes=0.1)
    with pytest.raises(pytest.skip.Exception):
        run(keeper, "as long")
    assert [row["name"] for row in keeper.rows] == ["long"]
