"""The state of a run and one step of it. Nothing here knows files or a network family."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from train.data import ImageSet, ShuffledOrder, to_float
from train.ema import average
from train.player import Player
from train.precision import Autocast
from train.schedule import Position, Schedule, lookup
from train.steps import Losses, discriminator_gradients, generator_gradients

METERS = ("d_loss", "g_loss", "penalty", "real_score", "fake_score", "d_norm", "g_norm")


def stream_seed(seed: int, purpose: str, rank: int = 0) -> int:
    """A seed for one of a run's independent streams of random numbers, in one of its processes."""
    return int.from_bytes(hashlib.sha256(f"{seed} {purpose} {rank}".encode()).digest()[:4], "little")


@dataclass(frozen=True)
class Game:
    """What a network family brings.

    Attributes:
        ema: the averaged copy of the generator's network.
        grow: brings all three networks to a position's resolution and fade.
        blend: how real images x [N, C, H, W] look at a fade.
        latent: length of the latent vector.
        conditional: whether the networks take labels.
    """

    generator: Player
    discriminator: Player
    ema: nn.Module
    losses: Losses
    grow: Callable[[Position], None]
    blend: Callable[[Tensor, float], Tensor]
    latent: int
    conditional: bool = False


class Trainer:
    """Trains a game's players; :meth:`state_dict` is all that a resumed run needs to go on exactly.

    Args:
        seed: of the run; with ``rank`` it seeds this process's random numbers.
        ema_kimg: half-life of the averaged generator in thousands of images, by resolution.
        joint: update both players from the same state, instead of G against the updated D.
        reset_optimizer: forget the optimizers' state at the start of each phase but the first.
        mirror: mirror half of the real images, if the data allows it.
    """

    def __init__(
        self,
        game: Game,
        schedule: Schedule,
        images: ImageSet,
        *,
        device: torch.device,
        autocast: Autocast,
        ema_kimg: dict[int, float],
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        joint: bool = False,
        reset_optimizer: bool = False,
        mirror: bool = True,
    ) -> None:
        self.game, self.schedule, self.data, self.device = game, schedule, images, device
        self._autocast, self._ema_kimg = autocast, ema_kimg
        self._joint, self._reset_optimizer = joint, reset_optimizer
        self._mirror = mirror and images.mirror
        self._labels = images.labels.to(device) if game.conditional else None
        self.images = 0
        self.steps = 0
        self._phase = 0
        self._stage: tuple[int, bool] | None = None
        self._order = ShuffledOrder(len(images), stream_seed(seed, "order"), rank, world_size)
        self._random = torch.Generator(device).manual_seed(stream_seed(seed, "steps", rank))
        self._sums = torch.zeros(len(METERS), device=device)
        self._counts = torch.zeros(len(METERS), device=device)

    @property
    def position(self) -> Position:
        """Of the step to come."""
        return self.schedule.position(self.images)

    @property
    def done(self) -> bool:
        return self.images >= self.schedule.total

    def step(self) -> Position:
        """Shows one batch to both players and says where in the schedule that was. Nothing is read from the device."""
        position = self.position
        self._enter(position)
        generator, discriminator = self.game.generator, self.game.discriminator
        settings = {"losses": self.game.losses, "autocast": self._autocast, "microbatch": position.microbatch}

        real, labels = self._real_batch(position)
        z = self._latents(position.batch)
        d = discriminator_gradients(discriminator, generator, real, z, labels, random=self._random, **settings)
        if not self._joint:
            d_norm, _ = discriminator.update()
        z, labels = self._latents(position.batch), self._random_labels(position.batch)
        g_loss = generator_gradients(generator, discriminator, z, labels, **settings)
        if self._joint:
            d_norm, _ = discriminator.update()
        g_norm, _ = generator.update()
        half_life = 1000 * lookup(self._ema_kimg, position.resolution)
        average(self.game.ema, generator.network, position.batch, half_life)

        self._measure(d.loss, g_loss, d.penalty, d.real_score, d.fake_score, d_norm, g_norm)
        self.images += position.batch
        self.steps += 1
        return position

    def measurements(self) -> dict[str, float]:
        """Means of METERS since the last call over the steps where they were finite (NaN if there was none)."""
        values = dict(zip(METERS, (self._sums / self._counts).tolist(), strict=True))
        self._sums.zero_()
        self._counts.zero_()
        return values

    def skipped(self) -> tuple[int, int]:
        """Updates skipped for non-finite gradients: in the whole run, and the longest row of them up to now."""
        players = (self.game.generator, self.game.discriminator)
        return int(sum(p.skipped for p in players)), int(max(p.streak for p in players))

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "images": self.images,
            "steps": self.steps,
            "phase": self._phase,
            "generator": self.game.generator.state_dict(),
            "discriminator": self.game.discriminator.state_dict(),
            "ema": self.game.ema.state_dict(),
            "order": self._order.state_dict(),
            "random": self._random.get_state(),
            "global_random": torch.get_rng_state(),
            "sums": self._sums.clone(),
            "counts": self._counts.clone(),
        }
        if self.device.type == "cuda":
            state["global_random_cuda"] = torch.cuda.get_rng_state(self.device)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.images, self.steps, self._phase = state["images"], state["steps"], state["phase"]
        self.game.generator.load_state_dict(state["generator"])
        self.game.discriminator.load_state_dict(state["discriminator"])
        self.game.ema.load_state_dict(state["ema"])
        self._stage = None
        self._order.load_state_dict(state["order"])
        if state["random"].shape == self._random.get_state().shape:  # else: it is of another kind of device
            self._random.set_state(state["random"])
        torch.set_rng_state(state["global_random"])
        if self.device.type == "cuda" and "global_random_cuda" in state:
            torch.cuda.set_rng_state(state["global_random_cuda"], self.device)
        self._sums.copy_(state["sums"])
        self._counts.copy_(state["counts"])

    def _enter(self, position: Position) -> None:
        """Brings networks and optimizers to a position."""
        players = (self.game.generator, self.game.discriminator)
        self.game.grow(position)
        # Which parameters are in use changes where a fade begins or ends.
        stage = (position.resolution, position.fade > 0)
        for player in players:
            if stage != self._stage:
                player.refresh()
            if position.phase != self._phase and self._reset_optimizer:
                player.reset_optimizer()
            player.set_lr(position.lr)
        self._stage, self._phase = stage, position.phase

    def _real_batch(self, position: Position) -> tuple[Tensor, Tensor | None]:
        """Images float32 [N, C, H, W] in [-1, 1], channels last, and labels int64 [N] for a conditional game."""
        indices = self._order.next(position.batch)
        pixels = self.data.batch(indices, position.resolution).to(self.device, non_blocking=True)
        if self._mirror:
            flip = torch.rand(len(pixels), 1, 1, 1, generator=self._random, device=self.device) < 0.5
            pixels = torch.where(flip, pixels.flip(3), pixels)
        real = to_float(pixels).contiguous(memory_format=torch.channels_last)
        labels = None if self._labels is None else self._labels[indices.to(self.device)]
        return self.game.blend(real, position.fade), labels

    def _latents(self, count: int) -> Tensor:
        return torch.randn(count, self.game.latent, generator=self._random, device=self.device)

    def _random_labels(self, count: int) -> Tensor | None:
        """Labels as frequent as in the data, int64 [N]."""
        if self._labels is None:
            return None
        return self._labels[torch.randint(len(self._labels), (count,), generator=self._random, device=self.device)]

    def _measure(self, *values: Tensor) -> None:
        now = torch.stack([value.detach() for value in values])
        finite = torch.isfinite(now)
        self._sums += torch.where(finite, now, 0)
        self._counts += finite
