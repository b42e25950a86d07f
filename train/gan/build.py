"""From options and networks to what trains: a game of a generator and a discriminator on images, or any other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from gan_ops.objectives import GradientNorm
from train.base.capacity import check_fits, check_networks
from train.base.errors import UsageError
from train.base.seeds import stream_seed
from train.data import ImageSet, to_float
from train.data.sources import Images, WithHeldOut
from train.engine.curve import Cosine, Curve
from train.engine.game import Game, Source
from train.engine.precision import DTYPES, Autocast
from train.engine.schedule import Schedule
from train.engine.trainer import Trainer
from train.gan.conditioning import Conditioning
from train.gan.game import Gan
from train.gan.options import GanConfig
from train.run.options import TrainConfig

FIRST_IMAGES = 64  # or packs of real ones, that minibatch discrimination is scaled to


def build_gan(
    kind: Callable[..., Gan],
    config: GanConfig,
    schedule: Schedule,
    images: ImageSet,
    device: torch.device,
    networks: Callable[[], tuple[nn.Module, ...]],
    *,
    sizes: str,
    betas: tuple[float, float | Cosine],
    conditioning: Conditioning,
    gradient_norm: GradientNorm | Literal[""] = "",
    reset_optimizer: bool = False,
    ema_curve: Curve | None = None,
) -> Trainer:
    """What plays a game as the options say.

    Args:
        kind: of its networks, roles, objective and options.
        networks: makes G, D and whatever else the game has.
        sizes: the options that their sizes come from, for messages.
        betas: of both optimizers.
        gradient_norm: see :class:`train.gan.critic.Critic`.
        reset_optimizer, ema_curve: see :class:`train.engine.trainer.Trainer`.

    Raises:
        UsageError: if networks or batches are larger than the memory, all images are held out, or they are all alike,
            so that minibatch discrimination cannot be scaled to them.
    """
    images, held_out = parted(images, config.held_out)
    for phase in schedule.phases:
        shown = phase.batch * config.d_steps
        values = images.channels * phase.resolution**2 + config.latent  # of an image and its latent, float32
        check_fits(4 * shown * values, device, f"batch={phase.batch} at {phase.resolution}x{phase.resolution}")
    check_networks(networks, device, sizes)
    torch.manual_seed(stream_seed(config.seed, "weights"))
    made = networks()
    fit = partial(_fit_minibatch, made[1], images, config, conditioning)
    fit()
    source: Images | WithHeldOut = Images(images, device, mirror=config.mirror, seed=config.seed)
    if held_out is not None:
        source = WithHeldOut(source, Images(held_out, device, mirror=config.mirror, seed=config.seed + 1))
    game = kind(
        *(network.to(device, memory_format=torch.channels_last) for network in made),
        config.roles(betas),
        config.objective(),
        latent=made[0].latent_dim,
        penalties=config.penalties(),
        conditioning=conditioning,
        augmentation=config.augmentation(schedule, device),
        pack=config.pack,
        gradient_norm=gradient_norm,
        d_steps=config.d_steps,
        shared_latents=config.update == "merged",
        held_out=held_out is not None,
        labels=source.labels,
        fit=fit,
    )
    how = {"update": config.update, "reset_optimizer": reset_optimizer, "ema_curve": ema_curve}
    return trainer_of(game, config, schedule, source, device, **how)


def parted(images: ImageSet, held_out: int) -> tuple[ImageSet, ImageSet | None]:
    """Images to learn from, and so many others, chosen at random, but the same in all runs; None for no others.

    Raises:
        UsageError: if none would be left to learn from.
    """
    if not held_out:
        return images, None
    if held_out >= len(images):
        raise UsageError(f"held_out={held_out} leaves none of {images.name}'s {len(images)} images to learn from")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images.part(order[held_out:].sort().values), images.part(order[:held_out].sort().values)


def trainer_of(
    game: Game, config: TrainConfig, schedule: Schedule, source: Source, device: torch.device, **options: Any
) -> Trainer:
    """What plays a game with the options that every trainer has; ``options`` are the trainer's other ones."""
    return Trainer(
        game,
        schedule,
        source,
        device=device,
        autocast=Autocast(device, DTYPES[config.precision]),
        ema_kimg=config.table("ema_kimg"),
        seed=config.seed,
        compile=config.compile,
        cuda_graphs=config.cuda_graphs,
        **options,
    )


def _fit_minibatch(discriminator: nn.Module, images: ImageSet, config: GanConfig, conditioning: Conditioning) -> None:
    """Scales D's minibatch discrimination, if it has any, to some real images, with their labels if D takes labels."""
    if not config.minibatch_discrimination:
        return
    random = torch.Generator().manual_seed(stream_seed(config.seed, "kernels"))
    some = torch.randperm(len(images), generator=random)[: min(FIRST_IMAGES, len(images) // config.pack) * config.pack]
    device = next(discriminator.parameters()).device
    pictures = to_float(images.batch(some, discriminator.resolution)).to(device)
    pictures = pictures.unflatten(0, (-1, config.pack)).flatten(1, 2)  # → [N, pack·C, H, W]
    labels = [images.labels[some].to(device)] if conditioning.judges else []
    try:
        discriminator.fit_minibatch(pictures, *labels)
    except ValueError as error:
        raise UsageError(f"minibatch_discrimination cannot be scaled to {images.name}: {error}") from None
