"""Perceptual path length: how much images change with small steps between latents (Karras et al. 2019, section 4.1)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gan_ops.metrics._features import check_count, check_features

EPSILON = 1e-4
"""The step that published figures have."""
KEPT = (0.01, 0.99)
"""Quantiles between which distances count."""


class PathLengthResult(NamedTuple):
    """The mean of the distances that count, its standard error, and how many count."""

    mean: float
    error: float
    count: int


def perceptual_path_length(start: Tensor, end: Tensor, *, epsilon: float = EPSILON) -> PathLengthResult:
    """E[‖φ(G(p(t))) − φ(G(p(t + ε)))‖²/ε²] over paths p between latents, in the units of the features φ.

    As in the authors' code, distances below the 1st percentile and above the 99th do not count: a path may cross a
    place where the generator jumps. Both percentiles are distances that occur, the first at or below, the second at or
    above the place where they would be.

    Args:
        start, end: features φ [N, D] of the images at t and at t + ε, of float32 images: 8 bits hide so small a step.
            Differences are squared and added up in float64.
        epsilon: ε.

    Raises:
        ValueError: shapes do not fit, values are not finite, there are no samples, or ``epsilon`` is not positive.
        TypeError: features are not floating-point.
    """
    metric = PerceptualPathLength(epsilon=epsilon)
    metric.update(start, end)
    return metric.compute()


class PerceptualPathLength:
    """:func:`perceptual_path_length` of batches. Keeps a number for each path."""

    def __init__(self, *, epsilon: float = EPSILON) -> None:
        if not 0 < epsilon < math.inf:
            raise ValueError(f"epsilon={epsilon} is not a positive finite number")
        self.epsilon = epsilon
        self.reset()

    def update(self, start: Tensor, end: Tensor) -> None:
        """Adds paths by the features [N, D] of their images at t and at t + ε."""
        check_features(start, "start")
        check_features(end, "end", start.shape[1])
        if len(start) != len(end):
            raise ValueError(f"start has {len(start)} samples and end {len(end)}")
        squares = (start.detach().double() - end.detach().double()).square().sum(1)  # [N, D] → [N]
        self._distances.append(squares / self.epsilon**2)

    def compute(self) -> PathLengthResult:
        check_count("perceptual_path_length", "samples", 1, self.count)
        ordered = torch.cat(self._distances).sort().values
        low, high = (share * (len(ordered) - 1) for share in KEPT)
        kept = ordered[(ordered >= ordered[math.floor(low)]) & (ordered <= ordered[math.ceil(high)])]
        error = kept.std(correction=1).item() / math.sqrt(len(kept)) if len(kept) > 1 else math.nan
        return PathLengthResult(kept.mean().item(), error, len(kept))

    def reset(self) -> None:
        """Forgets everything."""
        self._distances: list[Tensor] = []

    @property
    def count(self) -> int:
        """How many paths there are."""
        return sum(len(batch) for batch in self._distances)
