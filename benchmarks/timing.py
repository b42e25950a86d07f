"""How long calls take: by the host's clock on a CPU, by the device's own events on a GPU."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from functools import cache
from typing import Protocol

import torch

from benchmarks.machine import DEVICE

FLUSH = 256 << 20
"""Bytes that are read between cold calls: more than any GPU's L2 cache holds."""
FLUSH_SECONDS = 30e-6
"""That the host gains on the device by each such reading: at 5 TB/s it takes 50 µs, and its launch less than 20."""


class Clock(Protocol):
    turn: float
    """Seconds that a turn of an alternative takes at least: it is repeated, or its rivals would cool its caches."""
    cold_turn: float
    """The same for cold calls."""
    calls: int
    """And how many calls it has at least."""

    def seconds(self, call: Callable[[], object], times: int, cold: bool) -> float:
        """Of one call, of so many; ``cold`` ones find nothing of their tensors in a GPU's cache."""


class HostClock:
    turn = cold_turn = 0.05
    calls = 1

    def seconds(self, call: Callable[[], object], times: int, cold: bool) -> float:
        start = time.perf_counter()
        for _ in range(times):
            call()
        return (time.perf_counter() - start) / times


class EventClock:
    """By CUDA events around the calls.

    Warm calls run back to back, so that what the host needs to launch them counts, as it does in training. Before each
    cold call the device reads other memory: caches hold nothing of the call's tensors, nothing is left to be written
    back, and it reads for so long that the host has launched the call's kernels by the time that they can begin. Of
    cold calls the median counts.
    """

    turn = 0.01
    cold_turn = 0.0
    calls = 5  # the host runs ahead of the device, as it does in training

    def __init__(self) -> None:
        self._other = torch.ones(FLUSH // 4, dtype=torch.float32, device="cuda")

    def seconds(self, call: Callable[[], object], times: int, cold: bool) -> float:
        if not cold:
            start, end = self._events()
            start.record()
            for _ in range(times):
                call()
            end.record()
            torch.cuda.synchronize()
            return start.elapsed_time(end) / 1000 / times  # it counts in milliseconds
        flushes = 1 + math.ceil(self._host_seconds(call) / FLUSH_SECONDS)
        pairs = [self._events() for _ in range(times)]
        for start, end in pairs:
            for _ in range(flushes):
                self._other.sum()
            start.record()
            call()
            end.record()
        torch.cuda.synchronize()
        return statistics.median(start.elapsed_time(end) for start, end in pairs) / 1000

    def _host_seconds(self, call: Callable[[], object]) -> float:
        """That the host needs to launch a call."""
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    def _events(self) -> tuple[torch.cuda.Event, torch.cuda.Event]:
        return torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)


@cache
def clock() -> Clock:
    """That of the device which benchmarks run on."""
    return EventClock() if DEVICE.type == "cuda" else HostClock()


def copy_bandwidth(nbytes: int = 1 << 30) -> float:
    """Bytes a second that the device's memory reads and writes in a large copy, warmed up."""
    source = torch.ones(nbytes // 4, dtype=torch.float32, device=DEVICE)
    target = torch.empty_like(source)
    for _ in range(2):  # the first raises a GPU's clocks
        seconds = clock().seconds(lambda: target.copy_(source), times=20, cold=False)
    return 2 * source.nbytes / seconds
