"""Lengths of vectors, by the metrics that distances are taken in."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Metric = Literal["l1", "l2", "squared"]
"""Σ|z|, √Σz², and the square of that."""


def lengths(z: Tensor, metric: Metric) -> Tensor:
    """[*, D] → [*]. First and second derivatives are finite everywhere; where z = 0, those of l1 and l2 count as 0."""
    if metric == "l1":
        return z.abs().sum(dim=-1)
    square = z.square().sum(dim=-1)
    if metric == "squared":
        return square
    # At 0 the root is taken of 1 and then struck out, so no derivative of any order meets 1/0.
    zero = square == 0
    return (square + zero).sqrt().masked_fill(zero, 0.0)
