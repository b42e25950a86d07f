"""Processes beside each other: what they return, and how they end."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path

import pytest

from train.base.errors import TrainingError
from train.studies.processes import in_processes


def test_each_call_gives_what_it_returns_under_its_index() -> None:
    assert dict(in_processes(2, math.gcd, [(4, 6), (9, 6), (7, 7)])) == {0: 2, 1: 3, 2: 7}
    assert not active_children()


def test_each_process_is_prepared(tmp_path: Path) -> None:
    assert dict(in_processes(1, os.getcwd, [()], prepare=os.chdir, given=(tmp_path,))) == {0: str(tmp_path)}


def test_an_error_of_a_call_ends_all() -> None:
    with pytest.raises(ValueError, match="math domain"):
        list(in_processes(2, math.sqrt, [(-1,), *[(1,)] * 50]))
    assert not active_children()


def test_a_process_that_is_killed_ends_all_with_an_error() -> None:
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(TrainingError, match="a process was killed"):
        list(in_processes(2, exec, [(kill,), ("import time; time.sleep(600)",)]))
    assert not active_children()


@pytest.fixture
def heeding_ctrl_c() -> Iterator[None]:
    """Also where the tests run in the background of a shell, which has them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeding_ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_with_calls_cut_off(number: int, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    slow = f"import time; open({str(tmp_path / 'begun')!r}, 'w'); time.sleep(20); open({str(tmp_path / 'end')!r}, 'w')"
    wait = f"import os, time\nwhile not os.path.exists({str(tmp_path / 'begun')!r}): time.sleep(0.01)"
    results = in_processes(2, exec, [(wait,), (slow,)])
    assert next(results) == (0, None)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
        next(results)
    results.close()
    assert not active_children()
    assert [path.name for path in tmp_path.iterdir()] == ["begun"]
    assert signal.getsignal(signal.SIGTERM) == before
