"""Precision and recall, density and coverage: fidelity and variety apart, by nearest neighbours among features."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gan_ops.metrics._distances import distances_to_others, rounding, squared_distances
from gan_ops.metrics._features import TwoFeatureSets, check_count, check_features


class PrecisionRecallResult(NamedTuple):
    """All but the density lie in [0, 1]; it is 1 on average for equal distributions, and can be more."""

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall(real_features: Tensor, fake_features: Tensor, *, k: int = 3) -> PrecisionRecallResult:
    """How much of each set lies in balls around the other set's samples, whose radius is the k-th neighbour's distance.

    Precision is the share of generated samples in some real ball, recall that of real samples in some generated ball
    (Kynkäänniemi et al. 2019, eq. 1–2). Density counts the real balls that a generated sample lies in, over k; coverage
    is the share of real balls with a generated sample in them (Naeem et al. 2020, eq. 2–3, who take k = 5). A ball's
    border belongs to it.

    Args:
        real_features, fake_features: [N, D] and [M, D], floating-point, more than k each. Distances are taken in
            float64, a block of rows at a time.

    Raises:
        ValueError: shapes do not fit, values are not finite, or a set has no more than k samples.
        TypeError: features are not floating-point.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, but is {k}")
    check_features(real_features, "real_features")
    check_features(fake_features, "fake_features", real_features.shape[1])
    check_count(f"precision_recall with k={k}", "real samples", k + 1, len(real_features))
    check_count(f"precision_recall with k={k}", "fake samples", k + 1, len(fake_features))
    real = real_features.detach().double()
    fake = fake_features.detach().to(real)
    real_radii, fake_radii = _squared_radii(real, k), _squared_radii(fake, k)
    precise, memberships = 0, 0
    covered, recalled = (torch.zeros(len(real), dtype=torch.bool, device=real.device) for _ in range(2))
    for rows, distances in squared_distances(fake, real):
        in_real_ball = distances <= real_radii  # [block, N]
        precise += in_real_ball.any(1).sum().item()
        memberships += in_real_ball.sum().item()
        covered |= in_real_ball.any(0)
        recalled |= (distances <= fake_radii[rows, None]).any(0)
    return PrecisionRecallResult(
        precision=precise / len(fake),
        recall=recalled.double().mean().item(),
        density=memberships / (k * len(fake)),
        coverage=covered.double().mean().item(),
    )


class PrecisionRecall(TwoFeatureSets):
    """:func:`precision_recall` of batches. Keeps all features: any may be another's neighbour."""

    def __init__(self, *, k: int = 3) -> None:
        super().__init__()
        self.k = k

    def compute(self) -> PrecisionRecallResult:
        for features in (self._real, self._fake):
            check_count(f"precision_recall with k={self.k}", f"{features.name} samples", self.k + 1, len(features))
        return precision_recall(self._real.all("precision_recall"), self._fake.all("precision_recall"), k=self.k)


def _squared_radii(features: Tensor, k: int) -> Tensor:
    """[N]: the squared distance of each sample to its k-th neighbour among the others."""
    radii = [distances.kthvalue(k).values for _, distances in distances_to_others(features)]
    # A ball's border belongs to it, however distances are rounded.
    return torch.cat(radii) + rounding(features)
