"""StyleGAN3, whose details move with what they belong to (Karras et al. 2021, arXiv 2106.12423)."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch import nn

from models.stylegan2 import Discriminator
from models.stylegan3 import Generator
from train.base.errors import UsageError, run_program
from train.base.tables import lookup
from train.base.values import NotNegative, Range
from train.data import ImageSet
from train.engine.game import Batch, Networks, Stats
from train.engine.parallel import mean
from train.engine.schedule import Phase, Schedule
from train.engine.trainer import Trainer
from train.gan.augmentation import Augmentation, Blurred
from train.gan.build import build_gan
from train.gan.style_options import StyleConfig
from train.gan.styled import StyleGan
from train.run.options import Table
from train.run.session import train_as_told
from train.run.system import System

SQUARES_KIMG = 20.0
"""Half-life of the mean squares by which layers divide their inputs, in thousands of images."""
BLUR_STEPS = 200_000 / 32
"""Steps in which blur fades, unless told: the authors' 200 kimg of a batch of 32."""


class StyleGan3(StyleGan):
    """A game whose generator has moving means of the mean squares of what its layers are given, ``G.squares``.

    They move once a step, from G's fakes of all microbatches and processes, and a step uses those before it. In the
    authors' code each pass of D's fakes moves them before it uses them, by the statistics of one process's microbatch.
    """

    def __init__(self, generator: nn.Module, *args: Any, **options: Any) -> None:
        super().__init__(generator, *args, **options)
        self.state.squares = generator.squares

    def g(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[torch.Tensor]:
        for loss in super().g(nets, b, stats):
            stats["squares"] = self._drawn(nets, b, "G").squares  # [N, layers − 1]
            yield loss

    def after(self, stats: Stats) -> None:
        super().after(stats)
        (squares,) = mean([stats["squares"].mean(0)])  # [N, layers − 1] → [layers − 1]
        self.state.squares.move_(squares)


@dataclass(frozen=True)
class Stylegan3Config(StyleConfig):
    """Options of StyleGAN3; the defaults are the authors' for their configuration T."""

    lr: Table = "0.0025"
    """Learning rate of G; of D: see ttur."""
    ttur: float = 0.8
    """D's learning rate divided by G's: two time scales (Karras et al. 2021: 0.8)."""
    mapping_layers: Annotated[int, Range(1, 64)] = 2
    """Layers of the mapping network (Karras et al. 2021: 2)."""
    configuration: Literal["t", "r"] = "t"
    """t: details move with shifts; r: with rotations too, by 1x1 convolutions, radial filters, twice G's channels."""
    layers: Annotated[int, Range(2, 64)] = 14
    """Layers of G, without that which draws the picture (Karras et al. 2021: 14)."""
    critical: Annotated[int, Range(1, 63)] = 2
    """Of these, the last ones, sampled critically, for sharp images (Karras et al. 2021: 2)."""
    margin: Annotated[int, Range(0, 256)] = 10
    """Samples around the picture in G's layers, on each side (Karras et al. 2021: 10)."""
    filtered: bool = True
    """Filter before and after each nonlinearity; without, it acts on samples, and details stick to the grid."""
    blur: NotNegative = 0.0
    """Blur of all images that D sees at first, in pixels (Karras et al. 2021: r 10, t 0; with init-from 0)."""
    blur_kimg: NotNegative = 0.0
    """Thousands of images in which the blur fades (0: 200 batch / 32, as the authors)."""
    ema_ramp: NotNegative = 0.05
    """The half-life is at most this part of the images shown (0: no ramp-up; with init-from 0 unless given)."""

    SIZES = (*StyleConfig.SIZES, "configuration", "layers", "critical", "margin", "filtered")
    FIXED = ("critical", "margin", "filtered")
    BEGUN = {**StyleConfig.BEGUN, "blur": 0.0}  # noqa: RUF012

    def check(self) -> None:
        super().check()
        if self.critical >= self.layers:
            raise UsageError(f"critical={self.critical} is not below layers={self.layers}")
        if self.blur > self.resolution:
            raise UsageError(f"blur={self.blur:g} is above the {self.resolution} pixels of an image's side")
        self.check_frozen()

    def of_batch(self) -> int:
        return lookup(self.table("batch", int), self.resolution)

    def blurred(self) -> int:
        """Images shown until nothing is blurred any more."""
        return round(1000 * self.blur_kimg or BLUR_STEPS * self.of_batch()) if self.blur else 0

    def schedule(self) -> Schedule:
        """One phase, or two: with blur, and without."""
        schedule, end = super().schedule(), self.blurred()
        (phase,) = schedule.phases
        if not 0 < end < phase.end:
            return schedule
        return replace(schedule, phases=(_part(phase, 0, end), _part(phase, end, phase.end)))

    def augmentation(self, schedule: Schedule, device: torch.device) -> Augmentation:
        inner = super().augmentation(schedule, device)
        return Blurred(inner, self.blur, self.blurred()) if self.blur else inner

    def of_generator(self) -> dict[str, Any]:
        """The generator's arguments that do not depend on data."""
        base, most = lookup(self.table("channel_base", int), self.resolution), self.channel_max
        turns = self.configuration == "r"
        return {
            "resolution": self.resolution,
            "latent_dim": self.latent,
            "w_dim": self.w_dim,
            "mapping_layers": self.mapping_layers,
            "channel_base": 2 * base if turns else base,
            "channel_max": 2 * most if turns else most,
            "layers": self.layers,
            "critical": self.critical,
            "margin": self.margin,
            "kernel_size": 1 if turns else 3,
            "radial": turns,
            "half": self.half,
            "magnitude_beta": 0.5 ** (self.of_batch() / (1000 * SQUARES_KIMG)),
            "filtered": self.filtered,
        }


def _part(phase: Phase, start: int, end: int) -> Phase:
    return replace(phase, start=start, end=end, length=end - start)


# Sized for two CPU cores. So narrow, convolutions are no faster in bf16.
_GLYPHS = {"kimg": 80.0, "batch": "16", "latent": 64, "w_dim": 64, "channel_max": 32, "layers": 6, "margin": 8}
_GLYPHS |= {"gamma": "0.5", "ema_kimg": "5", "channel_base": "512"}
_FFHQ = {"data": "ffhq", "resolution": 256, "gamma": "2", "mirror": False, "augment": "bgc", "precision": "auto"}
_FFHQ |= {"log_kimg": "10", "image_kimg": "200", "checkpoint_kimg": "200"}
_R = {"configuration": "r", "blur": 10.0}
PRESETS: dict[str, Stylegan3Config] = {
    "glyphs": Stylegan3Config(**_GLYPHS),
    "glyphs-r": Stylegan3Config(preset="glyphs-r", **{**_GLYPHS, **_R, "blur": 10 * 32 / 256, "blur_kimg": 6.0}),
    "stylegan3-t": Stylegan3Config(preset="stylegan3-t", **_FFHQ),
    "stylegan3-r": Stylegan3Config(preset="stylegan3-r", **_FFHQ, **_R),
}


def build_trainer(
    config: Stylegan3Config, lists: Mapping[str, ImageSet], device: torch.device
) -> tuple[Trainer, dict[str, Any]]:
    """What trains, and the generator's arguments, for checkpoints; UsageError where options contradict the data."""
    images, schedule = lists["images"], config.schedule()
    conditioning = config.conditioning(images)
    classes, _ = conditioning.classes(images.num_classes)
    options = {**config.of_generator(), "image_channels": images.channels, "num_classes": classes}

    def networks() -> tuple[Generator, Discriminator]:
        discriminator = config.discriminator(images.channels, classes)
        return Generator(**options), discriminator

    trainer = build_gan(
        StyleGan3,
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
    name="stylegan3",
    about="Trains a StyleGAN3: details move with what they belong to. Presets -t for shifts, -r for rotations too.",
    presets=PRESETS,
    build=build_trainer,
    networks={"G": Generator},
)

main = partial(train_as_told, SYSTEM)

if __name__ == "__main__":
    sys.exit(run_program(main))
