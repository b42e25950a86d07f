"""How fast a run is, and how long it still takes."""

from __future__ import annotations

import time
from collections.abc import Mapping

from train.engine.schedule import Schedule


class Pace:
    """Seconds an image takes."""

    def __init__(self) -> None:
        self.rates: dict[int, float] = {}  # smoothed, for each resolution seen so far
        self.restart(0)

    def restart(self, images: int) -> None:
        """The clock begins here."""
        self._time, self._images = time.perf_counter(), images

    def leave_out(self, seconds: float) -> None:
        """Time that was not spent training."""
        self._time += seconds

    def measure(self, images: int, resolution: int) -> float:
        """Seconds an image has taken since the clock began, which begins again."""
        rate = (time.perf_counter() - self._time) / (images - self._images)
        self.restart(images)
        self.rates[resolution] = 0.7 * self.rates.get(resolution, rate) + 0.3 * rate
        return rate


def time_left(schedule: Schedule, images: int, seconds_per_image: Mapping[int, float]) -> float:
    """Seconds to the schedule's end, judged from the resolutions seen so far.

    A resolution not yet seen is taken to cost so many times the one before as the last one seen did, at most 4 times,
    as its pixels; twice where only one was seen.
    """
    seen = sorted(seconds_per_image)
    here = seconds_per_image[seen[-1]]
    growth = min(max(here / seconds_per_image[seen[-2]], 1.0), 4.0) if len(seen) > 1 else 2.0
    total = 0.0
    for phase in schedule.phases:
        doublings = max((phase.resolution // seen[-1]).bit_length() - 1, 0)
        cost = seconds_per_image.get(phase.resolution, here * growth**doublings)
        total += max(phase.end - max(phase.start, images), 0) * cost
    return total
