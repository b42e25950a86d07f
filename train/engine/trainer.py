"""The state of a run and one step of it. Nothing here knows files or a network family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from train.base.seeds import stream_seed
from train.base.tables import lookup
from train.data import ImageSet, ShuffledOrder, to_float
from train.engine.cuda_graphs import Cuda, wanted
from train.engine.player import Player
from train.engine.precision import Autocast
from train.engine.schedule import Position, Schedule
from train.engine.step import Batch, Update, WholeStep
from train.engine.steps import Losses

D_METERS = ("d_loss", "penalty", "real_score", "fake_score", "d_norm")
G_METERS = ("g_loss", "g_norm")
METERS = D_METERS + G_METERS


def instance_noise_deviation(start: float, images: int, over: float) -> float:
    """Of the instance noise after so many images: it falls linearly from ``start`` to 0 over ``over`` of them."""
    return start * max(0.0, 1 - images / over)


@dataclass(frozen=True)
class Game:
    """What a network family brings.

    Attributes:
        ema: the averaged copy of the generator's network.
        latent: length of the latent vector.
        conditional: whether real images come with their labels; generated ones have some where the losses say so.
        grow: brings all three networks to a resolution and a fade: 0 for none, or a 0-d tensor that they keep.
        blend: how real images x [N, C, H, W] look at a fade, 0-d.
        fit: scales D's minibatch discrimination, if it has one, to real images, once more.
    """

    generator: Player
    discriminator: Player
    ema: nn.Module
    losses: Losses
    latent: int
    conditional: bool = False
    grow: Callable[[int, float | Tensor], None] = lambda resolution, fade: None
    blend: Callable[[Tensor, float | Tensor], Tensor] = lambda x, fade: x
    fit: Callable[[], None] = lambda: None

    @property
    def generates_classes(self) -> bool:
        """Whether the generator takes labels."""
        return self.conditional and self.losses.class_fakes


class Trainer:
    """Trains a game's players; :meth:`state_dict` is all that a resumed run needs to go on exactly.

    Args:
        seed: of the run; with ``rank`` it seeds this process's random numbers.
        ema_kimg: half-life of the averaged generator in thousands of images, by resolution.
        update: how the players move, see :data:`train.engine.step.Update`.
        d_steps: D's moves for each of G's, every one on new images; 1 unless the players alternate.
        ttur: D's learning rate over G's (two time-scale update rule, Heusel et al. 2017).
        instance_noise: deviation of the normal noise on all that D is shown, at the start (Sønderby et al. 2017); it
            falls linearly to 0 over ``instance_noise_images``, the whole schedule unless told.
        reset_optimizer: forget the optimizers' state at the start of each phase but the first.
        mirror: mirror half of the real images, if the data allows it.
        compile: compile the gradients' computation, anew for each phase.
        cuda_graphs: record each phase's steps as CUDA graphs: "on", "off", or "auto" (see
            :mod:`train.engine.cuda_graphs`).

    Attributes:
        say: takes a line for people, such as why something is not compiled.
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
        update: Update = "alternating",
        d_steps: int = 1,
        ttur: float = 1.0,
        instance_noise: float = 0.0,
        instance_noise_images: float | None = None,
        reset_optimizer: bool = False,
        mirror: bool = True,
        compile: bool = False,
        cuda_graphs: str = "off",
    ) -> None:
        self.game, self.schedule, self.data, self.device = game, schedule, images, device
        self._autocast, self._ema_kimg = autocast, ema_kimg
        self._update, self._d_steps, self._ttur = update, d_steps, ttur
        self._instance_noise, self._instance_noise_images = instance_noise, instance_noise_images or schedule.total
        self._reset_optimizer = reset_optimizer
        self._mirror = mirror and images.mirror
        self._labels = images.labels.to(device) if game.conditional else None
        self.images = 0
        self.steps = 0
        self._compile, self._cuda_graphs = compile, cuda_graphs
        self._cuda = Cuda(device) if device.type == "cuda" and cuda_graphs != "off" else None
        self.say: Callable[[str], None] = print
        self._phase = 0
        self._fade = torch.tensor(0.0, device=device)
        self._stage: tuple[int, bool] | None = None
        self._whole_step: WholeStep | None = None
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
        """Moves both players by a step and says where in the schedule that was. Nothing is read from the device."""
        position = self.position
        self._enter(position)
        self._whole_step(self._batch(position))
        self.images += position.batch * self._d_steps
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
            "meters": METERS,
            "sums": self._sums.clone(),
            "counts": self._counts.clone(),
        }
        if self.device.type == "cuda":
            state["global_random_cuda"] = torch.cuda.get_rng_state(self.device)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.images, self.steps, self._phase = (int(state[name]) for name in ("images", "steps", "phase"))
        if min(self.images, self.steps) < 0:
            raise ValueError(f"images={self.images}, steps={self.steps}: a run cannot have shown less than nothing")
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
        if tuple(state.get("meters", ())) == METERS:  # else: they were others; their means begin anew
            self._sums.copy_(state["sums"])
            self._counts.copy_(state["counts"])

    def _enter(self, position: Position) -> None:
        """Brings networks and optimizers to a position."""
        # Within a stage nothing changes its shape or its place in memory.
        stage = (position.phase, position.fade > 0)
        if stage != self._stage:
            if self._whole_step is not None:
                self._whole_step.release()
            self.game.grow(position.resolution, self._fade if position.fade else 0.0)
            for player in (self.game.generator, self.game.discriminator):
                player.refresh()
                if position.phase != self._phase and self._reset_optimizer:
                    player.reset_optimizer()
            self._whole_step = self._step_for(position)
            self._stage, self._phase = stage, position.phase
        self._fade.fill_(position.fade)
        self.game.generator.set_lr(position.lr)
        self.game.discriminator.set_lr(position.lr * self._ttur)

    def _step_for(self, position: Position) -> WholeStep:
        game = self.game
        return WholeStep(
            game.discriminator,
            game.generator,
            game.ema,
            game.losses,
            self._autocast,
            half_life=1000 * lookup(self._ema_kimg, position.resolution),
            microbatch=position.microbatch,
            update=self._update,
            d_steps=self._d_steps,
            report_d=self._measure_d,
            report_g=self._measure_g,
            compile=self._compile,
            cuda=self._cuda if wanted(self._cuda_graphs, self.device, position.resolution) else None,
            say=lambda line: self.say(f"{position.resolution}x{position.resolution}: {line}"),
        )

    def _batch(self, position: Position) -> Batch:
        count = position.batch
        shown = count * self._d_steps
        real, labels = self._real_batch(position, shown)
        z_for_d = self._latents(shown)
        weights = torch.rand(shown, generator=self._random, device=self.device)
        z_for_g, labels_for_g = self._latents(count), self._random_labels(count)
        noise_for_d = noise_for_g = None
        if self._instance_noise:
            real = real + self._noise_like(real)
            noise_for_d = self._noise_like(real)
            if self._update != "merged":  # where G is given what D is
                noise_for_g = self._noise_like(real[:count])
        return Batch(real, labels, z_for_d, weights, z_for_g, labels_for_g, noise_for_d, noise_for_g)

    def _real_batch(self, position: Position, count: int) -> tuple[Tensor, Tensor | None]:
        """Images float32 [N, C, H, W] in [-1, 1], channels last, and labels int64 [N] for a conditional game."""
        indices = self._order.next(count)
        pixels = self.data.batch(indices, position.resolution).to(self.device, non_blocking=True)
        if self._mirror:
            flip = torch.rand(len(pixels), 1, 1, 1, generator=self._random, device=self.device) < 0.5
            pixels = torch.where(flip, pixels.flip(3), pixels)
        real = to_float(pixels).contiguous(memory_format=torch.channels_last)
        labels = None if self._labels is None else self._labels[indices.to(self.device)]
        return self.game.blend(real, self._fade if position.fade else 0.0), labels

    def _noise_like(self, images: Tensor) -> Tensor:
        """Instance noise of the present deviation."""
        deviation = instance_noise_deviation(self._instance_noise, self.images, self._instance_noise_images)
        return torch.empty_like(images).normal_(generator=self._random).mul_(deviation)

    def _latents(self, count: int) -> Tensor:
        return torch.randn(count, self.game.latent, generator=self._random, device=self.device)

    def _random_labels(self, count: int) -> Tensor | None:
        """Labels as frequent as in the data, int64 [N]."""
        if not self.game.generates_classes:
            return None
        return self._labels[torch.randint(len(self._labels), (count,), generator=self._random, device=self.device)]

    def _measure_d(self, *values: Tensor) -> None:
        self._measure(slice(0, len(D_METERS)), values)

    def _measure_g(self, *values: Tensor) -> None:
        self._measure(slice(len(D_METERS), None), values)

    def _measure(self, meters: slice, values: Sequence[Tensor]) -> None:
        now = torch.stack(list(values))
        finite = torch.isfinite(now)
        # Not torch.where(finite, now, 0): it copies the 0 to the device, which a CUDA graph cannot hold.
        self._sums[meters] += now.masked_fill(finite.logical_not(), 0)
        self._counts[meters] += finite
