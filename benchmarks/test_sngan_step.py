"""The whole step of SNGAN's residual networks with WGAN-GP: D's with the penalty between images, and then G's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

import models.parts.norms
import models.parts.residual
from benchmarks.machine import DEVICE
from benchmarks.memory import peak_of
from benchmarks.race import race
from benchmarks.two_players import Plain, Setting, alternatives
from gan_ops.objectives import WassersteinGP
from models.resnet import Discriminator, Generator
from train.base.device import has_bf16
from train.engine.game import Batch
from train.engine.player import Role
from train.engine.precision import DTYPES
from train.gan.game import Gan

WIDTH, BATCH = (64, 64) if DEVICE.type == "cuda" else (16, 16)
RESOLUTION, LATENT, WEIGHT = 32, 128, 10.0
BETAS = (0.0, 0.9)


def game() -> Gan:
    torch.manual_seed(0)
    networks = (
        Generator(RESOLUTION, latent_dim=LATENT, width=WIDTH),
        Discriminator(RESOLUTION, width=WIDTH, norm="layer", pool="mean"),
    )
    loss = WassersteinGP(weight=WEIGHT)
    return Gan(
        *(network.to(DEVICE, memory_format=torch.channels_last) for network in networks),
        {name: Role((name,), betas=BETAS) for name in ("D", "G")},
        loss,
        latent=LATENT,
        penalties=loss.penalties,
    )


def columns(layout: torch.memory_format) -> Batch:
    images = torch.rand(BATCH, 3, RESOLUTION, RESOLUTION, device=DEVICE) * 2 - 1
    z, between = torch.randn(2, BATCH, LATENT, device=DEVICE), torch.rand(BATCH, device=DEVICE)
    return {"D/real": images.contiguous(memory_format=layout), "D/z": z[0], "D/between": between, "G/z": z[1]}


# ---- the plain loop


def d_loss(plain: Plain, batch: Batch) -> Tensor:
    real = batch["D/real"]
    with torch.no_grad():
        fake = plain.generate(batch["D/z"])
    x = plain.point(real + batch["D/between"][:, None, None, None] * (fake - real))
    norm = plain.gradient(plain.judge(x), x).square().sum((1, 2, 3)).sqrt()
    return plain.judge(fake).mean() - plain.judge(real).mean() + WEIGHT * (norm - 1).square().mean()


def g_loss(plain: Plain, batch: Batch) -> Tensor:
    return -plain.judge(plain.generate(batch["G/z"])).mean()


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    return F.conv2d(x, weight, bias, padding=padding)


def activated(x: Tensor, bias: Tensor, negative_slope: float) -> Tensor:
    return F.relu(x + bias.to(x.dtype)[:, None, None])


def setting() -> Setting:
    module, norms = models.parts.residual, models.parts.norms.GroupNorm
    return Setting(
        game,
        columns,
        plain={(module, "conv2d"): convolved, (module, "bias_act"): activated},
        ceiling={
            (module, "bias_act"): lambda x, *_, **__: x,
            (module.F, "relu"): lambda x, inplace=False: x,
            (norms, "forward"): lambda self, x: x,
        },
        d_loss=d_loss,
        g_loss=g_loss,
        betas=BETAS,
        batch=BATCH,
        resolution=RESOLUTION,
    )


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_sngan_step(benchmark: BenchmarkFixture, precision: str) -> None:
    if precision == "bf16" and not has_bf16(DEVICE):
        pytest.skip("this processor computes bf16 by way of float32")
    torch.compiler.reset()
    steps = alternatives(setting(), DTYPES[precision])
    sizes = {"resolution": RESOLUTION, "width": WIDTH, "batch": BATCH, "precision": precision}
    memory = {name: peak_of(steps[name], DEVICE) for name in ("ours", "plain")}
    race(benchmark, "ours", steps, params=sizes, units={"images": BATCH}, memory=memory)
