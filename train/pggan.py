"""PGGAN: both networks grow from 4x4 up, WGAN-GP (Karras et al. 2018, arXiv 1710.10196)."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gan_ops.objectives import WassersteinGP
from models.parts.growing import Growing
from models.pggan import Discriminator, Generator, fade_reals
from train.base.errors import run_program
from train.data import ImageSet
from train.engine.schedule import Position
from train.engine.trainer import Trainer
from train.gan.build import build_gan
from train.gan.conditions import CodedConfig, Condition
from train.gan.game import Gan
from train.gan.growing import GrowingConfig
from train.gan.losses import LOSSES, loss_option
from train.run.session import train_as_told
from train.run.system import System

PGGAN_LOSSES = {**LOSSES, "wgan-gp": WassersteinGP(drift=0.001)}  # Karras et al. 2018, appendix A.1
Loss = loss_option(PGGAN_LOSSES)


class Pggan(Gan):
    """A game whose networks grow, and whose real images fade as they do."""

    def arrange(self, networks: Mapping[str, nn.Module], at: Position, fade: float | Tensor) -> None:
        super().arrange(networks, at, fade)
        for network in networks.values():
            if isinstance(network, Growing):  # an objective that learns does not
                network.grow(at.resolution, fade)
        self._fade = fade

    def blend(self, real: Tensor, fade: float | Tensor) -> Tensor:
        return fade_reals(real, fade)


@dataclass(frozen=True)
class PgganConfig(GrowingConfig, CodedConfig):
    """Options of progressive growing."""

    loss: Loss = "wgan-gp"
    condition: Literal[Condition, "auto"] = "none"
    """Use of labels: see train.dcgan; auto: cgan if there are labels."""

    LOSSES = PGGAN_LOSSES


def _half_life(batch: int) -> str:
    """Thousands of images after which an average that keeps 0.999 of itself at every step has forgotten half."""
    return f"{batch / 1000 * math.log(0.5) / math.log(0.999):.4g}"


_PAPER_BATCH = {4: 16, 256: 14, 512: 6, 1024: 3}
_CELEBA_HQ = {
    "data": "data/celeba-hq",
    "resolution": 1024,
    "latent": 512,
    "fmap_base": 8192,
    "fmap_max": 512,
    "log_kimg": "4:40,32:20,128:10,512:4",
    "image_kimg": "4:200,128:100,512:40",
    "checkpoint_kimg": "4:200,128:100,512:40",
}

# The numbers are those of the paper's reference implementations; see their table in Karras et al. 2018, appendix A.
PRESETS: dict[str, PgganConfig] = {
    # Sized for two CPU cores: about nine minutes.
    "glyphs": PgganConfig(
        precision="auto",
        fade_kimg="4:6,16:8,32:10",
        stable_kimg="4:6,16:14,32:56",
        batch="4:16,32:8",
        ema_kimg="2",
    ),
    "celebahq-1024": PgganConfig(
        preset="celebahq-1024",
        kimg=12000.0,
        fade_kimg="600",
        stable_kimg="600",
        batch="4:128,32:64,64:32,128:16,256:8,512:4",
        lr="4:0.001,1024:0.0015",
        ema_kimg="10",
        group_size=4,
        **_CELEBA_HQ,
    ),
    # For torchrun with 8 processes, or 4 or 2.
    "celebahq-1024-8gpus": PgganConfig(
        preset="celebahq-1024-8gpus",
        kimg=12000.0,
        fade_kimg="600",
        stable_kimg="600",
        batch="4:512,8:256,16:128,32:64,64:32",
        lr="4:0.001,128:0.0015,256:0.002,512:0.003",
        ema_kimg="10",
        group_size=4,
        **_CELEBA_HQ,
    ),
    "celebahq-1024-paper": PgganConfig(
        preset="celebahq-1024-paper",
        kimg=19000.0,
        fade_kimg="800",
        stable_kimg="800",
        batch=",".join(f"{resolution}:{batch}" for resolution, batch in _PAPER_BATCH.items()),
        lr="0.001",
        lr_ramp_kimg=40.0,
        reset_optimizer=True,
        ema_kimg=",".join(f"{resolution}:{_half_life(batch)}" for resolution, batch in _PAPER_BATCH.items()),
        group_size=0,
        **_CELEBA_HQ,
    ),
    "cifar10": PgganConfig(
        preset="cifar10",
        data="cifar10",
        mirror=False,
        kimg=20000.0,
        fade_kimg="400",
        stable_kimg="400",
        batch="16",
        lr="0.001",
        reset_optimizer=True,
        update="joint",
        ema_kimg=_half_life(16),
        loss="wgan-gp(target=750)",
        latent=128,
        fmap_base=4096,
        fmap_max=128,
        group_size=0,
        log_kimg="20",
        image_kimg="200",
        checkpoint_kimg="200",
    ),
}


def build_trainer(
    config: PgganConfig, lists: Mapping[str, ImageSet], device: torch.device
) -> tuple[Trainer, dict[str, Any]]:
    """What trains, and the generator's arguments, for checkpoints; UsageError where options contradict the data."""
    images = lists["images"]
    schedule = config.schedule()
    conditioning = config.conditioning(images)
    g_classes, d_classes = conditioning.classes(images.num_classes)
    options = {
        **config.maps(),
        "image_channels": images.channels,
        **config.latents(conditioning),
        "num_classes": g_classes,
    }

    def networks() -> tuple[Generator, Discriminator]:
        generator = Generator(**options)
        return generator, config.discriminator(Discriminator, images.channels, d_classes, conditioning.name)

    trainer = build_gan(
        Pggan,
        config,
        schedule,
        images,
        device,
        networks,
        sizes=f"latent={config.latent}, fmap_base={config.fmap_base}, fmap_max={config.fmap_max}",
        betas=(0.0, 0.99),
        conditioning=conditioning,
        reset_optimizer=config.reset_optimizer,
    )
    return trainer, options


SYSTEM = System(
    name="pggan",
    about="Trains a progressively growing GAN. A TABLE is one value for all resolutions, or values that each apply from"
    " a resolution on: 4:128,32:64 is 128 up to 16x16 and 64 from 32x32.",
    presets=PRESETS,
    build=build_trainer,
    networks={"G": Generator},
)

main = partial(train_as_told, SYSTEM)

if __name__ == "__main__":
    sys.exit(run_program(main))
