"""``python -m train.pggan``: trains a progressively growing GAN (Karras et al. 2018)."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from models.pggan import Discriminator, Generator, fade_reals
from train.base.capacity import check_networks
from train.base.errors import UsageError, run_program
from train.base.seeds import stream_seed
from train.data import ImageSet
from train.engine.ema import averaged_copy
from train.engine.trainer import Game, Trainer
from train.gan.build import fit_minibatch, new_trainer, train_as_told
from train.gan.options import losses_of, new_players
from train.pggan_config import PRESETS, PgganConfig, schedule_of

PROG = "python -m train.pggan"
DESCRIPTION = (
    "Trains a progressively growing GAN. A TABLE is one value for all resolutions, or values that each apply from a"
    " resolution on: 4:128,32:64 is 128 up to 16x16 and 64 from 32x32."
)


def generator_options(config: PgganConfig, image_channels: int, num_classes: int) -> dict[str, Any]:
    """The arguments of :class:`models.pggan.Generator`; checkpoints hold them, so that they say what they are of."""
    return {
        "resolution": config.resolution,
        "image_channels": image_channels,
        "latent_dim": config.latent,
        "fmap_base": config.fmap_base,
        "fmap_decay": config.fmap_decay,
        "fmap_max": config.fmap_max,
        "num_classes": num_classes,
    }


def build_game(config: PgganConfig, images: ImageSet, num_classes: int, device: torch.device) -> Game:
    """Fresh networks for the options; ``num_classes`` is 0 unless the networks take labels."""
    options = generator_options(config, images.channels, num_classes)
    shared = {name: value for name, value in options.items() if name != "latent_dim"}

    def build() -> tuple[Generator, Discriminator]:
        return Generator(**options), Discriminator(
            **shared,
            conditioning=config.conditioning,
            group_size=config.group_size or None,
            minibatch_kernels=config.minibatch_discrimination,
            minibatch_dim=config.minibatch_dim,
        )

    check_networks(build, device, f"latent={config.latent}, fmap_base={config.fmap_base}, fmap_max={config.fmap_max}")
    torch.manual_seed(stream_seed(config.seed, "weights"))
    generator, discriminator = build()
    discriminator.grow(config.first_resolution)

    def fit() -> None:
        fit_minibatch(discriminator, config, images, config.first_resolution, labels=config.conditioning == "concat")

    fit()
    networks = [network.to(device, memory_format=torch.channels_last) for network in (generator, discriminator)]
    ema = averaged_copy(generator)
    players = new_players(config, *networks, betas=(0.0, 0.99), loss_scaling=config.precision == "fp16")

    def grow(resolution: int, fade: float | Tensor) -> None:
        for network in (*networks, ema):
            network.grow(resolution, fade)

    losses = losses_of(config, class_weight=config.class_weight)
    return Game(*players, ema, losses, config.latent, num_classes > 0, grow, fade_reals, fit)


def build_trainer(config: PgganConfig, images: ImageSet, device: torch.device) -> tuple[Trainer, dict[str, Any]]:
    """Everything that trains, from options and data, and the generator's arguments.

    Raises:
        UsageError: if the options contradict each other or the data.
    """
    if config.conditioning == "auto":
        config = dataclasses.replace(config, conditioning="concat" if images.num_classes else "none")
    schedule = schedule_of(config)
    conditional = config.conditioning != "none"
    if conditional and not images.num_classes:
        labels = f"{images.name} has {images.describe_labels()}"
        raise UsageError(f"conditioning={config.conditioning!r} needs labels, and {labels}")
    num_classes = images.num_classes if conditional else 0
    trainer = new_trainer(
        config,
        build_game(config, images, num_classes, device),
        schedule,
        images,
        device,
        reset_optimizer=config.reset_optimizer,
    )
    return trainer, generator_options(config, images.channels, num_classes)


def main(args: Sequence[str] | None = None) -> int:
    return train_as_told(
        sys.argv[1:] if args is None else args,
        PRESETS,
        schedule_of,
        program=PROG,
        description=DESCRIPTION,
        family="pggan",
        build=build_trainer,
    )


if __name__ == "__main__":
    sys.exit(run_program(main))
