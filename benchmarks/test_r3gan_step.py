"""R3GAN's whole step: D's with R1 and R2, and then G's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

import models.r3gan
from benchmarks.machine import DEVICE
from benchmarks.memory import peak_of
from benchmarks.race import race
from benchmarks.two_players import Plain, Setting, alternatives
from gan_ops.objectives import R3Gan
from models.r3gan import Discriminator, Generator
from train.base.device import has_bf16
from train.engine.curve import Cosine
from train.engine.game import Batch
from train.engine.player import Role
from train.engine.precision import DTYPES
from train.gan.game import Gan

WIDTH, BLOCKS, BATCH = (768, 2, 64) if DEVICE.type == "cuda" else (64, 1, 16)
RESOLUTION, LATENT, GAMMA = 32, 64, 0.05
BETAS = (0.0, 0.9)


def game() -> Gan:
    torch.manual_seed(0)
    sizes = {"widths": [WIDTH] * 4, "blocks": BLOCKS}
    networks = Generator(**sizes, latent_dim=LATENT), Discriminator(**sizes)
    for network in networks:
        for block in network.modules():
            if hasattr(block, "leave"):  # a block that is the identity has gradients of 0
                nn.init.normal_(block.leave, 0, 0.05)
    role = {"betas": (BETAS[0], Cosine(BETAS[1], BETAS[1], 1.0))}
    return Gan(
        *(network.to(DEVICE, memory_format=torch.channels_last) for network in networks),
        {name: Role((name,), **role) for name in ("D", "G")},
        R3Gan(),
        latent=LATENT,
        penalties=R3Gan(GAMMA).penalties,
        penalty_curve=Cosine(0.5, 0.5, 1.0),
        own_reals=True,
    )


def columns(layout: torch.memory_format) -> Batch:
    """Other reals for G than for D."""
    images = torch.rand(2, BATCH, 3, RESOLUTION, RESOLUTION, device=DEVICE) * 2 - 1
    z = torch.randn(2, BATCH, LATENT, device=DEVICE)
    for_d, for_g = (some.contiguous(memory_format=layout) for some in images)
    weight, between = torch.full((BATCH,), 0.5, device=DEVICE), torch.rand(BATCH, device=DEVICE)
    d = {"D/real": for_d, "D/z": z[0], "D/between": between, "D/penalty weight": weight}
    return {**d, "G/real": for_g, "G/z": z[1]}


# ---- the plain loop


def d_loss(plain: Plain, batch: Batch) -> Tensor:
    with torch.no_grad():
        fake = plain.generate(batch["D/z"])
    scores, squares = [], []
    for x in map(plain.point, (batch["D/real"], fake)):
        scores.append(plain.judge(x))
        squares.append(plain.gradient(scores[-1], x).square().sum((1, 2, 3)))
    penalty = GAMMA / 2 * batch["D/penalty weight"][0] * (squares[0] + squares[1])
    return F.softplus(scores[1] - scores[0]).mean() + penalty.mean()


def g_loss(plain: Plain, batch: Batch) -> Tensor:
    fake = plain.judge(plain.generate(batch["G/z"]))
    with torch.no_grad():
        real = plain.judge(batch["G/real"])
    return F.softplus(real - fake).mean()


def spread(x: Tensor, filter: Tensor) -> Tensor:
    return filter.to(x.dtype)[None, None].expand(x.shape[1], 1, -1, -1)


def upsampled(x: Tensor, filter: Tensor) -> Tensor:
    return F.conv_transpose2d(x, 4 * spread(x, filter), stride=2, padding=1, groups=x.shape[1])


def downsampled(x: Tensor, filter: Tensor) -> Tensor:
    return F.conv2d(x, spread(x, filter), stride=2, padding=1, groups=x.shape[1])


def resampled(x: Tensor, weight: Tensor, filter: Tensor, up: int = 1, down: int = 1) -> Tensor:
    return upsampled(F.conv2d(x, weight), filter) if up > 1 else F.conv2d(downsampled(x, filter), weight)


def activated(x: Tensor, bias: Tensor, slope: float) -> Tensor:
    return F.leaky_relu(x + bias.to(x.dtype)[:, None, None], slope)


NETWORK = models.r3gan


def setting() -> Setting:
    plain = {"conv2d": F.conv2d, "bias_act": activated, "upsample2d": upsampled}
    plain |= {"downsample2d": downsampled, "resample_conv2d": resampled}
    return Setting(
        game,
        columns,
        plain={(NETWORK, name): function for name, function in plain.items()},
        ceiling={(NETWORK, "bias_act"): lambda x, *_: x},
        d_loss=d_loss,
        g_loss=g_loss,
        betas=BETAS,
        batch=BATCH,
        resolution=RESOLUTION,
    )


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_r3gan_step(benchmark: BenchmarkFixture, precision: str) -> None:
    if precision == "bf16" and not has_bf16(DEVICE):
        pytest.skip("this processor computes bf16 by way of float32")
    torch.compiler.reset()
    steps = alternatives(setting(), DTYPES[precision])
    sizes = {"resolution": RESOLUTION, "width": WIDTH, "blocks": BLOCKS, "batch": BATCH, "precision": precision}
    memory = {name: peak_of(steps[name], DEVICE) for name in ("ours", "plain")}
    race(benchmark, "ours", steps, params=sizes, units={"images": BATCH}, memory=memory)
