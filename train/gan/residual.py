"""Options of games of residual networks, SNGAN's and BigGAN's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from train.base.errors import UsageError
from train.base.values import Decay, Range, Share, Size
from train.engine.schedule import Schedule
from train.gan.conditions import ConditionalConfig
from train.gan.losses import Loss
from train.run.options import Table

NARROWEST = 8
"""Channels that attention needs at least."""


@dataclass(frozen=True)
class ResidualConfig(ConditionalConfig):
    """Options of a generator and a discriminator of residual blocks."""

    kimg: float = 32000.0
    """Thousands of images to train on."""
    batch: Table = "64"
    """Images in a step."""
    lr: Table = "0.0002"
    """Learning rate of G; of D: see ttur."""
    lr_decay: Share = 0.0
    """Last part of the run, over which the learning rate falls to 0 (1: all of it)."""
    beta1: Decay = 0.0
    """Adam's beta1, the decay rate of the mean gradient."""
    beta2: Decay = 0.9
    """Adam's beta2, the decay rate of the mean squared gradient."""
    loss: Loss = "hinge"
    latent: Size = 128
    """Length of the latent vector."""
    g_width: Size = 64
    """Unit of G's feature maps: a quarter of each block's up to 32x32, its last block's at 128x128."""
    d_width: Size = 64
    """Unit of D's feature maps: its first block's from 64x64 on; in smaller networks each has a multiple."""
    pyramid: bool = False
    """Up to 32x32: maps of 16, 8, 4, … units from 4x4 on, as larger networks have (the papers' have four units)."""
    attention: Annotated[int, Range(0, 2**10)] = 0
    """Height of the maps with attention, in both networks (Zhang et al. 2019: 32; Brock et al. 2019: 64; 0: none)."""
    condition: Literal["none", "acgan", "projection"] = "none"
    """Use of labels: in G's norms, and in D (acgan: Odena et al. 2017, projection: Miyato and Koyama 2018)."""

    SIZES = (*ConditionalConfig.SIZES, "g_width", "d_width", "pyramid", "attention")
    RESOLUTIONS: ClassVar[tuple[int, ...]] = ()

    @staticmethod
    def d_blocks(resolution: int, pyramid: bool) -> tuple[tuple[int, ...], int]:
        """Widths of D's blocks, and how many of these halve."""
        raise NotImplementedError

    def check(self) -> None:
        super().check()
        r = self.resolution
        if r not in self.RESOLUTIONS:
            raise UsageError(f"resolution={r} is not one of {', '.join(map(str, self.RESOLUTIONS))}")
        if self.minibatch_discrimination:
            raise UsageError(
                f"minibatch_discrimination={self.minibatch_discrimination}: this D judges each image by itself"
            )
        height, lowest = self.feature_matching, r >> self.d_blocks(r, self.pyramid)[1]
        if height and not lowest <= height < r:
            raise UsageError(f"feature_matching={height}: D's maps have heights {lowest} to {r // 2}")
        self._check_attention()

    def _check_attention(self) -> None:
        height = self.attention
        if not height:
            return
        if height < 8 or height & (height - 1) or height >= self.resolution:
            raise UsageError(f"attention={height}: both networks have maps of heights 8, 16, … to half the resolution")
        if min(self.g_width, self.d_width) < NARROWEST:
            raise UsageError(
                f"attention={height} needs g_width={self.g_width} and d_width={self.d_width} of at least {NARROWEST}:"
                " its queries have an eighth of the maps"
            )

    @property
    def heights(self) -> tuple[int, ...]:
        """Those with attention, as the networks take them."""
        return (self.attention,) if self.attention else ()

    def schedule(self) -> Schedule:
        """One phase at the full resolution."""
        self.check()
        return self.in_packs(self.one_phase(self.lr_decay))
