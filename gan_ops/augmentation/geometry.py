"""Images scaled, turned and moved, without aliasing (Karras et al. 2020a, appendix B)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gan_ops.augmentation.affine import in_pixels, moving, scaling, turning
from gan_ops.augmentation.transformation import Dice, Probability, Transformation
from gan_ops.augmentation.wavelets import SYM6
from gan_ops.ops import affine_grid, downsample2d, grid_sample, upsample2d


class Geometry(Transformation):
    """Each image scaled, turned, stretched along one axis and shrunk along the other, turned again, and moved by any
    distance; each change by itself with the probability p, the turns so that some turn happens with it.

    The image is continued by its mirror image, one size less a pixel to each side; beyond is grey. It is enlarged
    twofold by the low-pass of the wavelet sym6, sampled along the affine map, and reduced by the same filter, turned
    around. Without a change all this is the identity. The paper's code has only as much margin as the batch needs:
    that has to be read from the device, and an image then depends on the others.

    Args:
        scale, stretch: standard deviations of the logarithms, to the base 2, of both factors (the paper: 0.2).
        step: standard deviation of the move, as a part of the size (the paper: 0.125).
    """

    name = "geometry"

    def __init__(self, share: float = 1.0, *, scale: float = 0.2, stretch: float = 0.2, step: float = 0.125) -> None:
        super().__init__(share)
        self.scale, self.stretch, self.step = scale, stretch, step
        self.register_buffer("lowpass", torch.tensor(SYM6, dtype=torch.float64) / 2**0.5, persistent=False)  # sum 1

    def draw(self, shape: Sequence[int], p: Probability, random: torch.Generator) -> Tensor:
        """Matrices [N, 3, 3], in pixels around the centre, of whence each pixel comes."""
        height, width = shape[2:]
        p = p * self.share
        dice = Dice(shape[0], p, random)
        p_turn = 1 - (1 - p) ** 0.5  # of each of two, so that p is that of any
        scale = dice.or_else((self.scale * dice.normal()).exp2(), 1)
        first = dice.or_else(dice.uniform(-math.pi, math.pi), 0, p_turn)
        stretch = dice.or_else((self.stretch * dice.normal()).exp2(), 1)
        second = dice.or_else(dice.uniform(-math.pi, math.pi), 0, p_turn)
        x, y = dice.or_else(self.step * dice.normal(2), 0).unbind(1)
        # The changes in their order; the map goes back, so it has the inverse of each, the last one's first to act.
        changes = (
            scaling(1 / scale, 1 / scale),
            turning(-first),
            scaling(1 / stretch, stretch),
            turning(-second),
            moving(-x * width, -y * height),
        )
        back = changes[0]
        for change in changes[1:]:
            back = back @ change
        return back

    def forward(self, images: Tensor, drawn: Tensor) -> Tensor:
        n, channels, height, width = images.shape
        edge = len(self.lowpass) // 4  # pixels that the filter reaches to either side when it reduces
        x = upsample2d(with_mirrored_margins(images, height - 1, width - 1), self.lowpass)
        source, target = (3 * height - 2, 3 * width - 2), (height + 2 * edge, width + 2 * edge)
        theta = in_pixels(drawn.to(images.dtype), source, target, corners=False)
        x = grid_sample(x, affine_grid(theta, (n, channels, 2 * target[0], 2 * target[1])))
        return downsample2d(x, self.lowpass, padding=-2 * edge, flip=True)


def with_mirrored_margins(x: Tensor, rows: int, columns: int) -> Tensor:
    """[N, C, H, W] → [N, C, H + 2·rows, W + 2·columns]: continued by its mirror image, without its border repeated.

    ``rows`` and ``columns`` are less than the sizes. Made of copies, so gradients are sums in a fixed order.
    """
    for axis, margin in ((3, columns), (2, rows)):
        size = x.shape[axis]
        before, after = x.narrow(axis, 1, margin).flip(axis), x.narrow(axis, size - 1 - margin, margin).flip(axis)
        x = torch.cat((before, x, after), axis)
    return x
