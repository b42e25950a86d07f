"""DCGAN's steps: D's with minibatch discrimination by kernels and by what torch users write, and the kinds of update.

Everything but what is compared is the same: networks, batches, losses, optimizers.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from benchmarks.machine import DEVICE
from benchmarks.race import race
from gan_ops.objectives import NonSaturating
from models.dcgan import Discriminator, Generator
from train.engine.ema import averaged_copy, weight_of
from train.engine.game import Game, Move, Role, Update
from train.engine.player import Player
from train.engine.precision import Autocast
from train.engine.schedule import Position
from train.engine.step import Step
from train.gan.game import Gan

RESOLUTION, WIDTH, LATENT = 32, 64, 100


class Broadcast(nn.Module):
    """Minibatch discrimination as it is mostly written: all differences [n, n, B, C] at once."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())

    def forward(self, x: Tensor, batches: int = 1) -> Tensor:
        _, kernels, dim = self.weight.shape
        m = (x @ self.weight.flatten(1)).view(len(x) // batches, batches * kernels, dim)
        return torch.cat([x, self.sums(m).reshape(len(x), kernels)], 1)

    def sums(self, m: Tensor) -> Tensor:
        """Σ_j exp(−‖m_ib − m_jb‖₁): [n, B, C] → [n, B]."""
        return (-(m[:, None] - m).abs().sum(3)).exp().sum(1)


class Cdist(Broadcast):
    """The same by torch's own pairwise distances, which keep [B, n, n] alone."""

    def sums(self, m: Tensor) -> Tensor:
        m = m.transpose(0, 1)  # [n, B, C] → [B, n, C]
        return (-torch.cdist(m, m, p=1)).exp().sum(2).t()


def networks(kernels: int = 0, dim: int = 5) -> tuple[Generator, Discriminator]:
    torch.manual_seed(0)
    discriminator = Discriminator(RESOLUTION, width=WIDTH, minibatch_kernels=kernels, minibatch_dim=dim)
    both = Generator(RESOLUTION, latent_dim=LATENT, width=WIDTH), discriminator
    for network in both:
        network.to(DEVICE, memory_format=torch.channels_last)
    return both


def game_of(g: Generator, d: nn.Module, *, kind: type[Gan] = Gan, shared_latents: bool = False) -> Gan:
    roles = {name: Role((name,), betas=(0.5, 0.999)) for name in ("D", "G")}
    return kind(g, d, roles, NonSaturating(), latent=LATENT, shared_latents=shared_latents)


class OfD(Gan):
    """Its step is D's alone, and nothing is averaged."""

    averaged = ()

    def moves(self, at: Position) -> list[Move]:
        return [Move("D", self.d)]


def step_of(game: Game, batch: int, update: Update = "alternating", compile: bool = False) -> Callable[[], None]:
    """Steps of a game on made-up images, new latents each time."""
    players = {name: Player({name: game.networks[name]}, role) for name, role in game.roles.items()}
    for player in players.values():
        player.set_lr(2e-4)
    at = Position(0, 0, RESOLUTION, 0.0, batch, batch, 2e-4)
    step = Step(
        game,
        game.moves(at),
        players,
        {name: averaged_copy(game.networks[name]) for name in game.averaged},
        Autocast(DEVICE),
        batch=batch,
        weight=weight_of(batch, 1000.0),
        update=update,
        compile=compile,
        say=must_compile,
    )
    real = real_images(batch)

    def call() -> None:
        z = torch.randn(2, batch, LATENT, device=DEVICE)
        between = torch.rand(batch, device=DEVICE)
        step({"D/real": real, "D/z": z[0], "D/between": between, "G/z": z[0 if update == "merged" else 1]})

    return call


def real_images(batch: int) -> Tensor:
    images = torch.rand(batch, 3, RESOLUTION, RESOLUTION, device=DEVICE) * 2 - 1
    return images.contiguous(memory_format=torch.channels_last)


def must_compile(line: str) -> None:
    if not line.startswith("compiled"):
        raise RuntimeError(line)


def d_step(layer: type[Broadcast] | None, batch: int, kernels: int, dim: int, compiled: bool) -> Callable[[], None]:
    g, d = networks(kernels, dim)
    d.fit_minibatch(real_images(batch))
    if layer is not None:
        d.minibatch = layer(d.minibatch.weight)
    return step_of(game_of(g, d, kind=OfD), batch, compile=compiled)


@pytest.mark.parametrize(("batch", "kernels", "dim"), [(64, 100, 5), (128, 100, 5), (64, 300, 50)])
def test_discriminator_step(benchmark: BenchmarkFixture, batch: int, kernels: int, dim: int) -> None:
    torch.compiler.reset()
    sizes = (batch, kernels, dim)
    race(
        benchmark,
        "kernels",
        {
            "kernels": d_step(None, *sizes, compiled=False),
            "broadcast": d_step(Broadcast, *sizes, compiled=False),
            "cdist": d_step(Cdist, *sizes, compiled=False),
            "kernels compiled": d_step(None, *sizes, compiled=True),
            "broadcast compiled": d_step(Broadcast, *sizes, compiled=True),
            "cdist compiled": d_step(Cdist, *sizes, compiled=True),
        },
        params={"batch": batch, "kernels": kernels, "values each": dim, "resolution": RESOLUTION, "width": WIDTH},
        units={"images": batch},
    )


def whole_step(update: Update, batch: int) -> Callable[[], None]:
    return step_of(game_of(*networks(), shared_latents=update == "merged"), batch, update)


@pytest.mark.parametrize("batch", [64])
def test_kind_of_update(benchmark: BenchmarkFixture, batch: int) -> None:
    race(
        benchmark,
        "merged",
        {update: whole_step(update, batch) for update in ("merged", "joint", "alternating")},
        params={"batch": batch, "resolution": RESOLUTION, "width": WIDTH},
        units={"images": batch},
    )
