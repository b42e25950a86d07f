"""Distances between samples, or the vectors that a critic gives for them: of pairs, and of each with each."""

from __future__ import annotations

import torch
from torch import Tensor

import gan_ops
from gan_ops._lengths import Metric, lengths
from gan_ops._types import accumulable

__all__ = ["Metric", "distances", "pair_distances"]


def distances(x: Tensor, y: Tensor, metric: Metric) -> Tensor:
    """d(x, y) over the last axis: [*, D], [*, D] → [*], in float32 or wider.

    First and second derivatives are finite everywhere. Where x = y, those of "l1" and "l2" count as 0.
    """
    return lengths(accumulable(x) - accumulable(y), metric)


def pair_distances(x: Tensor, y: Tensor, metric: Metric) -> Tensor:
    """d(x_i, y_j) of each x [N, D] with each y [M, D]: [N, M]; see :func:`gan_ops.pair_distances`.

    The types of x and y may differ, as under autocast.
    """
    wide = torch.promote_types(x.dtype, y.dtype)
    return gan_ops.pair_distances(x.to(wide), y.to(wide), metric)
