"""Images spoilt: noise on all pixels, and a square without any (ADA, Karras et al. 2020, appendix B)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gan_ops.augmentation.transformation import Dice, Probability, Transformation


class Noise(Transformation):
    """Normal noise on each image with the probability p.

    Args:
        strength: of the noise's standard deviation, which is the absolute value of a normal number, the standard
            deviation (the paper: 0.1).
    """

    name = "additive noise"

    def __init__(self, share: float = 1.0, *, strength: float = 0.1) -> None:
        super().__init__(share)
        self.strength = strength

    def draw(self, shape: Sequence[int], p: Probability, random: torch.Generator) -> Tensor:
        """The noise, [N, C, H, W]."""
        dice = Dice(shape[0], p * self.share, random)
        deviation = dice.or_else(self.strength * dice.normal().abs(), 0)
        return dice.normal(*shape[1:]).mul_(deviation[:, None, None, None])

    def forward(self, images: Tensor, drawn: Tensor) -> Tensor:
        return images + drawn.to(images.dtype)


class Cutout(Transformation):
    """A square of each image made grey (0), with the probability p; its centre is anywhere in the image.

    Args:
        size: of the square, as a part of the image's (the paper: 0.5).
    """

    name = "cutout"

    def __init__(self, share: float = 1.0, *, size: float = 0.5) -> None:
        super().__init__(share)
        self.size = size

    def draw(self, shape: Sequence[int], p: Probability, random: torch.Generator) -> Tensor:
        """[N, 3]: the centre's x and y from 0 to 1, and the size."""
        dice = Dice(shape[0], p * self.share, random)
        centre = dice.uniform(0, 1, 2)
        size = dice.or_else(torch.full_like(centre[:, :1], self.size), 0)
        return torch.cat((centre, size), 1)

    def forward(self, images: Tensor, drawn: Tensor) -> Tensor:
        x, y, size = drawn[:, :, None].unbind(1)  # [N, 1] each
        outside = [
            ((torch.arange(length, device=images.device) + 0.5) / length - centre).abs() >= size / 2
            for length, centre in ((images.shape[3], x), (images.shape[2], y))
        ]
        return images * (outside[0][:, None, None] | outside[1][:, None, :, None])
