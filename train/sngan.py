"""SNGAN: residual networks with spectral norm and their relatives: WGAN-GP's, SAGAN (Miyato 2018, arXiv 1802.05957)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch

from gan_ops.objectives import GradientNorm
from models.parts.residual import Upsampling
from models.resnet import RESOLUTIONS, Discriminator, Generator, d_blocks
from train.base.errors import UsageError, run_program
from train.base.values import Range, Share
from train.data import ImageSet
from train.engine.trainer import Trainer
from train.gan.build import build_gan
from train.gan.game import Gan
from train.gan.options import parted
from train.gan.residual import ResidualConfig
from train.run.session import train_as_told
from train.run.system import System


@dataclass(frozen=True)
class SnganConfig(ResidualConfig):
    """Options of SNGAN; the defaults are the paper's for CIFAR-10 (Miyato et al. 2018, section 4, appendix B.4)."""

    lr_decay: Share = 1.0
    """Last part of the run, over which the learning rate falls to 0 (1: all of it, as in the authors' code)."""
    d_steps: Annotated[int, Range(1, 1000)] = 5
    """Updates of D for each update of G, each with new images (Miyato et al. 2018: 5; Zhang et al. 2019: 1)."""
    g_batches: Annotated[int, Range(1, 64)] = 2
    """Batches of fakes in an update of G (Gulrajani et al. 2017's and Miyato et al. 2018's code: 2)."""
    d_norm: Literal["spectral", "layer", "none", GradientNorm] = "spectral"
    """Norm of D; spectral: Miyato 2018; layer: Ba 2016; gradient: Wu 2021; gradient-v2: Bhaskara 2022."""
    d_pool: Literal["sum", "mean"] = "sum"
    """How D's last maps become features: sums over pixels, or means as in WGAN-GP (Gulrajani et al. 2017)."""
    g_spectral: bool = False
    """Spectral norm in G too (Zhang et al. 2019, 3.2)."""
    self_modulation: Annotated[int, Range(0, 2**16)] = 0
    """Hidden units by which z scales and shifts each of G's norms (Chen et al. 2019: 32; 0: it does not)."""
    residual_scale: Share = 1.0
    """What the residual of each block is multiplied by, above 0 and at most 1."""
    upsampling: Upsampling = "nearest"
    """How G doubles its maps."""

    SIZES = (*ResidualConfig.SIZES, "d_norm", "g_spectral", "self_modulation")
    FIXED = ("d_norm", "d_pool", "residual_scale", "upsampling")  # networks of other functions have the same shapes
    RESOLUTIONS = RESOLUTIONS
    d_blocks = staticmethod(d_blocks)

    def check(self) -> None:
        super().check()
        self.check_norms("batch", self.d_norm, weight_norm=False)
        if not self.residual_scale:
            raise UsageError(f"residual_scale={self.residual_scale} is not above 0")
        self.check_g_batches(self.g_batches)


_RARELY = {"log_kimg": "50", "image_kimg": "1000", "checkpoint_kimg": "1000", "ema_kimg": "50"}
_IMAGENET = {"resolution": 128, "data": "imagenet", "condition": "projection", **_RARELY}
PRESETS: dict[str, SnganConfig] = {
    # Sized for two CPU cores.
    "glyphs": SnganConfig(
        precision="auto",
        kimg=200.0,
        batch="32",
        lr="0.001",
        lr_decay=0.5,
        beta2=0.99,
        d_steps=1,
        g_batches=1,
        ttur=2.0,
        latent=64,
        g_width=8,
        d_width=8,
        pyramid=True,
        ema_kimg="5",
    ),
    # 100 000 updates of G. The averaged generator is ours; generate --no-ema draws from the paper's.
    "cifar10": SnganConfig(preset="cifar10", data="cifar10", **_RARELY),
    "cifar10-projection": SnganConfig(preset="cifar10-projection", data="cifar10", condition="projection", **_RARELY),
    "cifar10-self-modulation": SnganConfig(
        preset="cifar10-self-modulation", data="cifar10", self_modulation=32, **_RARELY
    ),
    # Gulrajani et al. 2017, appendix F: narrower, without a norm in D, with means of its last maps.
    "cifar10-wgan-gp": SnganConfig(
        preset="cifar10-wgan-gp", data="cifar10", loss="wgan-gp", d_norm="none", d_pool="mean", g_width=32, **_RARELY
    ),
    # Miyato et al. 2018, table 2: STL-10's unlabelled images, shrunk to 48 x 48.
    "stl10": SnganConfig(preset="stl10", data="stl10", resolution=48, **_RARELY),
    # Miyato and Koyama 2018: 450 000 updates of G; over the last 50 000 the learning rate falls.
    "imagenet-128": SnganConfig(preset="imagenet-128", kimg=144000.0, lr_decay=1 / 9, **_IMAGENET),
    # Zhang et al. 2019: a million updates.
    "imagenet-128-sagan": SnganConfig(
        preset="imagenet-128-sagan",
        kimg=256000.0,
        batch="256",
        lr="0.0001",
        lr_decay=0.0,
        ttur=4.0,
        d_steps=1,
        g_batches=1,
        g_spectral=True,
        attention=32,
        **_IMAGENET,
    ),
}


def build_trainer(
    config: SnganConfig, lists: Mapping[str, ImageSet], device: torch.device
) -> tuple[Trainer, dict[str, Any]]:
    """What trains, and the generator's arguments, for checkpoints; UsageError where options contradict the data."""
    images, schedule = lists["images"], config.schedule()
    conditioning = config.conditioning(images)
    g_classes, d_classes = conditioning.classes(images.num_classes)
    gradient_norm, d_norm = parted(config.d_norm)
    shared = {"resolution": config.resolution, "attention": config.heights, "scale": config.residual_scale}
    shared["pyramid"] = config.pyramid
    options = {
        **shared,
        "image_channels": images.channels,
        "latent_dim": config.latent,
        "width": config.g_width,
        "num_classes": g_classes,
        "self_modulation": config.self_modulation,
        "spectral": config.g_spectral,
        "upsampling": config.upsampling,
    }

    def networks() -> tuple[Generator, Discriminator]:
        return Generator(**options), Discriminator(
            **shared,
            image_channels=config.pack * images.channels,
            width=config.d_width,
            norm=d_norm,
            pool=config.d_pool,
            condition=conditioning.name,
            num_classes=d_classes,
            outputs=config.objective().outputs,
        )

    trainer = build_gan(
        partial(Gan, g_batches=config.g_batches),
        config,
        schedule,
        images,
        device,
        networks,
        sizes=f"latent={config.latent}, g_width={config.g_width}, d_width={config.d_width}",
        betas=(config.beta1, config.beta2),
        conditioning=conditioning,
        gradient_norm=gradient_norm,
    )
    return trainer, options


SYSTEM = System(
    name="sngan",
    about="Trains residual networks: those of SNGAN, WGAN-GP (--loss wgan-gp --d-norm layer), SAGAN (--attention"
    " --g-spectral --ttur 4 --d-steps 1), with projection (--condition projection), with self-modulation.",
    presets=PRESETS,
    build=build_trainer,
    networks={"G": Generator},
)

main = partial(train_as_told, SYSTEM)

if __name__ == "__main__":
    sys.exit(run_program(main))
