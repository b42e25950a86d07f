"""Mixtures of Gaussians in the plane, and how well samples match them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gan_ops.metrics import mode_coverage

GOOD = 3.0  # deviations from the nearest centre up to which a sample is good


class Quality(NamedTuple):
    """What :meth:`Mixture.judge` finds."""

    modes: int  # that have a good sample
    good: float  # share of good samples
    divergence: float  # Jensen–Shannon, of the samples' nearest modes from a uniform histogram, 0 to ln 2


@dataclass(frozen=True)
class Mixture:
    """Equally likely normal distributions around ``centres`` [modes, 2], with one deviation along both axes."""

    centres: Tensor
    deviation: float

    @property
    def spread(self) -> float:
        """The standard deviation of a coordinate, of both alike (the mixtures here are centred and symmetric)."""
        return math.sqrt(self.centres.square().mean().item() + self.deviation**2)

    def sample(self, count: int, random: torch.Generator) -> Tensor:
        """Points, float32 [count, 2]."""
        modes = torch.randint(len(self.centres), (count,), generator=random)
        return self.centres[modes] + self.deviation * torch.randn(count, 2, generator=random)

    def uniform(self, count: int, random: torch.Generator) -> Tensor:
        """Points [count, 2] drawn uniformly from the square that the centres span."""
        return (2 * torch.rand(count, 2, generator=random) - 1) * self.centres.abs().max()

    def judge(self, points: Tensor) -> Quality:
        """How good and how varied points [N, 2] are, by the conventions of Srivastava et al. 2017 (VEEGAN).

        A sample is good if it lies within three deviations of the nearest centre. A mode is found if it has at least
        one good sample. The divergence counts all samples, good or not, each with the nearest mode (as Lin et al. 2018
        do with another divergence). A point that is not finite is bad and counts with the first mode.
        """
        distance, nearest = (points[:, None] - self.centres).norm(dim=2).nan_to_num(math.inf).min(dim=1)  # [N, modes]
        good = distance <= GOOD * self.deviation
        even = torch.arange(len(self.centres))
        coverage = mode_coverage(even, nearest, modes=len(self.centres))
        return Quality(len(nearest[good].unique()), good.double().mean().item(), coverage.divergence)


def ring() -> Mixture:
    """Eight on a circle of radius 2, deviation 0.02 (Metz et al. 2017, section 3.1)."""
    angles = torch.arange(8) * (2 * math.pi / 8)
    return Mixture(2 * torch.stack([angles.cos(), angles.sin()], 1), 0.02)


def grid() -> Mixture:
    """Five times five, 2 apart, deviation 0.05 (Srivastava et al. 2017)."""
    along = torch.arange(-4.0, 5.0, 2.0)
    return Mixture(torch.cartesian_prod(along, along), 0.05)


MIXTURES = {"ring": ring, "grid": grid}
