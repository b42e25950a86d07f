"""Log-likelihood of real samples under a kernel density made of generated ones (Parzen windows)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gan_ops.metrics._features import TwoFeatureSets, check_count, check_features

BANDWIDTHS = tuple(10 ** (-1 + i / 9) for i in range(10))
"""0.1 to 1 in ten even ratios, the usual choice for pixels in [0, 1]."""


class ParzenResult(NamedTuple):
    """Mean over the test samples in nats, its standard error, and the bandwidth that validation chose."""

    mean: float
    standard_error: float
    bandwidth: float


def parzen_log_likelihood(
    fake: Tensor, validation: Tensor, test: Tensor, *, bandwidths: Sequence[float] = BANDWIDTHS
) -> ParzenResult:
    """Mean log density of ``test`` under Gaussians of one σ around the generated samples; validation chooses σ.

    The protocol of Goodfellow et al. 2014, section 5 (after Breuleux et al. 2011): 10 000 generated samples. Values
    depend on the units: those published for MNIST are for 784 pixels in [0, 1]. If the best bandwidth is at an end of
    the list, give a longer list.

    Args:
        fake: [N, D] floating-point, flattened samples of the generator.
        validation, test: [V, D] and [T, D], two parts of the real samples.
        bandwidths: standard deviations to choose among.

    Raises:
        ValueError: shapes do not fit, a set is empty, there are fewer than two test samples or no bandwidths above 0.
        TypeError: samples are not floating-point.
    """
    if not bandwidths or not all(bandwidth > 0 for bandwidth in bandwidths):
        raise ValueError(f"bandwidths must be one or more positive numbers, but are {bandwidths}")
    check_features(fake, "fake")
    check_count("parzen_log_likelihood", "fake samples", 1, len(fake))
    for part, name, needed in ((validation, "validation", 1), (test, "test", 2)):
        check_features(part, name, fake.shape[1])
        check_count("parzen_log_likelihood", f"{name} samples", needed, len(part))
    best = max(bandwidths, key=lambda bandwidth: _log_densities(fake, validation, bandwidth).mean().item())
    values = _log_densities(fake, test, best)
    return ParzenResult(values.mean().item(), values.std().item() / math.sqrt(len(values)), best)


class ParzenLogLikelihood(TwoFeatureSets):
    """:func:`parzen_log_likelihood` of batches of flattened samples: the first half of the real ones is for validation.

    Keeps all samples, because the density consists of them.
    """

    def __init__(self, *, bandwidths: Sequence[float] = BANDWIDTHS) -> None:
        super().__init__()
        self.bandwidths = bandwidths

    def compute(self) -> ParzenResult:
        check_count("parzen_log_likelihood", "real samples", 3, self.count_real)
        fake, real = self._fake.all("parzen_log_likelihood"), self._real.all("parzen_log_likelihood")
        half = len(real) // 2
        return parzen_log_likelihood(fake, real[:half], real[half:], bandwidths=self.bandwidths)


def _log_densities(centres: Tensor, points: Tensor, bandwidth: float) -> Tensor:
    """[T]: log of the mean over centres [N, D] of normal densities at points [T, D], in float64."""
    centres = centres.detach().double() / bandwidth
    points = points.detach().to(centres) / bandwidth
    values = []
    for part in points.split(max(1, 2**24 // len(centres))):
        exponents = -0.5 * torch.cdist(part, centres).square()
        values.append(exponents.logsumexp(1))
    constant = math.log(len(centres)) + centres.shape[1] * math.log(bandwidth * math.sqrt(2 * math.pi))
    return torch.cat(values) - constant
