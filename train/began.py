"""BEGAN: an autoencoder as critic, kept in balance with the generator (Berthelot et al. 2017, arXiv 1703.10717)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from gan_ops.objectives import Began
from models.energy import AutoencoderCritic, BeganDecoder, Energy, began_critic
from train.base.errors import run_program
from train.base.values import Size
from train.data import ImageSet
from train.engine.trainer import Trainer
from train.gan.build import build_gan
from train.gan.conditioning import Conditioning
from train.gan.energies import EnergyConfig
from train.gan.game import Gan
from train.gan.losses import loss_option
from train.run.options import Table
from train.run.session import train_as_told
from train.run.system import System

LOSSES = {"began": Began()}


@dataclass(frozen=True)
class BeganConfig(EnergyConfig):
    """Options of BEGAN; the defaults are the paper's (Berthelot et al. 2017, section 4.1)."""

    batch: Table = "16"
    """Images in a step."""
    lr: Table = "0.0001"
    """Learning rate of both networks; the paper halves it when the reported convergence stalls: see lr-decay."""
    latent: Size = 64
    """Length of the latent vector and of D's code (the paper's: 64)."""
    width: Size = 128
    """Feature maps of G's and the decoder's layers; the encoder has once, twice, ... as many (the paper's n: 128)."""
    loss: loss_option(LOSSES) = "began"
    energy: Energy = "l1"
    """Of the error x - D(x); l1: mean of absolute values (the paper's); mse: mean square; l2: length; sse: square."""

    SIZES = (*EnergyConfig.SIZES, "width")
    LOSSES = LOSSES


_PHOTOS = {"data": "celeba", "ema_kimg": "10", "log_kimg": "20", "image_kimg": "200", "checkpoint_kimg": "200"}
PRESETS: dict[str, BeganConfig] = {
    # Sized for two CPU cores. k has a hundredth of the paper's steps to find its place, so it moves faster; more of
    # gamma than the paper's 0.5 keeps G from drawing what is easiest to reconstruct.
    "glyphs": BeganConfig(
        precision="auto",
        kimg=100.0,
        lr="0.001",
        latent=32,
        width=16,
        loss="began(gamma=0.7,rate=0.02)",
        ema_kimg="3",
        checkpoint_kimg="20",
    ),
    "celeba-64": BeganConfig(preset="celeba-64", resolution=64, kimg=3200.0, lr_decay=0.5, **_PHOTOS),
    "celeba-128": BeganConfig(preset="celeba-128", resolution=128, kimg=3200.0, lr_decay=0.5, **_PHOTOS),
}


def build_trainer(
    config: BeganConfig, lists: Mapping[str, ImageSet], device: torch.device
) -> tuple[Trainer, dict[str, Any]]:
    """What trains, and the generator's arguments, for checkpoints; UsageError for what is larger than the memory."""
    images = lists["images"]
    shape = {"resolution": config.resolution, "image_channels": images.channels, "width": config.width}
    options = {**shape, "latent_dim": config.latent}

    def networks() -> tuple[BeganDecoder, AutoencoderCritic]:
        return BeganDecoder(**options), began_critic(**shape, code=config.latent, energy=config.energy)

    trainer = build_gan(
        Gan,
        config,
        config.schedule(),
        images,
        device,
        networks,
        sizes=f"latent={config.latent}, width={config.width}",
        betas=(config.beta1, config.beta2),
        conditioning=Conditioning(),
    )
    return trainer, options


SYSTEM = System(
    name="began",
    about="Trains a BEGAN: D is an autoencoder, and a number k keeps its failures on samples and on images in balance.",
    presets=PRESETS,
    build=build_trainer,
    networks={"G": BeganDecoder},
)

main = partial(train_as_told, SYSTEM)

if __name__ == "__main__":
    sys.exit(run_program(main))
