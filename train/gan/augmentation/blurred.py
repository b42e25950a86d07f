"""Images blurred at the start of a run, so that D cannot tell by details that G does not draw yet."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gan_ops import filter2d
from train.engine.game import Batch, Stats
from train.engine.schedule import Position
from train.gan.augmentation.base import Augmentation


class Blurred(Augmentation):
    """All images, real and generated, blurred before another augmentation (StyleGAN3's configuration R, Karras et al.
    2021, appendix D.2 and the authors' code).

    Taps are 2^(−(k/σ)²), k whole pixels up to ⌊3σ⌋ from the middle, on both axes; around the image is 0.

    Args:
        sigma: σ at the start, in pixels.
        images: shown until it has fallen linearly to 0. From then on nothing is blurred, and no column is drawn: a
            phase of the schedule should begin there.
    """

    def __init__(self, inner: Augmentation, sigma: float, images: float) -> None:
        self.inner, self.sigma, self.images = inner, sigma, images
        self.state = inner.state

    def draw(self, like: dict[str, Tensor], at: Position, random: torch.Generator) -> Batch:
        """Columns "<name> blur" [N, taps], and those of the other augmentation."""
        columns: Batch = {}
        if at.images < self.images:
            for name, images in like.items():
                columns[f"{name} blur"] = self.taps(at.images).to(images).expand(len(images), -1)
        return columns | self.inner.draw(like, at, random)

    def taps(self, images: int) -> Tensor:
        """Those after so many images: as many as at the start, on the CPU."""
        sigma, most = self.sigma * (1 - images / self.images), math.floor(3 * self.sigma)
        k = torch.arange(-most, most + 1, dtype=torch.float64)
        taps = torch.exp2(-((k / sigma) ** 2)) * (k.abs() <= math.floor(3 * sigma))
        return (taps / taps.sum()).float()

    def __call__(self, images: Tensor, batch: Batch, name: str) -> Tensor:
        taps = batch.get(f"{name} blur")
        return self.inner(images if taps is None else filter2d(images, taps[0]), batch, name)

    def arrange(self, shown: int) -> None:
        self.inner.arrange(shown)

    def after(self, stats: Stats) -> None:
        self.inner.after(stats)
