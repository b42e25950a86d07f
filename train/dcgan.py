"""DCGAN: convolutional networks of one resolution, with any technique (Radford et al. 2016, arXiv 1511.06434)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch

from gan_ops.objectives import GradientNorm
from models.dcgan import Discriminator, Generator
from models.parts.norms import DNorm, GNorm
from train.base.errors import UsageError, run_program
from train.base.values import Decay, Size
from train.data import ImageSet
from train.engine.schedule import Schedule
from train.engine.trainer import Trainer
from train.gan.build import build_gan
from train.gan.conditions import CodedConfig
from train.gan.game import Gan
from train.gan.options import D_NORM, parted
from train.run.options import Table
from train.run.session import train_as_told
from train.run.system import System

RESOLUTIONS = (16, 32, 64, 128)


@dataclass(frozen=True)
class DcganConfig(CodedConfig):
    """Options of DCGAN; the defaults are the paper's (Radford et al. 2016, section 4)."""

    kimg: float = 1000.0
    """Thousands of images to train on."""
    batch: Table = "128"
    """Images in a step."""
    lr: Table = "0.0002"
    """Learning rate of both networks."""
    beta1: Decay = 0.5
    """Adam's beta1, the decay rate of the mean gradient."""
    latent: Size = 100
    """Length of the latent vector."""
    g_width: Size = 128
    """Feature maps of G's last hidden layer; each layer before it has twice as many."""
    d_width: Size = 64
    """Feature maps of D's first layer; each next layer has twice as many."""
    kernel_size: Literal[4, 5] = 5
    """Height and width of the kernels (the paper's: 5)."""
    g_norm: GNorm = "batch"
    """Norm of G; virtual: Salimans et al. 2016, 3.5; pixel: Karras 2018; spectral: Miyato 2018; others: see d-norm."""
    d_norm: Annotated[Literal[DNorm, GradientNorm], D_NORM] = "batch"
    weight_norm: bool = False
    """Also normalise the weights of both networks (Salimans and Kingma 2016)."""
    reference_batch: Size = 64
    """Number of latents in the reference batch (g-norm virtual; Salimans et al. 2016, 3.5)."""
    class_weight: float = 2.0
    """Weight of the classification loss (acgan: Odena et al. 2017: 1; k+1: Salimans 2016, 5: 1; their code: 2)."""

    SIZES = (*CodedConfig.SIZES, "g_width", "d_width", "kernel_size", "g_norm", "d_norm", "weight_norm")
    FIXED = ("g_norm", "d_norm")  # some norms have states of one shape

    def check(self) -> None:
        super().check()
        if self.resolution not in RESOLUTIONS:
            raise UsageError(f"resolution={self.resolution} is not one of {', '.join(map(str, RESOLUTIONS))}")
        self.check_norms(self.g_norm, self.d_norm, self.weight_norm)
        if self.feature_matching >= self.resolution:
            largest = self.resolution // 2
            raise UsageError(f"feature_matching={self.feature_matching}: D's maps have heights 4 to {largest}")

    def schedule(self) -> Schedule:
        """One phase at the full resolution."""
        self.check()
        return self.in_packs(self.one_phase())


_PHOTOS = {"resolution": 64, "ema_kimg": "10", "log_kimg": "20", "image_kimg": "200", "checkpoint_kimg": "200"}
PRESETS: dict[str, DcganConfig] = {
    # Sized for two CPU cores: five minutes. So few images ask for small batches and a higher learning rate: with
    # the paper's there are no letters yet where these have them.
    "glyphs": DcganConfig(
        precision="auto",
        kimg=400.0,
        batch="32",
        lr="0.0005",
        kernel_size=4,
        g_width=32,
        d_width=32,
        ema_kimg="5",
    ),
    # At most ten minutes of a core. With much noise among the latents, noise says the digit and not the code.
    "infogan": DcganConfig(
        preset="infogan",
        data="glyphs-digits",
        condition="infogan",
        precision="auto",
        kimg=200.0,
        batch="32",
        lr="0.001",
        ttur=0.5,
        latent=3,
        kernel_size=4,
        g_width=16,
        d_width=16,
    ),
    "lsun-64": DcganConfig(preset="lsun-64", data="lsun", kimg=15000.0, mirror=False, **_PHOTOS),
    "celeba-64": DcganConfig(preset="celeba-64", data="celeba", kimg=5000.0, **_PHOTOS),
}


def build_trainer(
    config: DcganConfig, lists: Mapping[str, ImageSet], device: torch.device
) -> tuple[Trainer, dict[str, Any]]:
    """What trains, and the generator's arguments, for checkpoints; UsageError where options contradict the data."""
    images = lists["images"]
    schedule = config.schedule()
    conditioning = config.conditioning(images)
    g_classes, d_classes = conditioning.classes(images.num_classes)
    gradient_norm, d_norm = parted(config.d_norm)
    options = {
        "resolution": config.resolution,
        "image_channels": images.channels,
        **config.latents(conditioning),
        "width": config.g_width,
        "kernel_size": config.kernel_size,
        "norm": config.g_norm,
        "weight_norm": config.weight_norm,
        "reference_batch": config.reference_batch,
        "num_classes": g_classes,
    }

    def networks() -> tuple[Generator, Discriminator]:
        return Generator(**options), Discriminator(
            config.resolution,
            image_channels=config.pack * images.channels,
            width=config.d_width,
            kernel_size=config.kernel_size,
            norm=d_norm,
            weight_norm=config.weight_norm,
            num_classes=d_classes,
            condition=conditioning.name,
            minibatch_kernels=config.minibatch_discrimination,
            minibatch_dim=config.minibatch_dim,
            outputs=config.objective().outputs,
        )

    trainer = build_gan(
        Gan,
        config,
        schedule,
        images,
        device,
        networks,
        sizes=f"latent={config.latent}, g_width={config.g_width}, d_width={config.d_width}",
        betas=(config.beta1, 0.999),
        conditioning=conditioning,
        gradient_norm=gradient_norm,
    )
    return trainer, options


SYSTEM = System(
    name="dcgan",
    about="Trains a DCGAN. Each technique is one option, off by default. They can be combined; where they cannot, an"
    " error says why.",
    presets=PRESETS,
    build=build_trainer,
    networks={"G": Generator},
)

main = partial(train_as_told, SYSTEM)

if __name__ == "__main__":
    sys.exit(run_program(main))
