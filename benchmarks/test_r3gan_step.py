"""R3GAN's whole step, D's with R1 and R2 and then G's: ours, the loop in plain torch, and what its convolutions allow.

All play with the same networks, batches, losses and optimizers. The plain step runs op by op, or compiled with the
gradients that it takes inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

import models.r3gan
from benchmarks.machine import DEVICE
from benchmarks.memory import peak_of
from benchmarks.race import race
from gan_ops.objectives import R3Gan
from models.r3gan import Discriminator, Generator
from train.base.device import has_bf16
from train.engine.curve import Cosine
from train.engine.ema import averaged_copy, weight_of
from train.engine.game import Batch
from train.engine.gradients import gradients_of
from train.engine.player import Player, Role
from train.engine.precision import DTYPES, Autocast
from train.engine.schedule import Position
from train.engine.step import Step, frozen
from train.gan.game import Gan

ON_GPU = DEVICE.type == "cuda"
WIDTH, BLOCKS, BATCH = (768, 2, 64) if ON_GPU else (64, 1, 16)
RESOLUTION, LATENT, GAMMA, LR, BETA2 = 32, 64, 0.05, 2e-4, 0.9
HALF_LIFE = 1e6
AT = Position(0, 0, RESOLUTION, 0.0, BATCH, BATCH, LR)


def networks() -> tuple[Generator, Discriminator]:
    torch.manual_seed(0)
    sizes = {"widths": [WIDTH] * 4, "blocks": BLOCKS}
    made = Generator(**sizes, latent_dim=LATENT), Discriminator(**sizes)
    for network in made:
        for block in network.modules():
            if hasattr(block, "leave"):
                nn.init.normal_(block.leave, 0, 0.05)
        network.to(DEVICE, memory_format=torch.channels_last)
    return made


def columns(layout: torch.memory_format = torch.channels_last) -> Batch:
    """What a step is given: other reals for G than for D."""
    images = torch.rand(2, BATCH, 3, RESOLUTION, RESOLUTION, device=DEVICE) * 2 - 1
    z = torch.randn(2, BATCH, LATENT, device=DEVICE)
    real = [some.contiguous(memory_format=layout) for some in images]
    weight, between = torch.full((BATCH,), 0.5, device=DEVICE), torch.rand(BATCH, device=DEVICE)
    return {
        **{"D/real": real[0], "D/z": z[0], "D/between": between, "D/penalty weight": weight},
        **{"G/real": real[1], "G/z": z[1]},
    }


# ---- ours


class Ours:
    """The parts of a trainer that a step is made of."""

    def __init__(self, dtype: torch.dtype, compile: bool = False) -> None:
        g, d = networks()
        roles = {name: Role((name,), betas=(0.0, Cosine(BETA2, BETA2, 1.0))) for name in ("D", "G")}
        self.game = Gan(
            g,
            d,
            roles,
            R3Gan(),
            latent=LATENT,
            penalties=R3Gan(GAMMA).penalties,
            penalty_curve=Cosine(0.5, 0.5, 1.0),
            own_reals=True,
        )
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
            weight=torch.tensor(weight_of(BATCH, HALF_LIFE), device=DEVICE),
            compile=compile,
            say=must_compile,
        )


def must_compile(line: str) -> None:
    if not line.startswith("compiled"):
        raise RuntimeError(line)


class Ceiling(Ours):
    """The gradients of the same step with nothing but its convolutions, its resampling and the sums of its blocks."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__(torch.float32)
        for network in self.game.networks.values():
            network.to(dtype)
        self.dtype = dtype
        self._zero = torch.zeros((), dtype=dtype, device=DEVICE, requires_grad=True)
        for player in self.players.values():
            player.active = [p for p in player.active if p.dim() > 1]  # without activations no bias is used
        self.step = self._gradients

    def _gradients(self, batch: Batch) -> None:
        batch = {name: column.to(self.dtype) for name, column in batch.items()}
        other = {"D": "G", "G": "D"}
        with patch.object(models.r3gan, "bias_act", lambda x, *_: x):
            for move in self.game.moves(AT):
                with frozen(self.players[other[move.role]].active):
                    gradients_of((move,), self.players, self.game.networks, self.autocast, self._zero, batch)


# ---- the plain loop


@contextmanager
def plain_torch() -> Iterator[None]:
    """Within, R3GAN's networks are made of torch's own functions, as most would write them."""

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

    with ExitStack() as stack:
        for name, replacement in (
            ("conv2d", F.conv2d),
            ("bias_act", activated),
            ("upsample2d", upsampled),
            ("downsample2d", downsampled),
            ("resample_conv2d", resampled),
        ):
            stack.enter_context(patch.object(models.r3gan, name, replacement))
        yield


class Plain:
    """The usual loop: D of reals and of fakes one after the other, ``backward()``, torch's fused Adam."""

    def __init__(self, dtype: torch.dtype, layout: torch.memory_format = torch.channels_last) -> None:
        self.g, self.d = (network.to(memory_format=layout) for network in networks())
        self.ema = averaged_copy(self.g)
        self.dtype = dtype
        self.optimizers = {
            network: torch.optim.Adam(network.parameters(), LR, (0.0, BETA2), fused=True)
            for network in (self.d, self.g)
        }

    def step(self, batch: Batch) -> None:
        with plain_torch():
            for network, loss in ((self.d, self.d_loss), (self.g, self.g_loss)):
                self.optimizers[network].zero_grad()
                with frozen(list((self.g if network is self.d else self.d).parameters())):
                    loss(batch).backward()
                self.optimizers[network].step()
        self.average()

    def average(self) -> None:
        with torch.no_grad():
            weight = weight_of(BATCH, HALF_LIFE)
            for mine, theirs in zip(self.ema.parameters(), self.g.parameters(), strict=True):
                mine.lerp_(theirs, weight)

    def autocast(self) -> torch.autocast:
        return torch.autocast(DEVICE.type, self.dtype, enabled=self.dtype != torch.float32)

    def d_loss(self, batch: Batch) -> Tensor:
        with torch.no_grad(), self.autocast():
            fake = self.g(batch["D/z"]).float()
        scores, penalties = [], []
        for x in (batch["D/real"], fake):
            x = self.point(x)
            with self.autocast():
                score = self.d(x).score
            (gradient,) = torch.autograd.grad(score.sum(), x, create_graph=True)
            scores.append(score)
            penalties.append(gradient.square().sum((1, 2, 3)))
        penalty = GAMMA / 2 * batch["D/penalty weight"][0] * (penalties[0] + penalties[1])
        return F.softplus(scores[1] - scores[0]).mean() + penalty.mean()

    def point(self, x: Tensor) -> Tensor:
        return x.detach().requires_grad_()

    def g_loss(self, batch: Batch) -> Tensor:
        with self.autocast():
            fake = self.d(self.g(batch["G/z"]).float()).score
            with torch.no_grad():
                real = self.d(batch["G/real"]).score
        return F.softplus(real - fake).mean()


class PlainCompiled(Plain):
    """The same compiled whole: each player's gradients are taken inside one graph."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__(dtype)
        options = {"fullgraph": True, "dynamic": False}
        self._gradients = torch.compile(self._d_gradients, **options), torch.compile(self._g_gradients, **options)
        self._average = torch.compile(self.average, **options)
        self._zero = torch.zeros((), device=DEVICE, requires_grad=True)

    def step(self, batch: Batch) -> None:
        with torch._dynamo.config.patch(trace_autograd_ops=True), plain_torch():
            for network, gradients in zip((self.d, self.g), self._gradients, strict=True):
                with frozen(list((self.g if network is self.d else self.d).parameters())):
                    for parameter, gradient in zip(network.parameters(), gradients(batch), strict=True):
                        parameter.grad = torch.empty_like(parameter).copy_(gradient)
                self.optimizers[network].step()
            self._average()

    def point(self, x: Tensor) -> Tensor:
        return x.detach() + self._zero  # in a graph torch 2.11 lets no tensor begin to require a gradient

    def _d_gradients(self, batch: Batch) -> list[Tensor]:
        return [g.detach() for g in torch.autograd.grad(self.d_loss(batch), list(self.d.parameters()))]

    def _g_gradients(self, batch: Batch) -> list[Tensor]:
        return [g.detach() for g in torch.autograd.grad(self.g_loss(batch), list(self.g.parameters()))]


def called(step: Callable[[Batch], None], layout: torch.memory_format = torch.channels_last) -> Callable[[], None]:
    return lambda: step(columns(layout))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_r3gan_step(benchmark: BenchmarkFixture, precision: str) -> None:
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
    race(
        benchmark,
        "ours",
        steps,
        params={
            "resolution": RESOLUTION,
            "width": WIDTH,
            "blocks": BLOCKS,
            "batch": BATCH,
            "precision": precision,
        },
        units={"images": BATCH},
        memory=memory,
    )
