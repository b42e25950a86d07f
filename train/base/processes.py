"""The processes of one run, as torchrun starts them: which of them this is, and what they tell one another.

Without torchrun a run has one process, and nothing here does anything. The first process (rank 0) alone writes files
and prints.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from train.base.errors import OtherFailed, TrainingError, UsageError, exit_code, is_out_of_memory

T = TypeVar("T")

LONGEST_WAIT = datetime.timedelta(hours=2)
"""For another process, which may be measuring or writing; one that ends is noticed at once."""
_TIME_TO_SAY_WHY = datetime.timedelta(seconds=30)
_SECONDS_TO_END = 2.0
"""Within which a process whose connections are closed has left the system's table too."""

_SECONDS_AWAKE = 0.1
"""For which a process that waits for others on its machine keeps its core."""
_SECONDS_BETWEEN_LOOKS = 0.2
"""At whether they live."""

_joined: list[tuple[str, int]] = []  # host and process id of each, by rank
_kept: dict[type, Any] = {}


class ProcessLost(TrainingError):
    """Another process has ended, and this one cannot go on without it."""


def size() -> int:
    """How many processes the run has."""
    return dist.get_world_size() if _joined else 1


def rank() -> int:
    """Which of them this is, from 0 on."""
    return dist.get_rank() if _joined else 0


def is_first() -> bool:
    """Whether this is the one that writes files and prints."""
    return rank() == 0


def local_rank() -> int:
    """Which of those on this machine this is, from 0 on."""
    return int(os.environ["LOCAL_RANK"]) if _joined else 0


def on_this_machine() -> int:
    """How many processes of the run share this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if _joined else 1


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Within, this process is one of those that torchrun has started; all but the first are silent."""
    told = os.environ.keys() >= {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    if not told or os.environ["WORLD_SIZE"] == "1":
        yield
        return
    # Objects and tensors on the CPU go by gloo, tensors on GPUs by NCCL.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=LONGEST_WAIT)
    _joined.append(("", 0))  # the group can be asked from here on
    try:
        _joined[:] = exchange((socket.gethostname(), os.getpid()))
        with contextlib.ExitStack() as silence:
            if not is_first():
                nowhere = silence.enter_context(open(os.devnull, "w"))
                silence.enter_context(contextlib.redirect_stdout(nowhere))
                silence.enter_context(contextlib.redirect_stderr(nowhere))
            yield
        exchange(None)  # they end together: torchrun ends all once one has ended with an error code
        dist.destroy_process_group()  # not after an error: it would wait for processes that have ended
    except OtherFailed:
        # For the same reason the one that failed must end first: else it might not come to say why.
        with contextlib.suppress(RuntimeError):
            dist.all_reduce(torch.zeros(()), async_op=True).wait(_TIME_TO_SAY_WHY)
        raise
    finally:
        _joined.clear()
        _kept.clear()


def kept(kind: type[T]) -> T:
    """The one object of this kind that lives for as long as the processes are joined; made when first asked for."""
    if kind not in _kept:
        _kept[kind] = kind()
    return _kept[kind]


def share_of(batch: int, where: str = "") -> int:
    """How many of a batch are this process's; UsageError if not all can have as many."""
    if batch % size():
        raise UsageError(f"batch={batch}{where} cannot be divided among {size()} processes equally")
    return batch // size()


def share_named(batch: int) -> str:
    """A process's share of a batch in words: ``"batch of 8"``, ``"share of 4 that each of 2 processes has"``."""
    return f"batch of {batch}" if size() == 1 else f"share of {batch // size()} that each of {size()} processes has"


def exchange(value: T) -> list[T]:
    """What all processes give, by rank; plain values and tensors on the CPU.

    Raises:
        OtherFailed: another gave an error in :func:`agreeing` instead.
        ProcessLost: another has ended.
    """
    if size() == 1:
        return [value]
    errors, values = _gather(None, value)
    if failed := [code for code in errors if code is not None]:
        raise OtherFailed(failed[0])
    return values


def from_first(make: Callable[[], T]) -> T:
    """What ``make`` gives in the first process, which alone calls it."""
    return exchange(make() if is_first() else None)[0]


def check_same(values: Mapping[str, Any]) -> None:
    """UsageError where one of these is not the same in all processes, such as an option of one machine's command."""
    first, *others = exchange(dict(values))
    for number, theirs in enumerate(others, 1):
        for name in first:
            if theirs[name] != first[name]:
                both = f"{first[name]!r} in process 0 and {theirs[name]!r} in process {number}"
                raise UsageError(f"{name} is {both}: all processes need the same")


@contextlib.contextmanager
def agreeing() -> Iterator[None]:
    """Around what may fail in one process alone: then it fails in all of them, wherever they are within.

    Raises:
        OtherFailed: another process failed, and the first of those that did says why.
    """
    try:
        yield
    except (OtherFailed, ProcessLost):
        raise
    except Exception as error:
        if size() > 1:
            codes, _ = _gather(exit_code(error), None)
            if any(code is not None for code in codes[: rank()]):
                raise OtherFailed(exit_code(error)) from error
        raise
    else:
        exchange(None)


@contextlib.contextmanager
def speaking() -> Iterator[None]:
    """Around what is sent to the others: errors there become ProcessLost."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise _lost(error) from error


def wait_until(arrived: Callable[[], bool]) -> None:
    """Waits for the others, all on this machine, without giving up the core to anything but another process that can
    run: to wake one takes longer than most waits.

    Raises:
        ProcessLost: one of them has ended.
    """
    start = look = time.monotonic()
    while not arrived():
        now = time.monotonic()
        time.sleep(0 if now - start < _SECONDS_AWAKE else 0.001)
        if now - look > _SECONDS_BETWEEN_LOOKS:
            look = now
            if gone := _gone():
                raise ProcessLost(_has_ended(gone))
            if now - start > LONGEST_WAIT.total_seconds():
                raise ProcessLost(f"process {rank()} of the run has waited for the others in vain, and ends")


def _lost(error: RuntimeError) -> ProcessLost:
    """Who has ended, if that was on this machine."""
    until = time.monotonic() + _SECONDS_TO_END
    gone: list[str] = []
    while not gone and time.monotonic() < until:
        gone = _gone()
        time.sleep(0.05)
    if gone:
        return ProcessLost(_has_ended(gone))
    reason = " ".join(str(error).split())
    return ProcessLost(f"process {rank()} of the run cannot reach another one, and ends: {reason}")


def _gone() -> list[str]:
    """Those of this machine's processes that have ended."""
    here = socket.gethostname()
    return [f"{i} (process id {pid})" for i, (host, pid) in enumerate(_joined) if host == here and not _lives(pid)]


def _has_ended(gone: list[str]) -> str:
    return f"process {', '.join(gone)} of the run has ended, so process {rank()} ends too"


def _gather(error: int | None, value: Any) -> tuple[list[int | None], list[Any]]:
    """The errors' exit codes and the values of all processes."""
    received: list[Any] = [None] * size()
    with speaking():
        dist.all_gather_object(received, (error, value))
    return [code for code, _ in received], [what for _, what in received]


def _lives(pid: int) -> bool:
    """Whether a process of this machine is there and has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
