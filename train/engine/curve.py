"""Values that change along a run, as functions of the images shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


class Curve(Protocol):
    def at(self, images: int) -> float: ...


@dataclass(frozen=True)
class Cosine:
    """From ``start`` to ``end`` by half a cosine over so many images, and then always ``end``.

    Loshchilov and Hutter 2017 (arXiv 1608.03983), eq. 5, without restarts.
    """

    start: float
    end: float
    images: float

    def at(self, images: int) -> float:
        done = min(images / self.images, 1.0)
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class After:
    """0 until so many images have been shown, and 1 from then on."""

    images: float

    def at(self, images: int) -> float:
        return float(images >= self.images)


@dataclass(frozen=True)
class Rise:
    """From 0 in a straight line to 1 over so many images, and then always 1."""

    images: float

    def at(self, images: int) -> float:
        return min(images / self.images, 1.0) if self.images else 1.0
