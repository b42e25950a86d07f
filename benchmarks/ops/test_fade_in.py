"""Fading in a new resolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.ops.family import Family, Part, cells
from benchmarks.ops.sizes import HEAD, IMAGES, ON_GPU, Size

FEATURES = [HEAD, Size((16, 256, 16, 16))]  # it fades images, and features where a network's skips carry them
SIZES = [IMAGES[0], *FEATURES, *IMAGES[1:]] if ON_GPU else [*IMAGES, *FEATURES]


def inputs(size: Size) -> tuple[Tensor, Tensor]:
    """The new images and the old, of half the size."""
    n, c, h, w = size.numbers
    return size.randn(), size.randn(n, c, h // 2, w // 2)


def interpolated(new: Tensor, old: Tensor, fraction: Tensor) -> Tensor:
    """As networks are written."""
    return torch.lerp(new, F.interpolate(old, scale_factor=2, mode="nearest"), fraction)


def broadcast(new: Tensor, old: Tensor, fraction: Tensor) -> Tensor:
    """Without the enlarged image: each old pixel is broadcast over its four new ones."""
    n, c, h, w = old.shape
    old = old.view(n, c, h, 1, w, 1).expand(n, c, h, 2, w, 2)
    return torch.lerp(new.view(n, c, h, 2, w, 2), old, fraction).view_as(new)


FAMILY = Family(
    "fade_in",
    sizes=SIZES,
    inputs=inputs,
    constants=lambda size: (torch.tensor(0.3, dtype=size.dtype),),
    # Forward reads new and old and writes y, of new's size; backward reads g and writes dnew and dold; double backward
    # reads their cotangents and writes dg.
    traffic=lambda new, old, fraction: (2 * new.nbytes + old.nbytes,) * 3,
    rivals={"interpolate and lerp": interpolated, "broadcast": broadcast},
)


@cells(FAMILY)
def test_fade_in(benchmark: BenchmarkFixture, mode: str, size: Size, part: Part) -> None:
    FAMILY.race(benchmark, mode, size, part)
