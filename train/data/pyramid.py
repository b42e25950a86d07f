"""Box-filtered resolutions of square images, each computed from the full one and rounded once."""

from __future__ import annotations

import numpy as np

from train.base.errors import DataError
from train.base.values import SMALLEST_RESOLUTION, wrong_resolution


def check_resolution(resolution: int) -> None:
    """DataError unless images can have this height and width."""
    if wrong := wrong_resolution(resolution):
        raise DataError(f"resolution={resolution} {wrong}")


def resolutions(resolution: int) -> list[int]:
    """`resolution` and its halves down to 4 or 6."""
    sizes = [resolution]
    while sizes[-1] % 2 == 0 and sizes[-1] // 2 >= SMALLEST_RESOLUTION:
        sizes.append(sizes[-1] // 2)
    return sizes


def pyramid_bytes(length: int, channels: int, resolution: int) -> int:
    """Size of all levels of `length` images together, a third more than that of the images alone."""
    return length * channels * sum(r * r for r in resolutions(resolution))


def box_pyramid(images: np.ndarray) -> dict[int, np.ndarray]:
    """uint8 [N, C, R, R] → {r: uint8 [N, C, r, r]} for r = R, R/2, …: means of squares of pixels, halves rounded up.

    Sums travel from level to level, not means, so no level carries another's rounding. They fit uint32 up to LARGEST.
    """
    resolution = images.shape[-1]
    levels = {resolution: images}
    sums = images.astype(np.uint32)
    for r in resolutions(resolution)[1:]:
        sums = sums[..., 0::2] + sums[..., 1::2]
        sums = sums[..., 0::2, :] + sums[..., 1::2, :]
        area = (resolution // r) ** 2
        levels[r] = ((sums + area // 2) // area).astype(np.uint8)
    return levels
