"""Pixels copied to other places: mirror images, quarter turns, whole steps (ADA, Karras et al. 2020, appendix B)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gan_ops._types import GridPadding
from gan_ops.augmentation.affine import in_pixels, moving, scaling, turning
from gan_ops.augmentation.transformation import Dice, Probability, Transformation
from gan_ops.ops import affine_grid, grid_sample


class Blit(Transformation):
    """Each image mirrored left to right, turned by a multiple of 90°, and moved by whole pixels, each by itself with
    the probability p; what comes in is the image's own mirror image at its border, without the border repeated.

    Pixels are copied as they are. The authors' code has these changes in the matrix of :class:`Geometry`, whose filter
    blurs a mirror image a little.

    Args:
        step: the farthest move, as a part of the size (the paper: 0.125).
    """

    name = "blit"

    def __init__(self, share: float = 1.0, *, step: float = 0.125) -> None:
        super().__init__(share)
        self.step = step

    def draw(self, shape: Sequence[int], p: Probability, random: torch.Generator) -> Tensor:
        """Matrices [N, 3, 3], in pixels around the centre, of whence each pixel comes."""
        height, width = shape[2:]
        dice = Dice(shape[0], p * self.share, random)
        mirror = 1 - 2 * dice.or_else(dice.integer(2), 0)
        turns = dice.or_else(dice.integer(4), 0)
        step = dice.or_else(dice.uniform(-self.step, self.step, 2), 0)
        x, y = (step[:, 0] * width).round(), (step[:, 1] * height).round()
        mirrored = scaling(mirror, torch.ones_like(mirror))
        # Whole numbers to the bit: the sines of multiples of a quarter turn are not.
        turned = turning(turns * (math.pi / 2)).round()
        return mirrored @ turned @ moving(-x, -y)

    def forward(self, images: Tensor, drawn: Tensor) -> Tensor:
        return copied(images, drawn, "reflection")


def copied(images: Tensor, matrix: Tensor, outside: GridPadding) -> Tensor:
    """Images [N, C, H, W], each of whose pixels comes from the nearest one to where matrices [N, 3, 3] say, in pixels
    around the centre."""
    size = images.shape[2], images.shape[3]
    theta = in_pixels(matrix.to(images.dtype), size, size, corners=True)
    grid = affine_grid(theta, images.shape, align_corners=True)
    return grid_sample(images, grid, "nearest", outside, align_corners=True)
