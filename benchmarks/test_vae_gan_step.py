"""VAE-GAN's step beside the loop that a good user of torch writes for the same networks: one pass, three backwards."""

from __future__ import annotations

import copy

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.machine import DEVICE
from benchmarks.race import race
from gan_ops.objectives import NonSaturating
from models.autoencoder import Encoder
from models.dcgan import Discriminator, Generator
from train.engine.ema import averaged_copy, weight_of
from train.engine.game import Role
from train.engine.player import Player
from train.engine.precision import Autocast
from train.engine.schedule import Position
from train.engine.step import Step
from train.vae_gan import VaeGan

RESOLUTION, WIDTH, LATENT, BETAS = 32, 32, 32, (0.5, 0.999)
HEIGHT, GAMMA = 8, 1e-3
LR, HALF_LIFE = 5e-4, 5000.0


def networks(norm: str) -> dict[str, nn.Module]:
    """``norm`` is D's."""
    torch.manual_seed(0)
    made = {
        "E": Encoder(RESOLUTION, latent_dim=LATENT, width=WIDTH),
        "G": Generator(RESOLUTION, latent_dim=LATENT, width=WIDTH),
        "D": Discriminator(RESOLUTION, width=WIDTH, norm=norm),
    }
    return {name: network.to(DEVICE, memory_format=torch.channels_last) for name, network in made.items()}


class Ours:
    """The parts of train.engine.trainer that a step is made of, without data and logging, which the plain loop lacks
    too."""

    def __init__(self, batch: int, dtype: torch.dtype, norm: str = "batch", eps: float = 1e-8) -> None:
        self.networks = networks(norm)
        roles = {name: Role((name,), betas=BETAS, eps=eps) for name in self.networks}
        game = VaeGan(self.networks, roles, NonSaturating(), height=HEIGHT, gamma=GAMMA)
        players = {name: Player({name: game.networks[name]}, role) for name, role in roles.items()}
        for player in players.values():
            player.set_lr(LR)
        self.averages = {name: averaged_copy(self.networks[name]) for name in game.averaged}
        self._step = Step(
            game,
            game.moves(Position(0, 0, RESOLUTION, 0.0, batch, batch, LR)),
            players,
            self.averages,
            Autocast(DEVICE, dtype),
            batch=batch,
            weight=weight_of(batch, HALF_LIFE),
            update="merged",
        )

    def step(self, x: Tensor, z: Tensor, eps: Tensor) -> None:
        self._step({"x": x, "z": z, "eps": eps})


class Plain:
    """The same step in plain torch: what the losses share is computed once, and each ``backward`` is told whose
    gradients are wanted, so that it goes no further; fused Adam and fused averages."""

    def __init__(self, batch: int, dtype: torch.dtype, norm: str = "batch", eps: float = 1e-8) -> None:
        self.networks = networks(norm)
        self.dtype, self.decay = dtype, 0.5 ** (batch / HALF_LIFE)
        self.parameters = {name: list(network.parameters()) for name, network in self.networks.items()}
        self.optimizers = {
            name: torch.optim.Adam(some, lr=LR, betas=BETAS, eps=eps, fused=True)
            for name, some in self.parameters.items()
        }
        self.averages = {name: copy.deepcopy(self.networks[name]).requires_grad_(False) for name in ("E", "G")}

    def step(self, x: Tensor, z: Tensor, eps: Tensor) -> None:
        e, g, d = (self.networks[name] for name in "EGD")
        n = len(x)
        with torch.autocast(DEVICE.type, self.dtype, enabled=self.dtype != torch.float32):
            mean, log_variance = e(x)
            fake = g(torch.cat([mean + torch.exp(0.5 * log_variance) * eps, z])).float()
            scores = d(torch.cat([x, fake]))
        features = next(some for some in scores.maps if some.shape[2] == HEIGHT).float()
        prior = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum() / n
        unlikelihood = 0.5 * F.mse_loss(features[n : 2 * n], features[:n], reduction="sum") / n
        real, again, drawn = scores.score.split(n)
        deceived = F.softplus(-again).mean() + F.softplus(-drawn).mean()
        losses = {
            "E": prior + unlikelihood,
            "G": GAMMA * unlikelihood + deceived,
            "D": F.softplus(-real).mean() + F.softplus(torch.cat([again, drawn])).mean(),
        }
        for name, loss in losses.items():
            self.optimizers[name].zero_grad()
            loss.backward(inputs=self.parameters[name], retain_graph=name != "D")
        for optimizer in self.optimizers.values():
            optimizer.step()
        self.average()

    @torch.no_grad()
    def average(self) -> None:
        for name, average in self.averages.items():
            mine, theirs = (list(network.state_dict().values()) for network in (average, self.networks[name]))
            torch._foreach_lerp_(*(floats(tensors) for tensors in (mine, theirs)), 1 - self.decay)
            for tensor, other in zip(mine, theirs, strict=True):
                if not tensor.is_floating_point():  # counts
                    tensor.copy_(other)


def floats(tensors: list[Tensor]) -> list[Tensor]:
    """Parameters and running statistics."""
    return [tensor for tensor in tensors if tensor.is_floating_point()]


def inputs(batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images, and the random numbers of a step."""
    x = torch.rand(batch, 3, RESOLUTION, RESOLUTION, device=DEVICE) * 2 - 1
    z, eps = torch.randn(2, batch, LATENT, device=DEVICE)
    return x.contiguous(memory_format=torch.channels_last), z, eps


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_vae_gan_step(benchmark: BenchmarkFixture, norm: str, precision: str) -> None:
    batch = 32
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    given = inputs(batch)
    steps = {"ours": Ours(batch, dtype, norm), "plain": Plain(batch, dtype, norm)}
    race(
        benchmark,
        "ours",
        {name: lambda made=made: made.step(*given) for name, made in steps.items()},
        params={"batch": batch, "D's norm": norm, "precision": precision, "resolution": RESOLUTION, "width": WIDTH},
        units={"images": batch},
    )
