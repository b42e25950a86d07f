"""Ctrl-C and SIGTERM as a wish to stop at the next step."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

from train.base import processes


class StopSignals:
    """Within ``with``, the first SIGINT or SIGTERM sets :attr:`received`; the second acts at once.

    Several processes ignore the second: torchrun repeats to each what the terminal has sent it, and kills those that do
    not end. Outside the main thread, where Python takes no signal handlers, nothing is caught.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}
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
        self.received = self.received or number  # the other one may have come before this handler could run
        for either in self._before:
            signal.signal(either, signal.SIG_DFL if processes.size() == 1 else signal.SIG_IGN)
