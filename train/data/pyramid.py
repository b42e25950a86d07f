"""Box-filtered resolutions of square images, each computed from the full one and rounded once."""

from __future__ import annotations

import numpy as np

from train.base.errors import DataError
from train.base.values import LARGEST_RESOLUTION

SMALLEST = 4  # PGGAN starts at 4 x 4


def check_resolution(resolution: int) -> None:
    """DataError unless `resolution` is a power of two of at least 4."""
    whole = isinstance(resolution, int) and not isinstance(resolution, bool)
    if not whole or resolution < SMALLEST or resolution & (resolution - 1):
        raise DataError(f"resolution={resolution} is not a power of two of at least {SMALLEST}")
    if resolution > LARGEST_RESOLUTION:
        raise DataError(f"resolution={resolution} is more than {LARGEST_RESOLUTION}")


def resolutions(resolution: int) -> list[int]:
    """The powers of two from `resolution` down to 4."""
    return [2**n for n in range(resolution.bit_length() - 1, 1, -1)]


def pyramid_bytes(length: int, channels: int, resolution: int) -> int:
    """Size of all levels of `length` images together, a third more than that of the images alone."""
    return length * channels * sum(r * r for r in resolutions(resolution))


def box_pyramid(images: np.ndarray) -> dict[int, np.ndarray]:
    """uint8 [N, C, R, R] → {r: uint8 [N, C, r, r]} for r = R, R/2, … 4: means of squares of pixels, halves rounded up.

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
