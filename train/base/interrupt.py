"""Ctrl-C and SIGTERM as a wish to stop at the next step."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

from train.base import processes

_ONE_WISH = 5.0
"""Seconds in which further signals belong to the first: torchrun repeats to each process what the terminal sent it."""


class StopSignals:
    """Within ``with``, the first SIGINT or SIGTERM sets :attr:`received`; the second acts at once.

    Outside the main thread, where Python takes no signal handlers, nothing is caught.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}
        self._first = 0.0
        self._asked: tuple[torch.Tensor, dist.Work] | None = None

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def agreed(self) -> int | None:
        """The signal that one of the run's processes had received when this was last asked, the same in all of them,
        which must ask equally often; where there is one process alone, what it has received by now."""
        if processes.size() == 1:
            return self.received
        # The answer is on its way during a step, instead of being waited for.
        before, wish = self._asked, torch.tensor(self.received or 0)
        with processes.speaking():
            self._asked = wish, dist.all_reduce(wish, dist.ReduceOp.MAX, async_op=True)
            if before is None:
                return None
            before[1].wait()
        return int(before[0]) or None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        repeated = self.received is not None
        if processes.size() > 1 and (not repeated or processes.earliest_signal() - self._first < _ONE_WISH):
            self._first = self._first if repeated else time.monotonic()
            self.received = self.received or number
            return
        self.received = number
        for either in self._before:
            signal.signal(either, signal.SIG_DFL)
        if repeated:  # within one process alone the default has acted already
            signal.raise_signal(number)
