"""Colours of whole images changed by an affine map (ADA, Karras et al. 2020, appendix B)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gan_ops.augmentation.transformation import Dice, Probability, Transformation


class Color(Transformation):
    """Brightness, contrast, luma flip, hue and saturation of each image, in this order, each by itself with the
    probability p.

    Images have 3 channels, or 1: a grey image is one of three equal channels, of whose result the mean is taken, so
    that brightness, contrast and luma act on it.

    Args:
        brightness: standard deviation of what is added (the paper: 0.2).
        contrast, saturation: standard deviations of the logarithms, to the base 2, of the factors (the paper: 0.5, 1).
    """

    name = "color"

    def __init__(
        self, share: float = 1.0, *, brightness: float = 0.2, contrast: float = 0.5, saturation: float = 1.0
    ) -> None:
        super().__init__(share)
        self.brightness, self.contrast, self.saturation = brightness, contrast, saturation

    def draw(self, shape: Sequence[int], p: Probability, random: torch.Generator) -> Tensor:
        """Matrices [N, 3, 4], from (red, green, blue, 1) to red, green, blue."""
        dice = Dice(shape[0], p * self.share, random)
        added = dice.or_else(self.brightness * dice.normal(), 0)
        contrast = dice.or_else((self.contrast * dice.normal()).exp2(), 1)
        flip = dice.or_else(dice.integer(2), 0)
        angle = dice.or_else(dice.uniform(-math.pi, math.pi), 0)
        saturation = dice.or_else((self.saturation * dice.normal()).exp2(), 1)
        return color_matrix(added, contrast, flip, angle, saturation)

    def forward(self, images: Tensor, drawn: Tensor) -> Tensor:
        channels, drawn = images.shape[1], drawn.to(images.dtype)
        if channels not in (1, 3):
            raise ValueError(f"images must have 1 or 3 channels, but their shape is {list(images.shape)}")
        if channels == 1:
            mean = drawn.mean(1)[:, :, None, None]  # [N, 4, 1, 1]
            return images * mean[:, :3].sum(1, keepdim=True) + mean[:, 3:]
        factors, added = drawn[:, :, :3], drawn[:, :, 3:]
        if images.is_contiguous(memory_format=torch.channels_last):
            pixels = images.permute(0, 2, 3, 1).flatten(1, 2)  # [N, H·W, 3]
            mapped = torch.baddbmm(added.mT, pixels, factors.mT)
            return mapped.unflatten(1, images.shape[2:]).permute(0, 3, 1, 2)
        return torch.baddbmm(added, factors, images.flatten(2)).unflatten(2, images.shape[2:])


def color_matrix(added: Tensor, contrast: Tensor, flip: Tensor, angle: Tensor, saturation: Tensor) -> Tensor:
    """[N, 3, 4]: the changes of images by these numbers [N], one after another.

    Luma is the part of a colour along the axis v = (1, 1, 1)/√3, and vvᵀ projects on it. So hue is an angle around v, a
    luma flip of 1 mirrors colours at the plane across v, and saturation is a factor of all that is across v.
    """
    one = torch.eye(3, device=angle.device)
    luma = torch.full_like(one, 1 / 3)  # vvᵀ
    across, around = one - luma, (one.roll(-1, 1) - one.roll(1, 1)) * 3**-0.5  # I − vvᵀ; the matrix of v × x

    def each(numbers: Tensor) -> Tensor:
        return numbers[:, None, None]

    turned = luma * each(1 - 2 * flip) + each(saturation) * (each(angle.cos()) * across + each(angle.sin()) * around)
    factors = each(contrast) * turned
    return torch.cat((factors, factors.sum(2, keepdim=True) * each(added)), 2)
