"""Distances between all samples of one or two sets, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def squared_distances(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of rows of ‖x_i − y_j‖², of at most 128 MB, with their place among the rows."""
    block = max(1, 2**24 // len(y))
    # Distances are the same wherever the origin is, and the products below lose least near the mean.
    centre = y.mean(0)
    x, y = x - centre, y - centre
    y_norms = y.square().sum(1)
    for start in range(0, len(x), block):
        rows = slice(start, min(start + block, len(x)))
        part = x[rows]
        yield rows, torch.addmm(part.square().sum(1, keepdim=True) + y_norms, part, y.T, alpha=-2)


def distances_to_others(features: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """:func:`squared_distances` within a set; that of a sample to itself is infinite."""
    for rows, distances in squared_distances(features, features):
        own = torch.arange(rows.start, rows.stop, device=features.device)
        distances[own - rows.start, own] = float("inf")
        yield rows, distances


def rounding(features: Tensor) -> Tensor:
    """How large the squared distance of equal samples may come out, 0-d: float64 has 16 digits."""
    return 1e-12 * (features - features.mean(0)).square().sum(1).max()
