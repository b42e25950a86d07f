"""The arguments of ops that resample images, as they may be given: one number for all, or each axis' or side's own."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

Factors = int | Sequence[int]
"""An integer for both axes, or [x, y]."""

Padding = int | Sequence[int]
"""Pixels on every side, or [x, y], or [x0, x1, y0, y1]; negative numbers crop."""


def both_axes(factors: Factors) -> list[int]:
    """[x, y]."""
    return [factors, factors] if isinstance(factors, int) else list(factors)


def four_sides(padding: Padding) -> list[int]:
    """[x0, x1, y0, y1]: left, right, top, bottom."""
    if isinstance(padding, int):
        return [padding] * 4
    return [side for side in padding for _ in range(2)] if len(padding) == 2 else list(padding)


def resampled_size(
    size: Sequence[int], filter: Sequence[int], up: Factors, down: Factors, padding: Padding
) -> list[int]:
    """[height, width] after upfirdn2d of images of that size by a filter [height, width]; below 1: nothing is left."""
    x0, x1, y0, y1 = four_sides(padding)
    (up_x, up_y), (down_x, down_y) = both_axes(up), both_axes(down)
    height, width = (
        (size[0] * up_y + y0 + y1 - filter[0]) // down_y + 1,
        (size[1] * up_x + x0 + x1 - filter[1]) // down_x + 1,
    )
    return [height, width]


def filter_size(filter: Tensor | None) -> list[int]:
    """[height, width] of a filter [height, width], of one [K] for both axes, or of none."""
    if filter is None:
        return [1, 1]
    return [filter.shape[0], filter.shape[-1]]


def up_padding(filter: Tensor | None, up: Factors) -> list[int]:
    """[x0, x1, y0, y1] with which an enlarged and filtered image is up times as large and lies where it was."""
    (height, width), (x, y) = filter_size(filter), both_axes(up)
    return [(width + x - 1) // 2, (width - x) // 2, (height + y - 1) // 2, (height - y) // 2]


def down_padding(filter: Tensor | None, down: Factors) -> list[int]:
    """The same for one that is filtered and thinned out."""
    (height, width), (x, y) = filter_size(filter), both_axes(down)
    return [(width - x + 1) // 2, (width - x) // 2, (height - y + 1) // 2, (height - y) // 2]


def added(*paddings: Padding) -> list[int]:
    """[x0, x1, y0, y1] of all of them together."""
    return [sum(sides) for sides in zip(*map(four_sides, paddings), strict=True)]
