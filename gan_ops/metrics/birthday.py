"""The birthday-paradox test: how many different samples a generator has, by how often two of a batch are alike."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gan_ops.metrics._distances import distances_to_others, rounding
from gan_ops.metrics._features import TwoFeatureSets, check_count, check_features

_CONFIDENCE = 0.95


class BirthdayResult(NamedTuple):
    """Of the generated samples, of the real ones, and the distance at which two samples are taken to be alike."""

    support: float
    """s(s − 1)/(2c) of c pairs alike among s generated samples. With none it is s(s − 1)/2: no more can be told."""
    at_least: float
    """Smaller than the support with 95 % confidence, which only the number of pairs limits."""
    pairs: int
    """c."""
    real_support: float
    """The same of the real samples: what a generator as varied as the data would reach, give or take its error."""
    real_pairs: int
    threshold: float

    @property
    def likely_batch(self) -> float:
        """√(2 ln 2 · support): of so many samples two are alike with a probability of ½."""
        return math.sqrt(2 * math.log(2) * self.support)


def birthday(real_features: Tensor, fake_features: Tensor, *, quantile: float = 0.01) -> BirthdayResult:
    """The size of a generator's support, from collisions in a batch (Arora and Zhang 2017, section 3).

    Of s samples, drawn from K that are equally likely, s(s − 1)/(2K) pairs are the same one in expectation. So c such
    pairs say that K is about s(s − 1)/(2c), give or take 1/√c of it. If some are likelier than others, this is the
    effective number 1/Σp², which is smaller than that of all: a generator that repeats few samples often is found out,
    whatever else it makes now and then.

    The paper has people look at the closest pairs (:func:`closest_pairs`). Here two samples are alike if they are
    closer than all but a few different real ones come: the threshold is a quantile of real samples' distances to their
    nearest neighbours. Equal real samples do not count for it, so duplicates in the data do not make it 0; but with
    them the data's own support is small, and so may the generator's be. At the threshold some of the pairs are alike by
    chance. ``real_support`` says how many: where ``support`` comes near it, there is no sign of missing variety. It is
    about N/quantile of N real samples, and no larger support can be seen.

    Args:
        real_features, fake_features: [N, D] and [M, D], floating-point, at least 2 each: of a network, or pixels of
            small images, or points. Distances are Euclidean, taken in float64, a block of rows at a time.
        quantile: share of the real samples whose nearest neighbour is within the threshold, in (0, 1]; at least one is.

    Raises:
        ValueError: shapes do not fit, values are not finite, a set has fewer than 2 samples, or the quantile is none.
        TypeError: features are not floating-point.
    """
    if not 0 < quantile <= 1:
        raise ValueError(f"quantile={quantile} is not above 0 and at most 1")
    check_features(real_features, "real_features")
    check_features(fake_features, "fake_features", real_features.shape[1])
    check_count("birthday", "real samples", 2, len(real_features))
    check_count("birthday", "fake samples", 2, len(fake_features))
    real = real_features.detach().double()
    fake = fake_features.detach().to(real)
    threshold = _nearest_quantile(real, quantile)
    pairs, real_pairs = _count_pairs(fake, threshold), _count_pairs(real, threshold)
    possible, real_possible = math.comb(len(fake), 2), math.comb(len(real), 2)
    return BirthdayResult(
        support=possible / max(pairs, 1),
        at_least=possible / _most_expected(pairs),
        pairs=pairs,
        real_support=real_possible / max(real_pairs, 1),
        real_pairs=real_pairs,
        threshold=threshold.sqrt().item(),
    )


class Birthday(TwoFeatureSets):
    """:func:`birthday` of batches. Keeps all features: any two may be alike."""

    def __init__(self, *, quantile: float = 0.01) -> None:
        super().__init__()
        self.quantile = quantile

    def compute(self) -> BirthdayResult:
        return birthday(self._real.all("birthday"), self._fake.all("birthday"), quantile=self.quantile)


def closest_pairs(features: Tensor, count: int) -> Tensor:
    """The places of the ``count`` closest pairs of samples, for people to look at: int64 [count, 2], closest first.

    Each sample is in one pair at most, with its nearest neighbour; there may be fewer pairs than asked for.

    Args:
        features: [N, D], as in :func:`birthday`.
    """
    check_features(features, "features")
    check_count("closest_pairs", "samples", 2, len(features))
    parts = [distances.min(1) for _, distances in distances_to_others(features.detach().double())]
    nearest = torch.cat([part.values for part in parts])  # [N], squared
    neighbours = torch.cat([part.indices for part in parts]).tolist()  # N
    taken: set[int] = set()
    pairs: list[list[int]] = []
    for one in nearest.argsort(stable=True).tolist():
        if len(pairs) == count:
            break
        if taken.isdisjoint(pair := (one, neighbours[one])):
            taken.update(pair)
            pairs.append(sorted(pair))
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


def _nearest_quantile(real: Tensor, quantile: float) -> Tensor:
    """The squared distance, 0-d, within which this share of the samples has its nearest one that is not equal to it; 0
    if all are equal."""
    same = rounding(real)
    parts = [d.masked_fill_(d <= same, float("inf")).amin(1) for _, d in distances_to_others(real)]
    nearest = torch.cat(parts)  # [N]
    nearest = nearest[nearest.isfinite()]
    if not len(nearest):
        return real.new_zeros(())
    return nearest.kthvalue(math.ceil(quantile * len(nearest))).values


def _count_pairs(features: Tensor, threshold: Tensor) -> int:
    """How many pairs are within the squared distance."""
    most = threshold + rounding(features)
    ordered = sum((distances <= most).sum().item() for _, distances in distances_to_others(features))
    return ordered // 2


def _most_expected(pairs: int) -> float:
    """The expected number of pairs with which so few of them, or fewer, have a probability of 5 %.

    Their number has nearly a Poisson distribution: P(n ≤ c) = Q(c + 1, λ), the regularised upper incomplete gamma
    function.
    """
    low, high = 0.0, 2.0 * pairs + 10
    for _ in range(60):
        middle = (low + high) / 2
        tail = torch.special.gammaincc(torch.tensor(pairs + 1.0).double(), torch.tensor(middle).double())
        low, high = (middle, high) if tail > 1 - _CONFIDENCE else (low, middle)
    return high
