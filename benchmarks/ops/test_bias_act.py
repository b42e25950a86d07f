"""Bias and leaky ReLU."""

from __future__ import annotations

import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.ops.family import Family, Part, cells
from benchmarks.ops.sizes import FEATURE_MAPS, Size

SLOPE = 0.2


def chain(x: Tensor, bias: Tensor) -> Tensor:
    """As networks are written."""
    return F.leaky_relu(x + bias.view(-1, 1, 1), SLOPE)


def chain_in_place(x: Tensor, bias: Tensor) -> Tensor:
    """As networks are written with care: the sum's memory is used again."""
    return F.leaky_relu_(x + bias.view(-1, 1, 1), SLOPE)


FAMILY = Family(
    "bias_act",
    sizes=FEATURE_MAPS,
    inputs=lambda size: (size.randn(), size.randn(size.numbers[1])),
    # Forward reads x and writes y; backward reads g and y (or x), writes dx; double backward reads v and y, writes dg.
    # A bias is left out of account.
    traffic=lambda x, bias: (2 * x.nbytes, 3 * x.nbytes, 3 * x.nbytes),
    call=lambda op, x, bias: op(x, bias, SLOPE),
    rivals={"leaky_relu": chain, "leaky_relu_": chain_in_place},
)


@cells(FAMILY)
def test_bias_act(benchmark: BenchmarkFixture, mode: str, size: Size, part: Part) -> None:
    FAMILY.race(benchmark, mode, size, part)
