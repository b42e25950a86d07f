"""R3GAN: relativistic pairs, R1 and R2, and modern networks without norms (Huang et al. 2024, arXiv 2501.05441)."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from models.r3gan import Condition, Discriminator, Generator
from train.base.errors import UsageError, run_program
from train.base.tables import lookup
from train.base.values import LARGEST, Decay, Share, Size
from train.data import ImageSet
from train.engine.curve import Cosine
from train.engine.optimizers import OptimisticAdam
from train.engine.schedule import Schedule
from train.engine.trainer import Trainer
from train.gan.build import build_gan
from train.gan.conditions import ConditionalConfig
from train.gan.game import Gan
from train.gan.losses import Loss
from train.run.options import Table
from train.run.session import train_as_told
from train.run.system import System

RESOLUTIONS = (8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class R3ganConfig(ConditionalConfig):
    """Options of R3GAN; the defaults are the authors' for CIFAR-10."""

    loss: Loss = "r3gan"
    kimg: float = 20000.0
    """Thousands of images to train on."""
    batch: Table = "512"
    """Images in a step."""
    lr: Table = "0.0002"
    """Learning rate of both networks at the start."""
    burn_in_kimg: float = 0.0
    """Thousands of images in which values go from the first to the final ones, by half a cosine (0: the whole run)."""
    lr_final: Share = 0.25
    """The final learning rate, as a part of that at the start."""
    penalty_final: Share = 0.1
    """What D's penalties are multiplied by in the end (the authors' gamma falls to a tenth)."""
    beta1: Decay = 0.0
    """Adam's beta1, the decay rate of the mean gradient."""
    beta2: Decay = 0.9
    """Adam's beta2 at the start, the decay rate of the mean squared gradient."""
    beta2_final: Decay = 0.99
    """Adam's beta2 in the end."""
    ema_kimg: Table = "5000"
    """Half-life of the averaged generator in the end, in thousands of images; at the start it is 0."""
    width: Table = "768"
    """Channels of the stages."""
    blocks: Size = 2
    """Residual blocks of a stage."""
    group_width: Size = 16
    """Channels that a 3x3 convolution mixes."""
    condition: Condition = "none"
    """How labels enter; projection: embedded in G, and what D's features are projected on (Miyato and Koyama 2018)."""

    SIZES = (*ConditionalConfig.SIZES, "width", "blocks", "group_width", "condition")

    def check(self) -> None:
        super().check()
        if self.resolution not in RESOLUTIONS:
            raise UsageError(f"resolution={self.resolution} is not one of {', '.join(map(str, RESOLUTIONS))}")
        if not 0 <= self.burn_in_kimg < math.inf:
            raise UsageError(f"burn_in_kimg={self.burn_in_kimg} is not a finite number of at least 0")
        if self.minibatch_discrimination:
            raise UsageError(
                f"minibatch_discrimination={self.minibatch_discrimination}: this D judges each image alone"
            )
        if self.objective().outputs > 1:
            raise UsageError(f"loss={self.loss!r} needs a critic that gives vectors, and this one gives scores")
        if self.beta2 != self.beta2_final and isinstance(self._rule(), OptimisticAdam):
            raise UsageError(f"optimizer={self.optimizer!r} needs beta2_final={self.beta2}: its beta2 cannot change")
        if self.feature_matching > self.resolution:
            raise UsageError(f"feature_matching={self.feature_matching}: D's maps have heights 4 to {self.resolution}")
        for width in self.widths():
            if not 1 <= width <= 2**20:
                raise UsageError(f"width={self.width!r} is not between 1 and {2**20} channels")
            if 2 * width % self.group_width:
                raise UsageError(f"group_width={self.group_width} does not divide 2·width={2 * width}")

    def widths(self) -> list[int]:
        """Channels of each stage, from 4x4 on."""
        table = self.table("width", int)
        return [lookup(table, 4 << i) for i in range((self.resolution // 4).bit_length())]

    def schedule(self) -> Schedule:
        """One phase at the full resolution, in which the learning rate falls by half a cosine."""
        self.check()
        schedule = self.in_packs(self.one_phase())
        return replace(schedule, lr_curve=self.curve(1.0, self.lr_final, schedule))

    def curve(self, start: float, end: float, schedule: Schedule) -> Cosine:
        """From one value to another in the burn-in."""
        return Cosine(start, end, min(1000 * self.burn_in_kimg, LARGEST) or schedule.total)

    def betas(self, schedule: Schedule) -> tuple[float, float | Cosine]:
        if isinstance(self._rule(), OptimisticAdam):
            return self.beta1, self.beta2
        return self.beta1, self.curve(self.beta2, self.beta2_final, schedule)


_RARELY = {"log_kimg": "100", "image_kimg": "1000", "checkpoint_kimg": "1000", "augment": "bgc(color=0.5,cutout=1)"}
_FFHQ = {"data": "ffhq", "batch": "256", "burn_in_kimg": 20000.0, "augment_p": "0:0.3", "ema_kimg": "500", **_RARELY}
_IMAGENET = {"data": "imagenet", "batch": "4096", "kimg": 200000.0, "burn_in_kimg": 200000.0, "ema_kimg": "50000"}
_IMAGENET |= {"width": "1536", "group_width": 32, "condition": "projection", **_RARELY}
PRESETS: dict[str, R3ganConfig] = {
    # Sized for two CPU cores.
    "glyphs": R3ganConfig(
        precision="auto",
        kimg=200.0,
        batch="32",
        lr="0.002",
        loss="r3gan(gamma=1)",
        width="4:128,8:64,16:32,32:8",
        blocks=1,
        ema_kimg="5",
    ),
    "cifar10": R3ganConfig(
        preset="cifar10",
        data="cifar10",
        condition="projection",
        burn_in_kimg=20000.0,
        augment_p="0:0.55",
        **_RARELY,
    ),
    "ffhq-64": R3ganConfig(preset="ffhq-64", resolution=64, width="4:768,64:384", loss="r3gan(gamma=2)", **_FFHQ),
    "ffhq-256": R3ganConfig(
        preset="ffhq-256",
        resolution=256,
        width="4:768,64:384,128:192,256:96",
        loss="r3gan(gamma=150)",
        **_FFHQ,
    ),
    "imagenet-32": R3ganConfig(preset="imagenet-32", loss="r3gan(gamma=0.5)", augment_p="0:0.5", **_IMAGENET),
    "imagenet-64": R3ganConfig(
        preset="imagenet-64", resolution=64, loss="r3gan(gamma=1)", augment_p="0:0.4", **_IMAGENET
    ),
}


def build_trainer(
    config: R3ganConfig, lists: Mapping[str, ImageSet], device: torch.device
) -> tuple[Trainer, dict[str, Any]]:
    """What trains, and the generator's arguments, for checkpoints; UsageError where options contradict the data."""
    images, schedule = lists["images"], config.schedule()
    conditioning = config.conditioning(images)
    shared = {"widths": config.widths(), "blocks": config.blocks, "group_width": config.group_width}
    shared["num_classes"], _ = conditioning.classes(images.num_classes)
    options = {**shared, "image_channels": images.channels, "latent_dim": config.latent}

    def networks() -> tuple[Generator, Discriminator]:
        d = Discriminator(**shared, image_channels=config.pack * images.channels, condition=config.condition)
        return Generator(**options), d

    trainer = build_gan(
        partial(Gan, own_reals=True, penalty_curve=config.curve(1.0, config.penalty_final, schedule)),
        config,
        schedule,
        images,
        device,
        networks,
        sizes=f"latent={config.latent}, width={config.width}",
        betas=config.betas(schedule),
        conditioning=conditioning,
        ema_curve=config.curve(0.0, 1.0, schedule),
    )
    return trainer, options


SYSTEM = System(
    name="r3gan",
    about="Trains an R3GAN: relativistic pairs with R1 and R2, and residual networks without norms. Learning rate,"
    " penalties, beta2 and the average's half-life go from their first to their final values along half a cosine.",
    presets=PRESETS,
    build=build_trainer,
    networks={"G": Generator},
)

main = partial(train_as_told, SYSTEM)

if __name__ == "__main__":
    sys.exit(run_program(main))
