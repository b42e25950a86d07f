"""Trainings in several processes beside each other, and what Ctrl-C and SIGTERM do to them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from types import FrameType
from typing import Any

import torch

from train.base.errors import TrainingError, UsageError
from train.base.interrupt import StopSignals


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, within :class:`stoppable`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class stoppable(StopSignals):
    """Within, the first SIGINT or SIGTERM raises :class:`Stopped`; the second acts at once."""

    def _receive(self, number: int, frame: FrameType | None) -> None:
        super()._receive(number, frame)
        raise Stopped(number)


def attempt(do: Callable[..., Any], *call: Any) -> Any:
    """What ``do`` returns for these arguments, or the error by which it says that this cannot be trained."""
    try:
        return do(*call)
    except (TrainingError, UsageError) as error:
        return error


def in_processes(jobs: int, do: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
    """Indices of ``calls``, the arguments of ``do``, and what :func:`attempt` gives, as they end; ``jobs`` at a time.

    A single job runs here; several run in processes that share the CPU threads. These end with this iterator: when
    :class:`Stopped` or any other error ends it early, calls are cut off where they are. TrainingError if one is killed.
    """
    jobs = min(jobs, len(calls))
    if jobs < 2:
        for index, call in enumerate(calls):
            yield index, attempt(do, *call)
        return
    others, threads = set(active_children()), max(1, torch.get_num_threads() // jobs)
    # Not forked: OpenMP's threads do not survive that.
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_begin, initargs=(threads,)) as pool:
        try:
            index_of = {pool.submit(attempt, do, *call): index for index, call in enumerate(calls)}
            for future in as_completed(index_of):
                yield index_of[future], future.result()
        except BrokenProcessPool:
            reason = "a process was killed, perhaps for want of memory; the same command trains what is missing"
            raise TrainingError(reason) from None
        except BaseException:
            for process in set(active_children()) - others:
                process.terminate()  # the pool waits for them, and forgets what is not begun
            raise


def _begin(threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes; the first one ends the others
    torch.set_num_threads(threads)
