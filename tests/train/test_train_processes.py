"""Processes beside each other: what they return, and how they end."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch

from train.base.errors import TrainingError, UsageError
from train.studies.processes import Stopped, attempt, in_processes, stoppable


@pytest.mark.parametrize("jobs", [1, 2])
def test_each_call_gives_what_it_returns_under_its_index(jobs: int) -> None:
    assert dict(in_processes(jobs, math.gcd, [(4, 6), (9, 6), (7, 7)])) == {0: 2, 1: 3, 2: 7}
    assert not active_children()


def test_processes_share_the_threads() -> None:
    threads = [share for _, share in in_processes(2, torch.get_num_threads, [(), ()])]
    assert threads == 2 * [max(1, torch.get_num_threads() // 2)]


@pytest.mark.parametrize("error", [TrainingError("diverged"), UsageError("lr=0")])
def test_what_cannot_be_trained_is_given_as_an_error(error: Exception) -> None:
    def fail() -> None:
        raise error

    assert attempt(fail) is error
    assert list(in_processes(1, fail, [()])) == [(0, error)]


def test_another_error_of_a_call_ends_all() -> None:
    with pytest.raises(ValueError, match="math domain"):
        list(in_processes(2, math.sqrt, [(-1,), *[(1,)] * 50]))
    assert not active_children()


def test_a_process_that_is_killed_ends_all_with_an_error() -> None:
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(TrainingError, match="a process was killed"):
        list(in_processes(2, exec, [(kill,), ("import time; time.sleep(60)",)]))
    assert not active_children()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_with_calls_cut_off(number: int, tmp_path: Path) -> None:
    before = [signal.getsignal(either) for either in (signal.SIGTERM, signal.SIGINT)]
    begun, end = tmp_path / "begun", tmp_path / "end"
    slow = f"import time; open({str(begun)!r}, 'w'); time.sleep(20); open({str(end)!r}, 'w')"

    def interrupt() -> None:
        while not begun.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(Stopped) as stop, stoppable():
        list(in_processes(2, exec, [(slow,), (slow,)]))
    assert stop.value.number == number
    assert not active_children() and not end.exists()
    assert [signal.getsignal(either) for either in (signal.SIGTERM, signal.SIGINT)] == before
