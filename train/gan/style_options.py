"""Options of StyleGANs' games."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from gan_ops.objectives import R1, Penalty
from models.stylegan2 import Condition, Discriminator
from train.base.errors import UsageError
from train.base.tables import lookup
from train.base.values import Decay, NotNegative, Range, Size, is_power_of_two
from train.engine.curve import Curve, Rise
from train.engine.schedule import Schedule
from train.gan.conditions import ConditionalConfig
from train.gan.losses import Loss
from train.run.options import Table

CLAMP = 256.0
"""Of maps, where there is half precision (StyleGAN2-ADA)."""


@dataclass(frozen=True)
class StyleConfig(ConditionalConfig):
    """Options of a generator of styles, and of StyleGAN2's discriminator."""

    kimg: float = 25000.0
    """Thousands of images to train on."""
    batch: Table = "32"
    """Images in a step."""
    lr: Table = "0.002"
    """Learning rate of G; of D: see ttur."""
    loss: Loss = "non-saturating"
    gamma: str = "auto"
    """Weight of R1, the penalty on D's gradient at real images (StyleGAN2-ADA's auto: 0.0002 resolution^2 / batch)."""
    r1_every: Annotated[int, Range(1)] = 16
    """Steps between moves with R1 (Karras et al. 2020, 3.1: 16)."""
    latent: Size = 512
    """Length of the latent vector."""
    w_dim: Size = 512
    """Length of a style w, and width of the mapping network."""
    mapping_layers: Annotated[int, Range(1, 64)] = 8
    """Layers of the mapping network (Karras et al. 2019: 8; StyleGAN2-ADA's auto: 2)."""
    channel_base: Table = "32768"
    """Maps at resolution r are min(channel-base / r, channel-max)."""
    channel_max: Size = 512
    """Maximum number of maps of a layer."""
    half: Annotated[int, Range(0, 16)] = 4
    """How many of the highest resolutions are computed in half precision, if precision is not float32."""
    group_size: Annotated[int, Range(0)] = 4
    """Images in a group of D's minibatch standard deviation (0: the whole batch)."""
    freeze_d: Annotated[int, Range(0)] = 0
    """Layers of D that keep the weights they begin with, from the image on (Freeze-D, Mo et al. 2020)."""
    beta1: Decay = 0.0
    """Adam's beta1, the decay rate of the mean gradient."""
    beta2: Decay = 0.99
    """Adam's beta2, the decay rate of the mean squared gradient."""
    ema_kimg: Table = "10"
    """Half-life of the averaged generator, in thousands of images."""
    ema_ramp: NotNegative = 0.0
    """The half-life is at most this part of the images shown (0: no ramp-up; with init-from 0 unless given)."""
    augment_kimg: float = 500.0
    """Thousands of images in which an adapted augment-p can go from 0 to 1 (ADA: 500, with init-from 100)."""
    condition: Condition = "none"
    """Use of labels; projection: embedded in w, and what D's features are projected on (Miyato and Koyama 2018)."""

    SIZES = (*ConditionalConfig.SIZES, "w_dim", "mapping_layers", "channel_base", "channel_max", "condition")
    BEGUN: ClassVar[Mapping[str, Any]] = {"ema_ramp": 0.0, "augment_kimg": 100.0}
    LOWEST: ClassVar[int] = 8

    def check(self) -> None:
        super().check()
        r = self.resolution
        if r < self.LOWEST or not is_power_of_two(r):
            raise UsageError(f"resolution={r} is not one of {self.LOWEST}, {2 * self.LOWEST}, {4 * self.LOWEST}, …")
        if self.minibatch_discrimination:
            raise UsageError(
                f"minibatch_discrimination={self.minibatch_discrimination}: this D compares images by their deviation"
            )
        if self.objective().outputs > 1:
            raise UsageError(f"loss={self.loss!r} needs a critic that gives vectors, and this one gives scores")
        if self.clip():
            raise UsageError(
                f"loss={self.loss!r} clips D's parameters, which are not the weights where the learning rate is"
                " equalized: each is multiplied by a constant of its layer (Karras et al. 2018, 4.1)"
            )
        if self.feature_matching > r:
            raise UsageError(f"feature_matching={self.feature_matching}: D's maps have heights 4 to {r}")
        for width in self.widths():
            if not 1 <= width <= 2**20:
                raise UsageError(f"channel_base={self.channel_base!r} gives {width} maps at some resolution up to {r}")

    def widths(self) -> list[int]:
        """Channels at each resolution, from 4x4 on."""
        base = lookup(self.table("channel_base", int), self.resolution)
        return [min(base // (4 << i), self.channel_max) for i in range((self.resolution // 4).bit_length())]

    def penalties(self) -> tuple[Penalty, ...]:
        """R1, and those of the options ``loss`` and ``penalty``."""
        gamma = self.r1_weight()
        return (*([R1(gamma, every=self.r1_every)] if gamma else []), *super().penalties())

    def r1_weight(self) -> float:
        """γ; UsageError if ``gamma`` says it wrongly."""
        if self.gamma == "auto":
            # Other resolutions and batches are refused elsewhere, by their names.
            batch = lookup(self.table("batch", int), max(self.resolution, 4))
            return 0.0002 * self.resolution**2 / max(batch, 1)
        try:
            gamma = float(self.gamma)
        except ValueError:
            gamma = math.nan
        if not 0 <= gamma < math.inf:
            raise UsageError(f"gamma={self.gamma!r} is neither auto nor a finite number of at least 0")
        return gamma

    def schedule(self) -> Schedule:
        """One phase at the full resolution, checked against the groups of the minibatch deviation."""
        self.check()
        return self.in_groups(self.in_packs(self.one_phase()), self.group_size)

    def ema_curve(self) -> Curve | None:
        """By which the averaged generator's half-life grows at the start."""
        if not self.ema_ramp:
            return None
        return Rise(1000 * lookup(self.table("ema_kimg"), self.resolution) / self.ema_ramp)

    def check_frozen(self, residual: bool = True) -> None:
        """UsageError if D has not so many layers that can be frozen."""
        freezable = 1 + (3 if residual else 2) * (len(self.widths()) - 1)
        if self.freeze_d > freezable:
            raise UsageError(f"freeze_d={self.freeze_d}: D has {freezable} layers before the last ones")

    def discriminator(self, image_channels: int, num_classes: int, residual: bool = True) -> Discriminator:
        """StyleGAN2's, with its first layers frozen."""
        made = Discriminator(
            self.widths(),
            **self.half_precision(),
            image_channels=self.pack * image_channels,
            residual=residual,
            group_size=self.group_size or None,
            num_classes=num_classes,
            condition=self.condition,
        )
        made.freeze(self.freeze_d)
        return made

    def half_precision(self) -> dict[str, Any]:
        """Arguments of both networks."""
        return {"half": self.half, "clamp": None if self.precision == "float32" else CLAMP}
