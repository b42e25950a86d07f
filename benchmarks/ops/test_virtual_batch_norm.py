"""Virtual batch norm, by a reference batch of 64."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.ops.family import Family, Part, cells
from benchmarks.ops.sizes import FEATURE_MAPS, Size

REFERENCES, EPS = 64, 1e-5


def inputs(size: Size) -> tuple[Tensor, ...]:
    """x, the reference's mean and variance, weight and bias."""
    channels = size.numbers[1]
    return size.randn(), size.randn(channels), size.rand(channels) + 0.5, size.randn(channels), size.randn(channels)


def combined(x: Tensor, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance [N, C] of each sample with the reference batch."""
    own_var, own_mean = torch.var_mean(x, dim=(2, 3), correction=0)  # [N, C, H, W] → [N, C]
    a = 1 / (REFERENCES + 1)
    m = torch.lerp(mean, own_mean, a)
    return m, torch.lerp(var, own_var, a) + a * (1 - a) * (own_mean - mean).square()


def scale_and_shift(x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Statistics and parameters folded into one multiply-add a pixel."""
    m, v = combined(x, mean, var)
    scale = torch.rsqrt(v + EPS) * weight
    return torch.addcmul((bias - m * scale)[..., None, None], x, scale[..., None, None])


def normalised(x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """By F.batch_norm, to which every channel of every sample is a channel with statistics that it is given.

    It has no gradients to the statistics, hence no derivatives of this op.
    """
    n, c, h, w = x.shape
    m, v = combined(x, mean, var)
    y = F.batch_norm(x.reshape(1, n * c, h, w), m.view(-1), v.view(-1), weight.repeat(n), bias.repeat(n), eps=EPS)
    return y.view_as(x)


FAMILY = Family(
    "virtual_batch_norm",
    sizes=FEATURE_MAPS,
    inputs=inputs,
    # Forward reads x and writes y; backward reads g and x, writes dx; double backward reads v, g and x, writes dg and
    # dx. What is a number a channel is left out of account.
    traffic=lambda x, *_: (2 * x.nbytes, 3 * x.nbytes, 5 * x.nbytes),
    call=lambda op, x, mean, var, weight, bias: op(x, mean, var, REFERENCES, weight, bias, EPS),
    rivals={"scale and shift": scale_and_shift, "F.batch_norm": normalised},
    compiled_rivals=["scale and shift"],
    can_run=lambda name, mode, *_: name != "F.batch_norm" or mode == "forward",
)


@cells(FAMILY)
def test_virtual_batch_norm(benchmark: BenchmarkFixture, mode: str, size: Size, part: Part) -> None:
    FAMILY.race(benchmark, mode, size, part)
