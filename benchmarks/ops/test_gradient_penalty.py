"""The gradient penalty of a given gradient, with target 1."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.ops.family import Family, Part, cells
from benchmarks.ops.sizes import IMAGES, Size


def as_written(gradient: Tensor) -> Tensor:
    """What WGAN-GP code has; its derivatives are NaN where the gradient is 0."""
    return (gradient.flatten(1).norm(2, dim=1) - 1).square()  # [N, *] → [N]


FAMILY = Family(
    "gradient_penalty",
    sizes=IMAGES,
    inputs=lambda size: (size.randn(),),
    # Forward reads the gradient; backward reads it and writes its own; double backward reads v and the gradient and
    # writes its own. What is a number a sample is left out of account.
    traffic=lambda gradient: (gradient.nbytes, 2 * gradient.nbytes, 3 * gradient.nbytes),
    rivals={"norm": as_written},
    compiled_rivals=["norm"],
)


@cells(FAMILY)
def test_gradient_penalty(benchmark: BenchmarkFixture, mode: str, size: Size, part: Part) -> None:
    FAMILY.race(benchmark, mode, size, part)
