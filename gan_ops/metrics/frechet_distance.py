"""Fréchet distance between two sets of features, taken for Gaussians: FID where the features are Inception's."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_ops.metrics._features import TwoSets, check_count, check_features


def frechet_distance(features_a: Tensor, features_b: Tensor) -> float:
    """‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2(Σ_a Σ_b)^½): Heusel et al. 2017, eq. 6.

    Args:
        features_a, features_b: [N, D] and [M, D], floating-point; each at least two samples. Published figures take
            2048 features and 10 000 samples or more: with fewer samples the value is biased upwards.

    Raises:
        ValueError: shapes do not fit, values are not finite, or a set has fewer than two samples.
        TypeError: features are not floating-point.
    """
    distance = FrechetDistance()
    distance.update(features_a, real=True)
    distance.update(features_b, real=False)
    return distance.compute()


class _Moments:
    """Float64 sums of x − x₀ and of its outer products: x₀, the first sample, keeps large means from cancelling."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0

    def __len__(self) -> int:
        return self.count

    @property
    def width(self) -> int | None:
        return len(self.origin) if self.count else None

    def add(self, features: Tensor, width: int | None) -> None:
        features = check_features(features, self.name, self.width if width is None else width).double()
        if not len(features):
            return
        if not self.count:
            self.origin = features[0].clone()
            self.sum = torch.zeros_like(self.origin)
            self.products = torch.zeros_like(self.origin.expand(len(self.origin), -1))
        shifted = features - self.origin.to(features.device)
        self.sum += shifted.sum(0)
        self.products += shifted.T @ shifted
        self.count += len(features)

    def mean(self) -> Tensor:
        return self.origin + self.sum / self.count

    def covariance(self) -> Tensor:
        """[D, D], divided by N − 1."""
        return (self.products - torch.outer(self.sum, self.sum) / self.count) / (self.count - 1)


class FrechetDistance(TwoSets):
    """:func:`frechet_distance` of batches: memory of two D×D matrices in float64, whatever the number of samples.

    Batches of other sizes, or samples in another order, change the order of float64 sums and nothing else.
    """

    made_of = _Moments

    def compute(self) -> float:
        for moments in (self._real, self._fake):
            check_count("frechet_distance", f"{moments.name} samples", 2, moments.count)
        mean, covariance = self._real.mean(), self._real.covariance()
        other_mean, other_covariance = self._fake.mean().to(mean.device), self._fake.covariance().to(mean.device)
        # The eigenvalues of Σ_a Σ_b = A Aᵀ B Bᵀ are the squares of the singular values of Aᵀ B. Taking those directly
        # spares the roots of eigenvalues that should be 0 and are ±1e-16.
        root_trace = torch.linalg.svdvals(_factor(covariance).T @ _factor(other_covariance)).sum()
        distance = (mean - other_mean).square().sum() + covariance.trace() + other_covariance.trace() - 2 * root_trace
        return max(0.0, distance.item())

    def real_statistics(self) -> dict[str, Tensor]:
        """What :meth:`load_real` takes, for a cache: mean [D], covariance [D, D] and count [] of the real set."""
        check_count("FrechetDistance", "real samples", 2, self._real.count)
        return {
            "mean": self._real.mean(),
            "covariance": self._real.covariance(),
            "count": torch.tensor(self._real.count),
        }

    def load_real(self, statistics: dict[str, Tensor]) -> None:
        """Replaces all that was added of the real set by its statistics."""
        self._real = _Moments("real")
        self._real.count = int(statistics["count"])
        self._real.origin = statistics["mean"]
        self._real.sum = torch.zeros_like(statistics["mean"])
        self._real.products = statistics["covariance"] * (self._real.count - 1)


def _factor(covariance: Tensor) -> Tensor:
    """A with A Aᵀ = covariance: its eigenvectors times the roots of its eigenvalues, those of rounding taken for 0."""
    values, vectors = torch.linalg.eigh(covariance)
    smallest = values[-1] * len(values) * torch.finfo(values.dtype).eps
    return vectors * torch.where(values > smallest, values, 0).sqrt()
