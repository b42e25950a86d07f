"""A whole step of residual networks with WGAN-GP, D's and then G's: ours, the loop in plain torch, and what its
convolutions allow.

All play with the same networks, those of WGAN-GP for CIFAR-10, batches, losses and optimizers. The plain step runs op
by op, or compiled with the gradients that it takes inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

import models.parts.residual
from benchmarks.machine import DEVICE
from benchmarks.memory import peak_of
from benchmarks.race import race
from gan_ops.objectives import WassersteinGP
from models.resnet import Discriminator, Generator
from train.base.device import has_bf16
from train.engine.ema import average, averaged_copy, weight_of
from train.engine.game import Batch
from train.engine.gradients import gradients_of
from train.engine.player import Player, Role
from train.engine.precision import DTYPES, Autocast
from train.engine.schedule import Position
from train.engine.step import Step, frozen
from train.gan.game import Gan

ON_GPU = DEVICE.type == "cuda"
G_WIDTH, D_WIDTH, BATCH = (32, 64, 64) if ON_GPU else (16, 32, 16)
RESOLUTION, LATENT, LR, BETAS, WEIGHT = 32, 128, 2e-4, (0.0, 0.9), 10.0
HALF_LIFE = 1e6
AT = Position(0, 0, RESOLUTION, 0.0, BATCH, BATCH, LR)


def networks() -> tuple[Generator, Discriminator]:
    torch.manual_seed(0)
    made = (
        Generator(RESOLUTION, latent_dim=LATENT, width=G_WIDTH),
        Discriminator(RESOLUTION, width=D_WIDTH, norm="none", pool="mean"),
    )
    for network in made:
        network.to(DEVICE, memory_format=torch.channels_last)
    return made


def columns(layout: torch.memory_format = torch.channels_last) -> Batch:
    """What a step is given."""
    real = torch.rand(BATCH, 3, RESOLUTION, RESOLUTION, device=DEVICE) * 2 - 1
    z = torch.randn(2, BATCH, LATENT, device=DEVICE)
    between = torch.rand(BATCH, device=DEVICE)
    return {"D/real": real.contiguous(memory_format=layout), "D/z": z[0], "D/between": between, "G/z": z[1]}


# ---- ours


class Ours:
    """The parts of a trainer that a step is made of."""

    def __init__(self, dtype: torch.dtype, compile: bool = False) -> None:
        g, d = networks()
        roles = {name: Role((name,), betas=BETAS) for name in ("D", "G")}
        objective = WassersteinGP(weight=WEIGHT)
        self.game = Gan(g, d, roles, objective, latent=LATENT, penalties=objective.penalties)
        self.players = {name: Player({name: self.game.networks[name]}, role) for name, role in roles.items()}
        for player in self.players.values():
            player.set_lr(LR)
        self.autocast = Autocast(DEVICE, dtype)
        self.step = Step(
            self.game,
            self.game.moves(AT),
            self.players,
            {"G": averaged_copy(g)},
            self.autocast,
            batch=BATCH,
            weight=weight_of(BATCH, HALF_LIFE),
            compile=compile,
            say=must_compile,
        )


def must_compile(line: str) -> None:
    if not line.startswith("compiled"):
        raise RuntimeError(line)


class Ceiling(Ours):
    """The gradients of the same step with nothing but its convolutions, its changes of size and the sums of blocks."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__(torch.float32)
        for network in self.game.networks.values():
            network.to(dtype)
        self.dtype = dtype
        self._zero = torch.zeros((), dtype=dtype, device=DEVICE, requires_grad=True)
        for player in self.players.values():
            # Without activations D's gradient depends on no bias, and without norms their parameters are not used.
            player.active = [p for p in player.active if p.dim() > 1]
        self.step = self._gradients

    def _gradients(self, batch: Batch) -> None:
        batch = {name: column.to(self.dtype) for name, column in batch.items()}
        other = {"D": "G", "G": "D"}
        with (
            patch.object(models.parts.residual, "bias_act", lambda x, *_, **__: x),
            patch.object(F, "relu", lambda x, inplace=False: x),
            patch.object(nn.BatchNorm2d, "forward", lambda _, x: x),
        ):
            for move in self.game.moves(AT):
                with frozen(self.players[other[move.role]].active):
                    gradients_of((move,), self.players, self.game.networks, self.autocast, self._zero, batch)


# ---- the plain loop


@contextmanager
def plain_torch() -> Iterator[None]:
    """Within, the networks are made of torch's own functions, as most would write them."""

    def activated(x: Tensor, bias: Tensor, negative_slope: float) -> Tensor:
        return F.relu(x + bias.to(x.dtype)[:, None, None])

    def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
        return F.conv2d(x, weight, bias, padding=padding)

    residual = models.parts.residual
    with patch.object(residual, "conv2d", convolved), patch.object(residual, "bias_act", activated):
        yield


class Plain:
    """The usual loop: D of reals, fakes and points between one after the other, ``backward()``, torch's fused Adam."""

    def __init__(self, dtype: torch.dtype, layout: torch.memory_format = torch.channels_last) -> None:
        self.g, self.d = (network.to(memory_format=layout) for network in networks())
        self.ema = averaged_copy(self.g)
        self.dtype = dtype
        self.optimizers = {
            network: torch.optim.Adam(network.parameters(), LR, BETAS, fused=True) for network in (self.d, self.g)
        }

    def step(self, batch: Batch) -> None:
        with plain_torch():
            for network, loss in ((self.d, self.d_loss), (self.g, self.g_loss)):
                self.optimizers[network].zero_grad()
                with frozen(list((self.g if network is self.d else self.d).parameters())):
                    loss(batch).backward()
                self.optimizers[network].step()
        average(self.ema, self.g, weight_of(BATCH, HALF_LIFE))

    def autocast(self) -> torch.autocast:
        return torch.autocast(DEVICE.type, self.dtype, enabled=self.dtype != torch.float32)

    def d_loss(self, batch: Batch) -> Tensor:
        with torch.no_grad(), self.autocast():
            fake = self.g(batch["D/z"]).float()
        u = batch["D/between"][:, None, None, None]
        x = self.point((1 - u) * batch["D/real"] + u * fake)
        with self.autocast():
            loss = self.d(fake).score.mean() - self.d(batch["D/real"]).score.mean()
            score = self.d(x).score
        (gradient,) = torch.autograd.grad(score.sum(), x, create_graph=True)
        return loss + WEIGHT * (gradient.square().sum((1, 2, 3)).sqrt() - 1).square().mean()

    def point(self, x: Tensor) -> Tensor:
        return x.detach().requires_grad_()

    def g_loss(self, batch: Batch) -> Tensor:
        with self.autocast():
            return -self.d(self.g(batch["G/z"]).float()).score.mean()


class PlainCompiled(Plain):
    """The same compiled whole: each player's gradients are taken inside one graph."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__(dtype)
        options = {"fullgraph": True, "dynamic": False}
        self._gradients = torch.compile(self._d_gradients, **options), torch.compile(self._g_gradients, **options)
        self._zero = torch.zeros((), device=DEVICE, requires_grad=True)

    def step(self, batch: Batch) -> None:
        with torch._dynamo.config.patch(trace_autograd_ops=True), plain_torch():
            for network, gradients in zip((self.d, self.g), self._gradients, strict=True):
                with frozen(list((self.g if network is self.d else self.d).parameters())):
                    for parameter, gradient in zip(network.parameters(), gradients(batch), strict=True):
                        parameter.grad = torch.empty_like(parameter).copy_(gradient)
                self.optimizers[network].step()
        average(self.ema, self.g, weight_of(BATCH, HALF_LIFE))

    def point(self, x: Tensor) -> Tensor:
        return x.detach() + self._zero  # in a graph torch 2.11 lets no tensor begin to require a gradient

    def _d_gradients(self, batch: Batch) -> list[Tensor]:
        return [g.detach() for g in torch.autograd.grad(self.d_loss(batch), list(self.d.parameters()))]

    def _g_gradients(self, batch: Batch) -> list[Tensor]:
        return [g.detach() for g in torch.autograd.grad(self.g_loss(batch), list(self.g.parameters()))]


def called(step: Callable[[Batch], None], layout: torch.memory_format = torch.channels_last) -> Callable[[], None]:
    return lambda: step(columns(layout))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_sngan_step(benchmark: BenchmarkFixture, precision: str) -> None:
    if precision == "bf16" and not has_bf16(DEVICE):
        pytest.skip("this processor computes bf16 by way of float32")
    torch.compiler.reset()
    dtype, contiguous = DTYPES[precision], torch.contiguous_format
    steps = {
        "ours": called(Ours(dtype).step),
        "ours compiled": called(Ours(dtype, compile=True).step),
        "plain": called(Plain(dtype, contiguous).step, contiguous),
        "plain, channels_last": called(Plain(dtype).step),
        "plain compiled": called(PlainCompiled(dtype).step),
        "ceiling": called(Ceiling(dtype).step),
    }
    memory = {name: peak_of(steps[name], DEVICE) for name in ("ours", "plain")}
    sizes = {"resolution": RESOLUTION, "g_width": G_WIDTH, "d_width": D_WIDTH, "batch": BATCH, "precision": precision}
    race(benchmark, "ours", steps, params=sizes, units={"images": BATCH}, memory=memory)
