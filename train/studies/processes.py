"""Trainings in several processes beside each other."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from typing import Any

from train.base.errors import TrainingError


def in_processes(
    jobs: int,
    do: Callable[..., Any],
    calls: Sequence[tuple[Any, ...]],
    *,
    prepare: Callable[..., None] | None = None,
    given: tuple[Any, ...] = (),
) -> Iterator[tuple[int, Any]]:
    """Indices of ``calls``, the arguments of ``do``, and what it returned, as they end; ``jobs`` of them at a time.

    Each process begins with ``prepare(*given)``. All end with this iterator: when Ctrl-C or SIGTERM, which is a
    KeyboardInterrupt meanwhile, or any other error ends it early, calls are cut off where they are.

    Raises:
        TrainingError: if one of the processes is killed.
    """
    others = set(active_children())
    # Not forked: OpenMP's threads do not survive that.
    with (
        _sigterm_as_interrupt(),
        ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_begin, initargs=(prepare, given)) as pool,
    ):
        try:
            index_of = {pool.submit(do, *call): index for index, call in enumerate(calls)}
            for future in as_completed(index_of):
                yield index_of[future], future.result()
        except BrokenProcessPool:
            reason = "a process was killed, perhaps for want of memory; the same command trains what is missing"
            raise TrainingError(reason) from None
        except BaseException:
            for process in set(active_children()) - others:
                process.terminate()  # the pool waits for them, and forgets what is not begun
            raise


def _begin(prepare: Callable[..., None] | None, given: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes; the first one ends the others
    if prepare is not None:
        prepare(*given)


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """So that the other processes end with this one."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
