"""Points between real and generated samples."""

from __future__ import annotations

import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.ops.family import Family, Part, cells
from benchmarks.ops.sizes import IMAGES, Size

FAMILY = Family(
    "interpolate",
    sizes=IMAGES,
    inputs=lambda size: (size.randn(), size.randn()),
    constants=lambda size: (size.rand(size.numbers[0]),),
    # Forward reads both and writes one; backward reads one and writes both gradients; double backward as forward.
    traffic=lambda real, fake, weight: (3 * real.nbytes,) * 3,
    rivals={"lerp": lambda real, fake, weight: torch.lerp(real, fake, weight.view(-1, 1, 1, 1))},
)


@cells(FAMILY)
def test_interpolate(benchmark: BenchmarkFixture, mode: str, size: Size, part: Part) -> None:
    FAMILY.race(benchmark, mode, size, part)
