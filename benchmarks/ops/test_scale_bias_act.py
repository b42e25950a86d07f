"""Scale, noise, bias, activation and gain: what follows StyleGAN2's convolutions."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.ops.family import Family, Part, cells_of_variants
from benchmarks.ops.sizes import BF16, FEATURE_MAPS, ON_GPU, SMALL_MAPS, Size

SLOPE, ROOT_2 = 0.2, math.sqrt(2)

SIZES = (
    FEATURE_MAPS
    if ON_GPU
    else [
        SMALL_MAPS,
        Size((8, 512, 32, 32)),
        Size((8, 256, 64, 64)),
        Size((4, 128, 128, 128)),
        Size((2, 64, 256, 256)),
        Size((2, 64, 256, 256), channels_last=True),
        Size((2, 64, 256, 256), channels_last=True, dtype=BF16),
    ]
)
"""StyleGAN2's layers at 32 to 256 pixels."""


def inputs(size: Size) -> tuple[Tensor, ...]:
    """x, scale, bias, noise and its strength."""
    n, c, h, w = size.numbers
    return size.randn(), size.rand(n, c) + 0.5, size.randn(c), size.randn(n, 1, h, w), size.randn(1).view(())


def traffic(x: Tensor, *_: Tensor) -> tuple[int, int, int]:
    """Forward reads x and writes y; backward reads g and x, writes dx; double backward reads v, g and x, writes dg and
    dx. What is one of x's channels or less is left out of account."""
    return 2 * x.nbytes, 3 * x.nbytes, 5 * x.nbytes


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "lrelu": lambda t: F.leaky_relu_(t, SLOPE) * ROOT_2,
    "swish": lambda t: F.silu(t) * ROOT_2,
}


def composites(act: str) -> dict[str, Callable[..., Tensor]]:
    """Other ways, with as few passes as torch has for it."""

    def offset(bias: Tensor, noise: Tensor, strength: Tensor) -> Tensor:
        return torch.addcmul(bias.view(-1, 1, 1), noise, strength)  # [N, C, H, W]

    def addcmul(x: Tensor, scale: Tensor, bias: Tensor, noise: Tensor, strength: Tensor) -> Tensor:
        """Two passes before the activation."""
        return ACTIVATIONS[act](torch.addcmul(offset(bias, noise, strength), x, scale[..., None, None]))

    def as_written(x: Tensor, scale: Tensor, bias: Tensor, noise: Tensor, strength: Tensor) -> Tensor:
        """As StyleGAN2's layers do it: demodulation, noise, then bias and activation."""
        t = torch.addcmul(noise * strength, x, scale[..., None, None])
        return ACTIVATIONS[act](t + bias.view(-1, 1, 1))

    return {"addcmul": addcmul, "as written": as_written}


def family(act: str, sizes: list[Size]) -> Family:
    return Family(
        "scale_bias_act",
        sizes=sizes,
        inputs=inputs,
        traffic=traffic,
        call=lambda op, *tensors: op(*tensors, act=act),
        rivals=composites(act),
        compiled_rivals=["as written"],
        variant=act,
    )


LRELU = family("lrelu", SIZES)
SWISH = family("swish", SIZES[:1] + SIZES[-3:])  # a smooth activation: its formula has no size


@cells_of_variants(LRELU, SWISH)
def test_scale_bias_act(benchmark: BenchmarkFixture, mode: str, size: Size, part: Part, family: Family) -> None:
    family.race(benchmark, mode, size, part)
