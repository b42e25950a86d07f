"""Integral probability metrics: the largest difference of means that a critic of some class can make.

Which class it is, a penalty or a constraint says. Those of critics with vectors are in
:mod:`gan_ops.objectives.moments` and :mod:`gan_ops.objectives.kernels`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from gan_ops.objectives.objective import (
    Objective,
    Stats,
    check_named,
    check_not_negative,
    check_positive,
    report,
)
from gan_ops.objectives.pairs import distances, pair_distances
from gan_ops.objectives.penalties import Dragan, WganDiv
from gan_ops.objectives.pointwise import NonSaturating, Wasserstein
from gan_ops.objectives.scores import Scores, samples_of, score_of, values_of

__all__ = ["CTransform", "Fisher", "NonSaturatingDragan", "WassersteinDiv"]


@dataclass(frozen=True)
class WassersteinDiv(Wasserstein):
    """:class:`Wasserstein` with weight·E[‖∇D(x̂)‖^power], which the trainer adds to the critic's loss.

    Wu et al. 2018 (arXiv 1712.01026), algorithm 1, with k = 2 and p = 6. The paper's critic is low for real samples and
    ours is high; the penalty is the same for both. No bound on the gradient is asked for: the critic maximises
    E[D(x)] − E[D(G(z))] − k·E[‖∇D‖^p], whose maximum is a divergence, not W₁.
    """

    weight: float = 2.0
    power: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        WganDiv(self.weight, self.power)  # checks them

    @property
    def penalties(self) -> tuple[WganDiv, ...]:
        """At points between real and generated samples; none of weight 0."""
        return (WganDiv(self.weight, self.power),) if self.weight else ()


@dataclass(frozen=True)
class NonSaturatingDragan(NonSaturating):
    """:class:`NonSaturating` with DRAGAN's penalty around real samples, which the trainer adds to D's loss.

    Kodali et al. 2017 (arXiv 1705.07215), algorithm 1, with λ = 10 and k = 1; for the noise see
    :class:`gan_ops.objectives.penalties.Dragan`.
    """

    weight: float = 10.0
    target: float = 1.0
    noise: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        Dragan(self.weight, self.target, self.noise)  # checks them

    @property
    def penalties(self) -> tuple[Dragan, ...]:
        """weight·E[(‖∇D(x + δ)‖ − target)²/target²]; none of weight 0."""
        return (Dragan(self.weight, self.target, self.noise),) if self.weight else ()


@dataclass(eq=False)
class Fisher(Objective, nn.Module):
    """L_D = −[Ê + Λ(1 − Ω̂) − ρ/2·(Ω̂ − 1)²], Ê = E[D(x)] − E[D(G(z))], Ω̂ = ½E[D(x)²] + ½E[D(G(z))²]; L_G = −E[D(G(z))].

    Mroueh and Sercu 2017 (arXiv 1705.09675), eq. 9 and algorithm 1: an augmented Lagrangian for the critic of second
    moment Ω = 1. After each step Λ ← Λ − ρ(1 − Ω̂) with the Ω̂ of the critic's last move (algorithm 1 as in the authors'
    code: Λ grows while Ω̂ is above 1, and presses it down). If D moves several times a step, theirs follows each
    move, ours the last. At the saddle point Λ is half of Ê, and Ê is the Fisher distance √∫(p − q)²/((p + q)/2). With
    several microbatches or processes, each squares its own (Ω̂ − 1).

    It reports ``fisher_multiplier``, Λ, and ``fisher_second_moment``, Ω̂.
    """

    rho: float = 1e-6

    def __post_init__(self) -> None:
        check_positive(self, "rho")
        super().__init__()
        # float32 has 6e-8 between 0.5 and 1: with the default ρ it would stand still once Ω̂ is near 1.
        self.register_buffer("multiplier", torch.zeros((), dtype=torch.float64))

    def d(self, real: Scores | Tensor, fake: Scores | Tensor, stats: Stats | None = None) -> Tensor:
        real, fake = score_of(real), score_of(fake)
        difference = real.mean() - fake.mean()
        second_moment = 0.5 * (real.square().mean() + fake.square().mean())
        multiplier = self.multiplier.to(difference.dtype)
        report(stats, fisher_multiplier=multiplier, fisher_second_moment=second_moment)
        constraint = 1 - second_moment
        return -(difference + multiplier * constraint - self.rho / 2 * constraint.square())

    def g(self, fake: Scores | Tensor, real: Scores | Tensor | None = None, stats: Stats | None = None) -> Tensor:
        return -score_of(fake).mean()

    def after(self, stats: Stats) -> None:
        self.multiplier.sub_(self.rho * (1 - stats["fisher_second_moment"]))


@dataclass(frozen=True)
class CTransform(Objective):
    """L_D = −(E[s(x)] + E[s^c(G(z))]), L_G = E[s^c(G(z))], with s^c(y) = min over real x of d(x, y)^power − s(x).

    The (q, p)-Wasserstein GAN: Mallasto et al. 2019, arXiv 1902.03642 and 1910.03875, with q = 1 or 2 as ``metric`` of
    the samples and p as ``power``. E[s(x)] + E[s^c(y)] is Kantorovich's dual: W_p^p where s is best. No Lipschitz bound
    is needed. The minimum is taken over the batch of reals, so that the transport between the two batches is measured:
    in the mean it is above that between the distributions. G minimises the dual value too, which depends on it through
    the cost alone: each fake is pulled towards the real sample that attains its minimum, and D's scores of fakes do not
    count.

    Within the batch a real x and a fake y obey s(x) + s^c(y) ≤ d(x, y)^p by construction. ``admissibility`` asks it of
    generated x too, which D never sees otherwise: that weight times E[max(0, s(y') + s^c(y) − d(y', y)^p)²] over pairs
    of fakes joins L_D. Other implementations have further terms, for pairs across batches and for equality at the
    minimum; they are left out. It reports ``transport_cost``, the dual value.
    """

    metric: Literal["l1", "l2"] = "l2"
    power: float = 1.0
    admissibility: float = 0.0
    compares = shown = True

    def __post_init__(self) -> None:
        check_named(self, "metric", ("l1", "l2"))
        check_not_negative(self, "admissibility")
        if not 1 <= self.power < math.inf:
            raise ValueError(f"power={self.power} is not a finite number of at least 1")

    def d(self, real: Scores, fake: Scores, stats: Stats | None = None) -> Tensor:
        transform = self._transform(real, samples_of(fake).detach())
        value = score_of(real).mean() + transform.mean()
        report(stats, transport_cost=value)
        if not self.admissibility:
            return -value
        excess = score_of(fake)[:, None] + transform - self._costs(fake, fake.x)  # [M, M]
        return self.admissibility * excess.relu().square().mean() - value

    def g(self, fake: Scores, real: Scores | None = None, stats: Stats | None = None) -> Tensor:
        return self._transform(real, samples_of(fake)).mean()

    def _transform(self, real: Scores, y: Tensor) -> Tensor:
        """s^c(y) [M] of samples y [M, *], with a gradient through the pairs that attain the minimum alone."""
        score = score_of(real)
        nearest = (self._costs(real, y) - score.detach()[:, None]).argmin(0)  # [N, M] → [M]
        cost = distances(values_of(real)[nearest], y.flatten(1), self.metric) ** self.power
        return cost - score[nearest]

    def _costs(self, scores: Scores, y: Tensor) -> Tensor:
        """d(x_i, y_j)^power [N, M] of the samples x that have these scores; constants."""
        return pair_distances(values_of(scores), y.detach().flatten(1), self.metric) ** self.power
