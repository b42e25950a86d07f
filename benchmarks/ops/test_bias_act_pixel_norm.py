"""Bias, leaky ReLU and pixel norm at once."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.ops.family import Family, Part, cells
from benchmarks.ops.sizes import FEATURE_MAPS, Size
from benchmarks.ops.test_bias_act import SLOPE, chain_in_place
from benchmarks.ops.test_pixel_norm import EPS, fused_norm, rms_norm


def with_fused_norm(x: Tensor, bias: Tensor) -> Tensor:
    return fused_norm(chain_in_place(x, bias))


def with_rms_norm(x: Tensor, bias: Tensor) -> Tensor:
    return rms_norm(chain_in_place(x, bias))


FAMILY = Family(
    "bias_act_pixel_norm",
    sizes=FEATURE_MAPS,
    inputs=lambda size: (size.randn(), size.randn(size.numbers[1])),
    # Forward reads x and writes y; backward reads g and x, writes dx; double backward reads v, g and x, writes dg and
    # dx. Bias and scales are left out of account.
    traffic=lambda x, bias: (2 * x.nbytes, 3 * x.nbytes, 5 * x.nbytes),
    call=lambda op, x, bias: op(x, bias, SLOPE, EPS),
    rivals={"leaky_relu_ and vector_norm": with_fused_norm, "leaky_relu_ and F.rms_norm": with_rms_norm},
)


@cells(FAMILY)
def test_bias_act_pixel_norm(benchmark: BenchmarkFixture, mode: str, size: Size, part: Part) -> None:
    FAMILY.race(benchmark, mode, size, part)
