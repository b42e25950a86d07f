"""StyleGAN2 with adaptive augmentation (Karras et al. 2020, arXiv 1912.04958 and 2006.06676)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch

from gan_ops.objectives import PathLength
from models.stylegan2 import Discriminator, Generator
from train.base.errors import UsageError, run_program
from train.base.values import NotNegative, Range, Share
from train.data import ImageSet
from train.engine.curve import Cosine
from train.engine.game import Role
from train.engine.trainer import Trainer
from train.gan.build import build_gan
from train.gan.style_options import StyleConfig
from train.gan.styled import StyleGan
from train.run.session import train_as_told
from train.run.system import System

W_BETA = 0.995
"""What the mean of w keeps of itself in a step."""


@dataclass(frozen=True)
class Stylegan2Config(StyleConfig):
    """Options of StyleGAN2; the defaults are the authors' for their configuration F at 1024x1024."""

    mixing: Share = 0.9
    """Probability that later layers have the style of another latent (style mixing, Karras et al. 2019, 3.1: 0.9)."""
    path_weight: NotNegative = 2.0
    """Weight of the path length regularisation (Karras et al. 2020, 3.2; StyleGAN2-ADA: 2; 0: none)."""
    path_decay: Share = 0.01
    """How far the mean path length moves in a step with such a move (Karras et al. 2020: 0.01)."""
    path_every: Annotated[int, Range(1)] = 4
    """Steps between moves with path lengths, for which G's Adam is slowed down, also with path-weight 0 (1: never)."""
    path_shrink: Annotated[int, Range(1)] = 2
    """Such a move takes one of so many samples (Karras et al. 2020: 2)."""
    d_skips: bool = True
    """D is residual (Karras et al. 2020, 4.1; StyleGAN2-ADA for CIFAR-10: not)."""

    def check(self) -> None:
        super().check()
        if self.path_weight and self.path_every == 1:
            raise UsageError(
                f"path_every=1 with path_weight={self.path_weight:g}: path lengths need a move of their own"
            )
        self.check_frozen(self.d_skips)

    def roles(self, betas: tuple[float, float | Cosine]) -> dict[str, Role]:
        """Both players' optimizers. G's is as slow as with path lengths where there are none: the authors' code for
        CIFAR-10 has it so."""
        roles = super().roles(betas)
        if self.path_weight or self.path_every == 1:
            return roles
        pace = self.path_every / (self.path_every + 1)
        slower = super().roles((self.beta1**pace, self.beta2**pace))["G"]
        return {**roles, "G": Role(**{**vars(slower), "lr": slower.lr * pace})}

    def path(self) -> PathLength | None:
        """What path lengths cost."""
        return PathLength(self.path_weight, self.path_decay) if self.path_weight else None


_LARGE = {"precision": "auto", "mirror": False, "augment": "bgc", "log_kimg": "10"}
_LARGE |= {"image_kimg": "200", "checkpoint_kimg": "200"}
_FFHQ = {"data": "ffhq", **_LARGE}
PRESETS: dict[str, Stylegan2Config] = {
    # Sized for two CPU cores. So narrow, convolutions are no faster in bf16.
    "glyphs": Stylegan2Config(
        kimg=100.0,
        batch="16",
        lr="0.0025",
        latent=64,
        w_dim=64,
        mapping_layers=2,
        channel_base="1024",
        channel_max=64,
        gamma="0.5",
        ema_kimg="5",
        ema_ramp=0.05,
    ),
    # That of the authors' code for one GPU, but for R1's weight the same for all images of a size.
    "auto": Stylegan2Config(
        preset="auto",
        resolution=256,
        batch="4:32,256:16,512:8,1024:4",
        lr="4:0.0025,1024:0.002",
        mapping_layers=2,
        channel_base="4:16384,512:32768",
        ema_kimg="4:10,256:5,512:2.5,1024:1.25",
        ema_ramp=0.05,
        **_FFHQ,
    ),
    "stylegan2": Stylegan2Config(preset="stylegan2", resolution=1024, gamma="10", **_FFHQ),
    "paper256": Stylegan2Config(
        preset="paper256",
        resolution=256,
        batch="64",
        lr="0.0025",
        gamma="1",
        channel_base="16384",
        group_size=8,
        ema_kimg="20",
        **_FFHQ,
    ),
    "paper512": Stylegan2Config(
        preset="paper512",
        resolution=512,
        batch="64",
        lr="0.0025",
        gamma="0.5",
        group_size=8,
        ema_kimg="20",
        **_FFHQ,
    ),
    "paper1024": Stylegan2Config(preset="paper1024", resolution=1024, gamma="2", **_FFHQ),
    "cifar": Stylegan2Config(
        preset="cifar",
        data="cifar10",
        kimg=100000.0,
        batch="64",
        lr="0.0025",
        gamma="0.01",
        mapping_layers=2,
        group_size=32,
        ema_kimg="500",
        ema_ramp=0.05,
        mixing=0.0,
        path_weight=0.0,
        d_skips=False,
        **_LARGE,
    ),
}


def build_trainer(
    config: Stylegan2Config, lists: Mapping[str, ImageSet], device: torch.device
) -> tuple[Trainer, dict[str, Any]]:
    """What trains, and the generator's arguments, for checkpoints; UsageError where options contradict the data."""
    images, schedule = lists["images"], config.schedule()
    conditioning = config.conditioning(images)
    classes, _ = conditioning.classes(images.num_classes)
    options = {
        "widths": config.widths(),
        **config.half_precision(),
        "num_classes": classes,
        "image_channels": images.channels,
        "latent_dim": config.latent,
        "w_dim": config.w_dim,
        "mapping_layers": config.mapping_layers,
        "w_beta": W_BETA,
    }

    def networks() -> tuple[Generator, Discriminator]:
        discriminator = config.discriminator(images.channels, classes, residual=config.d_skips)
        return Generator(**options), discriminator

    lazy = {"path": config.path(), "path_every": config.path_every, "path_shrink": config.path_shrink}
    trainer = build_gan(
        partial(StyleGan, mixing=config.mixing, noisy=True, **lazy),
        config,
        schedule,
        images,
        device,
        networks,
        sizes=f"latent={config.latent}, channel_base={config.channel_base}, channel_max={config.channel_max}",
        betas=(config.beta1, config.beta2),
        conditioning=conditioning,
        ema_curve=config.ema_curve(),
    )
    return trainer, options


SYSTEM = System(
    name="stylegan2",
    about="Trains a StyleGAN2: styles from a mapping network, lazy R1 and path lengths, and with --augment bgc ADA.",
    presets=PRESETS,
    build=build_trainer,
    networks={"G": Generator},
)

main = partial(train_as_told, SYSTEM)

if __name__ == "__main__":
    sys.exit(run_program(main))
