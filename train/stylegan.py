"""StyleGAN: a generator of styles that grows as PGGAN's does (Karras et al. 2019, arXiv 1812.04948)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch

from models.stylegan import Discriminator, Generator
from train.base.errors import UsageError, run_program
from train.base.values import Range, Share, Size
from train.data import ImageSet
from train.engine.trainer import Trainer
from train.gan.build import build_gan
from train.gan.growing import GrowingConfig
from train.gan.losses import Loss, Penalties
from train.gan.styled import StyleGan
from train.pggan import Pggan
from train.run.options import Table
from train.run.session import train_as_told
from train.run.system import System


class GrowingStyleGan(StyleGan, Pggan):
    """A game of styles whose networks grow, and whose real images fade as they do."""


@dataclass(frozen=True)
class StyleganConfig(GrowingConfig):
    """Options of StyleGAN; the defaults are the authors' for one GPU, at 1024x1024."""

    resolution: int = 1024
    """Final height and width of the images, a power of two."""
    kimg: float = 25000.0
    """Thousands of images to train on; extends the last phase or ends the run early (0: the sum of the phases)."""
    batch: Table = "4:128,32:64,64:32,128:16,256:8,512:4"
    """Images in a step."""
    lr: Table = "4:0.001,128:0.0015,256:0.002,512:0.003"
    """Learning rate of both networks."""
    start_resolution: int = 8
    """First resolution (equal to resolution: no growing; 0: 4, or with init-from the one reached there)."""
    fade_kimg: Table = "600"
    """Thousands of images over which a resolution fades in."""
    stable_kimg: Table = "600"
    """Thousands of images to train on at each resolution after its fade."""
    reset_optimizer: bool = True
    """Reset the optimizers' state whenever the set of active resolutions changes."""
    loss: Loss = "non-saturating"
    penalty: Penalties = "r1(gamma=10)"
    latent: Size = 512
    """Length of the latent vector."""
    w_dim: Size = 512
    """Length of a style w, and width of the mapping network."""
    mapping_layers: Annotated[int, Range(1, 64)] = 8
    """Layers of the mapping network (Karras et al. 2019: 8)."""
    mixing: Share = 0.9
    """Probability that later layers have the style of another latent (style mixing, Karras et al. 2019, 3.1: 0.9)."""
    fmap_base: Size = 8192
    """Feature maps at resolution r are min(2 fmap-base / r^fmap-decay, fmap-max)."""
    fmap_max: Size = 512
    """Maximum number of feature maps of a layer."""
    ema_kimg: Table = "10"
    """Half-life of the averaged generator, in thousands of images."""
    condition: Literal["none", "projection"] = "none"
    """Use of labels; projection: embedded in w, and in D's score (Miyato and Koyama 2018)."""

    SIZES = (*GrowingConfig.SIZES, "w_dim", "mapping_layers", "condition")
    BEGUN = {"start_resolution": 0}  # noqa: RUF012

    def check(self) -> None:
        super().check()
        if self.objective().outputs > 1 and self.condition != "none":
            raise UsageError(f"loss={self.loss!r} needs a critic that gives vectors, which have no projection")


PRESETS: dict[str, StyleganConfig] = {
    # Sized for two CPU cores.
    "glyphs": StyleganConfig(
        resolution=32,
        kimg=0.0,
        batch="4:16,32:8",
        lr="0.002",
        fade_kimg="4:6,16:8,32:10",
        stable_kimg="4:6,16:14,32:50",
        reset_optimizer=False,
        penalty="r1(gamma=1)",
        latent=64,
        w_dim=64,
        mapping_layers=4,
        fmap_base=512,
        fmap_max=64,
        ema_kimg="2",
    ),
    "ffhq-1024": StyleganConfig(
        preset="ffhq-1024",
        data="ffhq",
        log_kimg="4:40,32:20,128:10,512:4",
        image_kimg="4:200,128:100,512:40",
        checkpoint_kimg="4:200,128:100,512:40",
    ),
}


def build_trainer(
    config: StyleganConfig, lists: Mapping[str, ImageSet], device: torch.device
) -> tuple[Trainer, dict[str, Any]]:
    """What trains, and the generator's arguments, for checkpoints; UsageError where options contradict the data."""
    images, schedule = lists["images"], config.schedule()
    conditioning = config.conditioning(images)
    g_classes, d_classes = conditioning.classes(images.num_classes)
    options = {
        **config.maps(),
        "image_channels": images.channels,
        "latent_dim": config.latent,
        "w_dim": config.w_dim,
        "mapping_layers": config.mapping_layers,
        "num_classes": g_classes,
    }

    def networks() -> tuple[Generator, Discriminator]:
        discriminator = config.discriminator(Discriminator, images.channels, d_classes, conditioning.name)
        return Generator(**options), discriminator

    trainer = build_gan(
        partial(GrowingStyleGan, mixing=config.mixing, noisy=True),
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
    name="stylegan",
    about="Trains a StyleGAN: styles enter a growing generator by adaptive instance norms.",
    presets=PRESETS,
    build=build_trainer,
    networks={"G": Generator},
)

main = partial(train_as_told, SYSTEM)

if __name__ == "__main__":
    sys.exit(run_program(main))
