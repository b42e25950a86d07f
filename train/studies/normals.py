"""Mixtures of normals on a line, pairs of them, and what lies between two: densities that are known exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

PANELS = 48  # of the quadrature over t of what lies between; it is exact to nine digits for the pairs here
BISECTIONS = 60


@dataclass(frozen=True)
class Normals:
    """Σ_k weights_k·N(means_k, deviations_k²)."""

    means: tuple[float, ...]
    deviations: tuple[float, ...]
    weights: tuple[float, ...] = (1.0,)

    def log_density(self, x: Tensor) -> Tensor:
        """[N] → [N]; finite where the density itself underflows."""
        means, deviations, weights = self._parts()
        z = (x[:, None] - means) / deviations  # [N, K]
        each = weights.log() - deviations.log() - 0.5 * math.log(2 * math.pi) - z.square() / 2
        return each.logsumexp(1)  # over the parts

    def density(self, x: Tensor) -> Tensor:
        return self.log_density(x).exp()

    def cdf(self, x: Tensor) -> Tensor:
        """P(X ≤ x): [N] → [N]."""
        means, deviations, weights = self._parts()
        return torch.special.ndtr((x[:, None] - means) / deviations) @ weights

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        means, deviations, weights = (torch.tensor(v).double() for v in (self.means, self.deviations, self.weights))
        return means, deviations, weights


@dataclass(frozen=True)
class Between:
    """x̂ = x + t·(y − x) for independent x ~ p, y ~ q and t ~ U[0, 1]: where WGAN-GP takes its gradients."""

    p: Normals
    q: Normals

    def density(self, x: Tensor) -> Tensor:
        """[N] → [N]: a mean over t of mixtures of normals, by Gauss–Legendre quadrature."""
        return self._mean_over_t(lambda part: part.density(x))

    def cdf(self, x: Tensor) -> Tensor:
        return self._mean_over_t(lambda part: part.cdf(x))

    def _mean_over_t(self, of: Callable[[Normals], Tensor]) -> Tensor:
        nodes, weights = np.polynomial.legendre.leggauss(PANELS)
        return sum(float(w) / 2 * of(self._at((float(t) + 1) / 2)) for t, w in zip(nodes, weights, strict=True))

    def _at(self, t: float) -> Normals:
        """The distribution of x̂ where t is given."""
        pairs = [
            ((1 - t) * m + t * n, math.hypot((1 - t) * s, t * r), v * w)
            for m, s, v in zip(self.p.means, self.p.deviations, self.p.weights, strict=True)
            for n, r, w in zip(self.q.means, self.q.deviations, self.q.weights, strict=True)
        ]
        return Normals(*zip(*pairs, strict=True))


@dataclass(frozen=True)
class Pair:
    """A distribution p of the data and a distribution q of a generator.

    Attributes:
        low, high: where integrals begin and end. They are so far out that the integrands of all divergences vanish
            there; that of Pearson's p²/q, for one, is largest far from both means.
    """

    name: str
    p: Normals
    q: Normals
    low: float
    high: float

    def grid(self, points: int) -> Tensor:
        """[points], evenly spaced: the trapezoidal rule is very accurate for such smooth integrands."""
        return torch.linspace(self.low, self.high, points, dtype=torch.float64)

    def weights(self, points: int) -> tuple[Tensor, Tensor]:
        """Probabilities [points] of the grid's points under p and under q; both sum to 1."""
        x = self.grid(points)
        p, q = self.p.density(x), self.q.density(x)
        return p / p.sum(), q / q.sum()

    @cached_property
    def between(self) -> Between:
        return Between(self.p, self.q)

    def quantiles(self, of: Normals | Between, points: int) -> Tensor:
        """[points] of equal weight, ascending: those with (i + ½)/points of the probability below them."""
        goal = (torch.arange(points, dtype=torch.float64) + 0.5) / points
        low, high = (torch.full_like(goal, end) for end in (self.low, self.high))
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            below = of.cdf(middle) < goal
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2


STANDARD = Normals((0.0,), (1.0,))
PAIRS = {
    pair.name: pair
    for pair in (
        Pair("two normals", STANDARD, Normals((1.0,), (1.2,)), -12.0, 14.0),
        Pair("normal and mixture", STANDARD, Normals((-1.5, 1.5), (0.8, 0.8), (0.5, 0.5)), -12.0, 12.0),
        Pair("hardly overlapping", STANDARD, Normals((5.0,), (1.1,)), -12.0, 18.0),
    )
}
SHIFTS = (1.0, 2.0, 4.0, 6.0, 8.0)


def shifted(by: float) -> Pair:
    """N(0, 1) and N(by, 1)."""
    return Pair(f"N(0, 1) and N({by:g}, 1)", STANDARD, Normals((by,), (1.0,)), -by - 7.0, 2 * by + 7.0)
