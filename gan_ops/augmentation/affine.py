"""Affine maps of the plane as matrices [N, 3, 3] of homogeneous coordinates (x, y, 1)."""

from __future__ import annotations

import torch
from torch import Tensor


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """By factors [N] along both axes."""
    return _matrix((x, 0, 0), (0, y, 0))


def turning(angle: Tensor) -> Tensor:
    """By angles [N] in radians, which take the x axis towards the y axis."""
    cos, sin = angle.cos(), angle.sin()
    return _matrix((cos, -sin, 0), (sin, cos, 0))


def moving(x: Tensor, y: Tensor) -> Tensor:
    """By distances [N]."""
    return _matrix((1, 0, x), (0, 1, y))


def _matrix(*rows: tuple[Tensor | int, Tensor | int, Tensor | int]) -> Tensor:
    """[N, 3, 3] of its first two rows, whose values are tensors [N], 0 or 1."""
    like = next(value for row in rows for value in row if isinstance(value, Tensor))
    numbers = {0: torch.zeros_like(like), 1: torch.ones_like(like)}
    values = [value for row in (*rows, (0, 0, 1)) for value in row]
    full = [value if isinstance(value, Tensor) else numbers[value] for value in values]
    return torch.stack(full, 1).unflatten(1, (3, 3))


def in_pixels(matrix: Tensor, source: tuple[int, int], target: tuple[int, int], corners: bool) -> Tensor:
    """What :func:`gan_ops.affine_grid` takes, [N, 2, 3], for a map in pixels around the centres of images.

    Args:
        matrix: [N, 3, 3], takes places in the target to where their values are in the source.
        source, target: heights and widths.
        corners: whether −1 and 1 are the centres of the outermost pixels (``align_corners``).
    """
    less = 1 if corners else 0
    halves = [[(size - less) / 2 for size in reversed(sizes)] for sizes in (source, target)]  # x, y
    rows = []
    for i, half in enumerate(halves[0]):
        rows += [matrix[:, i, j] * (factor / half) for j, factor in enumerate((*halves[1], 1.0))]
    return torch.stack(rows, 1).unflatten(1, (2, 3))
