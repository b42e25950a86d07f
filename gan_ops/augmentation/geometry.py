"""Images scaled, turned and moved, without aliasing (ADA, Karras et al. 2020, appendix B)."""

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

    The image is enlarged twofold by the low-pass of the wavelet sym6, sampled along the affine map, and reduced by the
    same filter, turned around. Without a change all this is the identity. To each side it is continued by its mirror
    image, one size less a pixel; beyond is grey (0). The paper's code enlarges image and margin, of which there is as
    much as the batch needs: that has to be read from the device, and an image then depends on the others. Here only as
    much is enlarged as the filters reach, and points farther away are mirrored themselves.

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
        reach = len(self.lowpass) // 4  # of the filters, in pixels to either side
        margin = reach + 1
        # Planes of pixels are faster here than few channels side by side.
        x = with_mirrored_margins(images.contiguous(), reach + margin)
        x = upsample2d(x, self.lowpass, padding=-2 * reach)
        source, target = ((height + 2 * more, width + 2 * more) for more in (margin, reach))
        theta = in_pixels(drawn.to(images.dtype), source, target, corners=False)
        grid = affine_grid(theta, (n, channels, 2 * target[0], 2 * target[1]))
        x = grid_sample(x, mirrored(grid, source, margin))
        x = downsample2d(x, self.lowpass, padding=-2 * reach, flip=True)
        return x.contiguous(memory_format=torch.channels_last) if is_channels_last(images) else x


def is_channels_last(images: Tensor) -> bool:
    return images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()


def mirrored(grid: Tensor, size: tuple[int, int], margin: int) -> Tensor:
    """Points [N, H, W, 2] of images with a margin, from −1 to 1, those in the margin's last pixel and beyond mirrored
    at the images' outermost pixels.

    Args:
        size: height and width, with the margin.
        margin: pixels to each side, in enlarged images too.
    """
    if size[0] == size[1]:
        return _mirrored(grid, size[0], margin)
    axes = zip(grid.unbind(-1), reversed(size), strict=True)
    return torch.stack([_mirrored(places, length, margin) for places, length in axes], -1)


def _mirrored(places: Tensor, length: int, margin: int) -> Tensor:
    mirror, end = 1 - (2 * margin + 1) / length, 1 - 2 / length
    inside = places.clamp(-end, end)
    return torch.where(places == inside, places, (2 * mirror / end) * inside - places)


def with_mirrored_margins(x: Tensor, margin: int) -> Tensor:
    """[N, C, H, W] → [N, C, H + 2·margin, W + 2·margin]: continued by its mirror image, without its border repeated.

    Made of copies, so gradients are sums in a fixed order.
    """
    for axis in (3, 2):
        missing = margin
        while missing:
            size = x.shape[axis]
            part = min(missing, size - 1)
            before, after = x.narrow(axis, 1, part).flip(axis), x.narrow(axis, size - 1 - part, part).flip(axis)
            x, missing = torch.cat((before, x, after), axis), missing - part
    return x
