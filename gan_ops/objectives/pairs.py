"""Distances between samples, or the vectors that a critic gives for them: of pairs, and of each with each."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gan_ops._types import accumulable

__all__ = ["Metric", "distances", "pair_distances"]

Metric = Literal["l1", "l2", "squared"]
"""Σ|x − y|, its Euclidean counterpart √Σ(x − y)², and the square of that."""


def distances(x: Tensor, y: Tensor, metric: Metric) -> Tensor:
    """d(x, y) over the last axis: [*, D], [*, D] → [*], in float32 or wider.

    First and second derivatives are finite everywhere. Where x = y, those of the first two metrics count as 0.
    """
    difference = accumulable(x) - accumulable(y)
    if metric == "l1":
        return difference.abs().sum(-1)  # [*, D] → [*]
    square = difference.square().sum(-1)  # [*, D] → [*]
    if metric == "squared":
        return square
    # At 0 the root is taken of 1 and then struck out, so no derivative of any order meets 1/0.
    zero = square == 0
    return (square + zero).sqrt().masked_fill(zero, 0.0)


def pair_distances(x: Tensor, y: Tensor, metric: Metric) -> Tensor:
    """d(x_i, y_j) of each x with each y.

    With a gradient it takes memory for the differences [N, M, D]. Without, it takes none but for the result.

    Args:
        x, y: [N, D] and [M, D].
        metric: see :data:`Metric`.

    Returns:
        [N, M], in float32 or wider. Distances are sums of differences, not ‖x‖² + ‖y‖² − 2x·y, which would cancel:
        that of a sample with itself is 0. For derivatives see :func:`distances`.

    Raises:
        ValueError: x and y are not matrices of one width.
    """
    if x.dim() != 2 or y.dim() != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"x and y must be [N, D] and [M, D], but are {list(x.shape)} and {list(y.shape)}")
    if torch.is_grad_enabled() and (x.requires_grad or y.requires_grad):
        return distances(x[:, None], y[None], metric)
    exact = "donot_use_mm_for_euclid_dist"
    found = torch.cdist(accumulable(x), accumulable(y), p=1.0 if metric == "l1" else 2.0, compute_mode=exact)
    return found.square() if metric == "squared" else found
