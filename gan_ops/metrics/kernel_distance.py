"""Kernel distance between two sets of features: KID where the features are Inception's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gan_ops.metrics._features import TwoFeatureSets, check_count, check_features


class KernelDistanceResult(NamedTuple):
    """Mean and (population) standard deviation over the subsets; neither is scaled."""

    mean: float
    deviation: float


def kernel_distance(
    features_a: Tensor, features_b: Tensor, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> KernelDistanceResult:
    """Unbiased MMD² under the kernel (x·y/D + 1)³, over random subsets: Bińkowski et al. 2018, section 4.

    Subsets are drawn as torch-fidelity draws them from the same seed, a's before b's; published figures take its 2020.

    Args:
        features_a, features_b: [N, D] and [M, D], floating-point; computed in float64.
        subsets: how many pairs of subsets.
        subset_size: samples in each, at most N and M.

    Raises:
        ValueError: shapes do not fit, values are not finite, or a set has fewer samples than ``subset_size``.
        TypeError: features are not floating-point.
    """
    _check_options(subsets, subset_size)
    check_features(features_a, "features_a")
    check_features(features_b, "features_b", features_a.shape[1])
    check_count("kernel_distance", "samples in features_a", subset_size, len(features_a))
    check_count("kernel_distance", "samples in features_b", subset_size, len(features_b))
    draws = np.random.RandomState(seed)
    distances = []
    for _ in range(subsets):
        a, b = (_subset(features, subset_size, draws) for features in (features_a, features_b))
        distances.append(_squared_mmd(a, b.to(a.device)))
    values = torch.stack(distances)
    return KernelDistanceResult(values.mean().item(), values.std(correction=0).item())


class KernelDistance(TwoFeatureSets):
    """:func:`kernel_distance` of batches, generated images first. Keeps all features: subsets are drawn from all."""

    def __init__(self, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0) -> None:
        super().__init__()
        _check_options(subsets, subset_size)
        self.subsets, self.subset_size, self.seed = subsets, subset_size, seed

    def compute(self) -> KernelDistanceResult:
        for features in (self._fake, self._real):
            check_count("kernel_distance", f"{features.name} samples", self.subset_size, len(features))
        fake, real = self._fake.all("kernel_distance"), self._real.all("kernel_distance")
        return kernel_distance(fake, real, subsets=self.subsets, subset_size=self.subset_size, seed=self.seed)


def _check_options(subsets: int, subset_size: int) -> None:
    if subsets < 1:
        raise ValueError(f"subsets must be at least 1, but is {subsets}")
    if subset_size < 2:
        raise ValueError(f"subset_size must be at least 2, but is {subset_size}")


def _subset(features: Tensor, size: int, draws: np.random.RandomState) -> Tensor:
    chosen = torch.from_numpy(draws.choice(len(features), size, replace=False))
    return features.detach()[chosen.to(features.device)].double()


def _squared_mmd(a: Tensor, b: Tensor) -> Tensor:
    """Σ_{i≠j} (k(a_i, a_j) + k(b_i, b_j))/(n(n−1)) − 2·mean k(a_i, b_j), a scalar."""
    n = len(a)
    within = sum(k.sum() - k.trace() for k in (_kernel(a, a), _kernel(b, b)))
    return within / (n * (n - 1)) - 2 * _kernel(a, b).mean()


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3
