"""From options and networks to what trains a game of a generator and a discriminator on images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from train.base.capacity import check_fits
from train.base.errors import UsageError
from train.base.seeds import stream_seed
from train.base.tables import parse_table
from train.data import ImageSet, to_float
from train.data.sources import Images
from train.engine.precision import DTYPES, Autocast
from train.engine.schedule import Schedule
from train.engine.trainer import Trainer
from train.gan.augmentation import InstanceNoise
from train.gan.conditioning import Conditioning
from train.gan.game import Gan
from train.gan.options import GanConfig

FIRST_IMAGES = 64
"""Real images that minibatch discrimination is scaled to."""
AnyGan = TypeVar("AnyGan", bound=Gan)


def new_game(
    kind: Callable[..., AnyGan],
    config: GanConfig,
    networks: tuple[nn.Module, nn.Module],
    schedule: Schedule,
    images: ImageSet,
    device: torch.device,
    *,
    betas: tuple[float, float],
    conditioning: Conditioning,
    fit: Callable[[], None],
) -> AnyGan:
    """The game of a generator and a discriminator that the options describe."""
    generator, discriminator = (network.to(device, memory_format=torch.channels_last) for network in networks)
    return kind(
        generator,
        discriminator,
        config.roles(betas),
        config.objective(),
        latent=config.latent,
        penalties=config.penalties(),
        conditioning=conditioning,
        augmentation=InstanceNoise(config.instance_noise, 1000 * config.instance_noise_kimg or schedule.total),
        d_steps=config.d_steps,
        shared_latents=config.update == "merged",
        labels=images.labels.to(device) if conditioning.generates else None,
        fit=fit,
    )


def fit_minibatch(discriminator: nn.Module, config: GanConfig, images: ImageSet, resolution: int, labels: bool) -> None:
    """Scales D's minibatch discrimination, if it has one, to some real images, with their labels if D takes labels.

    Raises:
        UsageError: if these are all alike, so that no scale parts them.
    """
    if not config.minibatch_discrimination:
        return
    random = torch.Generator().manual_seed(stream_seed(config.seed, "kernels"))
    some = torch.randperm(len(images), generator=random)[:FIRST_IMAGES]
    device = next(discriminator.parameters()).device
    x = to_float(images.batch(some, resolution)).to(device)
    given: Mapping[str, Any] = {"labels": images.labels[some].to(device)} if labels else {}
    try:
        discriminator.fit_minibatch(x, **given)
    except ValueError as error:
        raise UsageError(f"minibatch_discrimination cannot be scaled to {images.name}: {error}") from None


def new_trainer(
    config: GanConfig,
    game: Gan,
    schedule: Schedule,
    images: ImageSet,
    device: torch.device,
    *,
    reset_optimizer: bool = False,
) -> Trainer:
    """What trains a game as the options say; see :class:`train.engine.trainer.Trainer`."""
    for phase in schedule.phases:
        shown = phase.batch * config.d_steps
        values = images.channels * phase.resolution**2 + config.latent  # of an image and its latent, float32
        check_fits(4 * shown * values, device, f"batch={phase.batch} at {phase.resolution}x{phase.resolution}")
    return Trainer(
        game,
        schedule,
        Images(images, device, mirror=config.mirror, seed=config.seed),
        device=device,
        autocast=Autocast(device, DTYPES[config.precision]),
        ema_kimg=parse_table(config.ema_kimg, float, "ema_kimg"),
        seed=config.seed,
        update=config.update,
        reset_optimizer=reset_optimizer,
        compile=config.compile,
        cuda_graphs=config.cuda_graphs,
    )
