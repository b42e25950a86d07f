"""``python -m train.dcgan``: trains a DCGAN (Radford et al. 2016), with any of the techniques that stabilise it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch

from models.dcgan import Discriminator, Generator
from train.base.capacity import check_networks
from train.base.errors import UsageError, run_program
from train.base.seeds import stream_seed
from train.data import ImageSet
from train.dcgan_config import PRESETS, DcganConfig, schedule_of
from train.engine.ema import averaged_copy
from train.engine.trainer import Game, Trainer
from train.gan.build import fit_minibatch, new_trainer, train_as_told
from train.gan.options import losses_of, new_players

PROG = "python -m train.dcgan"
DESCRIPTION = (
    "Trains a DCGAN. Each technique is one option, off by default. They can be combined; where they cannot, an error"
    " says why."
)


def generator_options(config: DcganConfig, image_channels: int) -> dict[str, Any]:
    """The arguments of :class:`models.dcgan.Generator`; checkpoints hold them, so that they say what they are of."""
    return {
        "resolution": config.resolution,
        "image_channels": image_channels,
        "latent_dim": config.latent,
        "width": config.g_width,
        "kernel_size": config.kernel_size,
        "norm": config.g_norm,
        "weight_norm": config.weight_norm,
        "reference_batch": config.reference_batch,
    }


def build_game(config: DcganConfig, images: ImageSet, device: torch.device) -> Game:
    """Fresh networks for the options."""

    def build() -> tuple[Generator, Discriminator]:
        return Generator(**generator_options(config, images.channels)), Discriminator(
            config.resolution,
            image_channels=images.channels,
            width=config.d_width,
            kernel_size=config.kernel_size,
            norm=config.d_norm,
            weight_norm=config.weight_norm,
            num_classes=images.num_classes if config.labels else 0,
            minibatch_kernels=config.minibatch_discrimination,
            minibatch_dim=config.minibatch_dim,
        )

    check_networks(build, device, f"latent={config.latent}, g_width={config.g_width}, d_width={config.d_width}")
    torch.manual_seed(stream_seed(config.seed, "weights"))
    generator, discriminator = build()

    def fit() -> None:
        fit_minibatch(discriminator, config, images, config.resolution, labels=False)

    fit()
    networks = [network.to(device, memory_format=torch.channels_last) for network in (generator, discriminator)]
    players = new_players(config, *networks, betas=(config.beta1, 0.999), loss_scaling=config.precision == "fp16")
    losses = losses_of(config, class_weight=config.class_weight, class_fakes=False)
    return Game(*players, averaged_copy(generator), losses, config.latent, conditional=config.labels, fit=fit)


def build_trainer(config: DcganConfig, images: ImageSet, device: torch.device) -> tuple[Trainer, dict[str, Any]]:
    """Everything that trains, from options and data, and the generator's arguments.

    Raises:
        UsageError: if the options contradict each other or the data.
    """
    if config.labels and not images.num_classes:
        raise UsageError(f"labels=True needs labels, and {images.name} has {images.describe_labels()}")
    game = build_game(config, images, device)
    return new_trainer(config, game, schedule_of(config), images, device), generator_options(config, images.channels)


def main(args: Sequence[str] | None = None) -> int:
    return train_as_told(
        sys.argv[1:] if args is None else args,
        PRESETS,
        schedule_of,
        program=PROG,
        description=DESCRIPTION,
        family="dcgan",
        build=build_trainer,
    )


if __name__ == "__main__":
    sys.exit(run_program(main))
