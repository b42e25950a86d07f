"""Modulated convolution: activations scaled or weights of each sample, by gan_ops and by torch's own convolution.

Its two ways are exact, so the faster one is what ``fused=None`` chooses.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.machine import DEVICE
from benchmarks.ops.modes import MODES, Problem
from benchmarks.ops.sizes import ON_GPU
from benchmarks.race import race
from gan_ops import modulated_conv2d

SIZES = [(1, 512, 16), (4, 512, 16), (8, 256, 32), (4, 128, 64)] + ([(16, 512, 64), (16, 128, 256)] if ON_GPU else [])
"""Samples, channels and pixels a side."""


def demodulation(weight: Tensor, style: Tensor) -> Tensor:
    return ((weight * style[:, None, :, None, None]).square().sum((2, 3, 4)) + 1e-8).rsqrt()


def torch_apart(x: Tensor, weight: Tensor, style: Tensor) -> Tensor:
    """As StyleGAN2's layers do it in training."""
    y = F.conv2d(x * style[..., None, None], weight, padding=1)
    return y * demodulation(weight, style)[..., None, None]


def torch_fused(x: Tensor, weight: Tensor, style: Tensor) -> Tensor:
    """As they do it else."""
    n, channels, height, width = x.shape
    of_each = weight * style[:, None, :, None, None]  # [N, O, I, K, K]
    of_each = of_each * (of_each.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    y = F.conv2d(x.view(1, n * channels, height, width), of_each.flatten(0, 1), padding=1, groups=n)
    return y.view(n, -1, height, width)


WAYS = {
    "apart": partial(modulated_conv2d, padding=1, fused=False),
    "fused": partial(modulated_conv2d, padding=1, fused=True),
    "torch apart": torch_apart,
    "torch fused": torch_fused,
}


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.replace(" ", "_"))
def test_modulated_conv2d(benchmark: BenchmarkFixture, mode: str, size: tuple[int, int, int]) -> None:
    samples, channels, side = size
    torch.manual_seed(0)
    with DEVICE:
        x, weight = torch.randn(samples, channels, side, side), torch.randn(channels, channels, 3, 3)
        problem = Problem(mode, WAYS["apart"], (x, weight, torch.randn(samples, channels)), ())
    calls = {name: problem.call(way) for name, way in WAYS.items()}
    params = {"mode": mode, "size": "x".join(map(str, (samples, channels, side, side)))}
    race(benchmark, "apart", calls, params=params, budget=4.0, rounds=(3, 30), units={"images": samples})
