"""TransGAN: two transformers, whose critic has a gradient penalty (Jiang et al. 2021, arXiv 2102.07074)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch

from models.parts.transformer import TokenNorm
from models.transgan import Discriminator, Generator, Upsampling, discriminator_stages, generator_stages
from train.base.errors import UsageError, run_program
from train.base.values import Decay, Range, Share
from train.data import ImageSet
from train.engine.schedule import Schedule
from train.engine.trainer import Trainer
from train.gan.build import build_gan
from train.gan.conditions import ConditionalConfig
from train.gan.game import Gan
from train.gan.losses import Loss
from train.run.options import Table
from train.run.session import train_as_told
from train.run.system import System

RESOLUTIONS = (16, 32, 48, 64, 128, 256)
MOST_BLOCKS = 64
Width = Annotated[int, Range(1, 2**14)]


@dataclass(frozen=True)
class TransganConfig(ConditionalConfig):
    """Options of TransGAN; the defaults are those of the authors' code for CIFAR-10, and the paper's norm."""

    kimg: float = 32000.0
    """Thousands of images to train on."""
    batch: Table = "64"
    """Images in a step."""
    lr: Table = "0.0001"
    """Learning rate of both networks."""
    lr_decay: Share = 0.0
    """Last part of the run, over which the learning rate falls to 0 (1: all of it)."""
    beta1: Decay = 0.0
    """Adam's beta1, the decay rate of the mean gradient."""
    beta2: Decay = 0.99
    """Adam's beta2, the decay rate of the mean squared gradient."""
    loss: Loss = "wgan-gp(drift=0.001)"
    d_steps: Annotated[int, Range(1, 1000)] = 4
    """Updates of D for each update of G, each with new images (the authors': 4; STL-10 and CelebA: 5)."""
    g_batches: Annotated[int, Range(1, 64)] = 2
    """Batches of fakes in an update of G (the authors': 2)."""
    condition: Literal["none", "acgan", "projection"] = "none"
    """Use of labels: beside G's latents, and in D (acgan: Odena et al. 2017, projection: Miyato and Koyama 2018)."""
    latent: Width = 256
    """Length of the latent vector."""
    g_width: Width = 1024
    """Channels of G's first stage."""
    g_blocks: str = "5,4,2"
    """Blocks of each of G's stages; the resolution doubles from stage to stage."""
    d_width: Width = 384
    """Channels of D's last stage."""
    d_blocks: Annotated[int, Range(1, MOST_BLOCKS)] = 3
    """Blocks of each of D's stages."""
    patch: Annotated[int, Range(1, 64)] = 2
    """Height of the patches that are tokens of D's first stage; those of each next stage are twice as high."""
    scales: Annotated[int, Range(1, 8)] = 2
    """D's stages (the authors': 2; from 128x128 on 3)."""
    heads: Annotated[int, Range(1, 256)] = 4
    """Heads of each attention."""
    window: Annotated[int, Range(1, 32)] = 16
    """Height of the cells that tokens attend to in maps more than twice as high: grid self-attention."""
    norm: TokenNorm = "pixel"
    """Norm of tokens; pixel: the paper's modified normalization; layer: Ba 2016."""
    upsampling: Upsampling = "shuffle"
    """Between G's stages; shuffle: a quarter of the channels remains; bicubic: up to 32x32 all (paper: 256x256)."""

    SIZES = (
        *(*ConditionalConfig.SIZES, "g_width", "g_blocks", "d_width", "d_blocks", "patch", "scales", "heads", "window"),
        "upsampling",
    )
    FIXED = ("norm",)  # without parameters one fits for another

    def check(self) -> None:
        super().check()
        if self.resolution not in RESOLUTIONS:
            raise UsageError(f"resolution={self.resolution} is not one of {', '.join(map(str, RESOLUTIONS))}")
        self.check_g_batches(self.g_batches)
        attention = self.heads, self.window
        _check("G", generator_stages, self.resolution, self.g_width, len(self.stages()), self.upsampling, *attention)
        _check("D", discriminator_stages, self.resolution, self.d_width, self.patch, self.scales, *attention)
        heights = [self.resolution // (self.patch << i) for i in range(self.scales)]
        if self.feature_matching and not heights[-1] <= self.feature_matching <= heights[0]:
            listed = ", ".join(map(str, heights))
            raise UsageError(f"feature_matching={self.feature_matching}: D's maps have the heights {listed}")

    def stages(self) -> tuple[int, ...]:
        """Blocks of each of G's stages; UsageError if ``g_blocks`` does not say them."""
        counts = self.g_blocks.split(",")
        if not all(count.isdecimal() and len(count) < 3 and 0 < int(count) <= MOST_BLOCKS for count in counts):
            raise UsageError(f"g_blocks={self.g_blocks!r} is no list of numbers from 1 to {MOST_BLOCKS}, such as 5,4,2")
        return tuple(map(int, counts))

    def schedule(self) -> Schedule:
        """One phase at the full resolution."""
        self.check()
        return self.in_packs(self.one_phase(self.lr_decay))


def _check(player: str, stages: Callable[..., object], *sizes: object) -> None:
    """UsageError where a network's stages cannot be had."""
    try:
        stages(*sizes)
    except ValueError as error:
        raise UsageError(f"{player}: {error}") from None


_PHOTOS = {"augment": "diffaugment", "ema_kimg": "500", "log_kimg": "20", "image_kimg": "200", "checkpoint_kimg": "200"}
PRESETS: dict[str, TransganConfig] = {
    # Sized for two CPU cores. At a higher learning rate D's gradients vanish within some dozen steps. With bicubic
    # upsampling G begins with smooth images, with shuffling with noise that it is long to lose.
    "glyphs": TransganConfig(
        precision="auto",
        kimg=50.0,
        batch="16",
        lr="0.0004",
        ttur=0.5,
        d_steps=1,
        g_batches=1,
        latent=64,
        g_width=64,
        g_blocks="2,2,1",
        upsampling="bicubic",
        d_width=128,
        d_blocks=2,
        patch=4,
        window=8,
        ema_kimg="2",
    ),
    # Of the authors' scripts.
    "cifar10": TransganConfig(preset="cifar10", data="cifar10", **_PHOTOS),
    "stl10": TransganConfig(
        preset="stl10",
        data="stl10",
        resolution=48,
        kimg=16000.0,
        batch="32",
        d_steps=5,
        latent=512,
        g_blocks="7,5,3",
        **_PHOTOS,
    ),
    "celeba-64": TransganConfig(
        preset="celeba-64",
        data="celeba",
        resolution=64,
        kimg=16000.0,
        batch="32",
        d_steps=5,
        latent=1024,
        g_blocks="5,3,3,2",
        **_PHOTOS,
    ),
    "church-256": TransganConfig(
        preset="church-256",
        data="lsun",
        resolution=256,
        latent=512,
        g_blocks="5,4,4,4,4,4",
        upsampling="bicubic",
        patch=4,
        scales=3,
        mirror=False,
        **_PHOTOS,
    ),
}


def build_trainer(
    config: TransganConfig, lists: Mapping[str, ImageSet], device: torch.device
) -> tuple[Trainer, dict[str, Any]]:
    """What trains, and the generator's arguments, for checkpoints; UsageError for what is larger than the memory."""
    images, schedule = lists["images"], config.schedule()
    conditioning = config.conditioning(images)
    g_classes, d_classes = conditioning.classes(images.num_classes)
    shape = {"resolution": config.resolution, "heads": config.heads, "window": config.window, "norm": config.norm}
    options = {
        **shape,
        "image_channels": images.channels,
        "latent_dim": config.latent,
        "width": config.g_width,
        "blocks": list(config.stages()),
        "upsampling": config.upsampling,
        "num_classes": g_classes,
    }

    def networks() -> tuple[Generator, Discriminator]:
        return Generator(**options), Discriminator(
            **shape,
            image_channels=config.pack * images.channels,
            width=config.d_width,
            blocks=config.d_blocks,
            patch=config.patch,
            scales=config.scales,
            condition=conditioning.name,
            num_classes=d_classes,
            minibatch_kernels=config.minibatch_discrimination,
            minibatch_dim=config.minibatch_dim,
            outputs=config.objective().outputs,
        )

    trainer = build_gan(
        partial(Gan, g_batches=config.g_batches),
        config,
        schedule,
        images,
        device,
        networks,
        sizes=f"latent={config.latent}, g_width={config.g_width}, g_blocks={config.g_blocks}, d_width={config.d_width}",
        betas=(config.beta1, config.beta2),
        conditioning=conditioning,
    )
    return trainer, options


SYSTEM = System(
    name="transgan",
    about="Trains a TransGAN: generator and discriminator are transformers, and the gradient penalty goes through"
    " attention.",
    presets=PRESETS,
    build=build_trainer,
    networks={"G": Generator},
)

main = partial(train_as_told, SYSTEM)

if __name__ == "__main__":
    sys.exit(run_program(main))
