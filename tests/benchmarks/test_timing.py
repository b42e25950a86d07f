"""How the clock of a GPU counts, with events whose times are made up."""

from __future__ import annotations

import pytest
import torch

from benchmarks import timing


class Gpu:
    """A queue: what is launched takes its time there, and an event notes when the queue comes to it."""

    def __init__(self) -> None:
        self.now = 0.0  # milliseconds
        self.synchronized = False

    def event(self, enable_timing: bool) -> Event:
        assert enable_timing
        return Event(self)

    def synchronize(self) -> None:
        self.synchronized = True

    def call(self, milliseconds: float) -> None:
        self.now += milliseconds


class Event:
    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu

    def record(self) -> None:
        self.at = self.gpu.now

    def elapsed_time(self, end: Event) -> float:
        assert self.gpu.synchronized, "before the device has come to an event, it has no time"
        return end.at - self.at


class Other:
    """The memory that is read to drive tensors out of the cache."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu

    def sum(self) -> None:
        self.gpu.call(100.0)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    gpu = Gpu()
    monkeypatch.setattr(torch.cuda, "Event", gpu.event)
    monkeypatch.setattr(torch.cuda, "synchronize", gpu.synchronize)
    monkeypatch.setattr(torch, "ones", lambda *_, **__: Other(gpu))
    return gpu


def test_warm_calls_are_timed_together(gpu: Gpu) -> None:
    assert timing.EventClock().seconds(lambda: gpu.call(2.0), times=5, cold=False) == pytest.approx(0.002)


def test_of_cold_calls_the_median_counts_and_not_what_empties_the_cache(gpu: Gpu) -> None:
    takes = iter([7.0, 50.0, 3.0, 2.0])  # the first, to see what it takes the host, counts for nothing
    assert timing.EventClock().seconds(lambda: gpu.call(next(takes)), times=3, cold=True) == pytest.approx(0.003)


def test_the_device_is_kept_busy_while_the_host_launches_a_cold_call(gpu: Gpu, monkeypatch) -> None:
    monkeypatch.setattr(timing.time, "perf_counter", iter([0.0, 2.5 * timing.FLUSH_SECONDS]).__next__)
    timing.EventClock().seconds(lambda: gpu.call(1.0), times=1, cold=True)
    assert gpu.now == 4 * 100.0 + 2 * 1.0


def test_a_copy_reads_and_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        def seconds(self, call, times: int, cold: bool) -> float:
            call()
            return 0.5

    monkeypatch.setattr(timing, "clock", Clock)
    assert timing.copy_bandwidth(nbytes=400) == 1600
