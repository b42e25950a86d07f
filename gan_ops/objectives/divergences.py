"""Objectives whose critic estimates a divergence between densities p of the data and q of the generator.

They all have one form, for two increasing functions a and b of the score:

    L_D = −E_p[a(s)] + E_q[b(s)],    L_G = −E_q[b(s)].

The best critic's −L_D is E_q[f(p/q)] for a convex f, which :data:`DIVERGENCES` and :data:`FAMILIES` give too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_ops.objectives.objective import Objective, Stats, check_named, check_positive
from gan_ops.objectives.pointwise import Minimax
from gan_ops.objectives.scores import Scores, score_of

__all__ = [
    "DIVERGENCES",
    "FAMILIES",
    "BoundarySeeking",
    "Divergence",
    "FGan",
    "LikelihoodRatio",
    "RatioFamily",
]

Function = Callable[[Tensor], Tensor]


class _TwoFunctions(Objective):
    """L_D = −E_p[a(s)] + E_q[b(s)], L_G = −E_q[b(s)] for the pair (a, b) of increasing :attr:`functions`."""

    @property
    def functions(self) -> tuple[Function, Function]:
        raise NotImplementedError

    def d(self, real: Scores | Tensor, fake: Scores | Tensor, stats: Stats | None = None) -> Tensor:
        a, b = self.functions
        return b(score_of(fake)).mean() - a(score_of(real)).mean()

    def g(self, fake: Scores | Tensor, real: Scores | Tensor | None = None, stats: Stats | None = None) -> Tensor:
        _, b = self.functions
        return -b(score_of(fake)).mean()


def _exp(x: Tensor) -> Tensor:
    """exp x, continued by its tangent where it would soon overflow: above 80, of float64 above 700."""
    kept = x.clamp(max=700.0 if x.dtype == torch.float64 else 80.0)
    return kept.exp() * (1 + (x - kept))


def _log_softplus(x: Tensor) -> Tensor:
    """log log(1 + e^x), which is x itself far below 0, where softplus would underflow."""
    far = x < -40
    return torch.where(far, x, F.softplus(x.clamp(min=-41)).log())


class Divergence(NamedTuple):
    """D_f(p‖q) = E_q[f(p/q)] as its dual sup_T E_p[T] − E_q[f*(T)], with T = g(s) for a score s of any size.

    Functions of tensors of any shape.
    """

    f: Function  # of u = p/q ≥ 0: convex; D_f is 0 at p = q but for "gan", where it is −log 4
    g: Function  # of s: increasing, onto the domain of f*
    conjugate: Function  # of s: f*(g(s)), written so that it does not overflow
    optimum: Function  # of log(p/q): T* = f'(p/q), the best g(s)


def _weighted_js(weight: float) -> Divergence:
    """π·KL(p‖m) + (1 − π)·KL(q‖m) with m = πp + (1 − π)q, for π = ``weight`` in (0, 1); at ½ the usual JS."""
    pi = weight

    def conjugate(v: Tensor) -> Tensor:
        # f*(t) = (1 − π)·log((1 − π)/(1 − π·exp(t/π))), where π·exp(t/π) = σ(v)^(1/π)
        low = -torch.log1p(-(-F.softplus(-v.clamp(max=1)) / pi).exp())
        # for v > 0 as 1 − σ(v)^(1/π) = σ(−v)·ratio with a ratio between 1 and 1/π
        b = F.softplus(-v.clamp(min=-1)).clamp(min=1e-30)  # −log σ(v)
        high = F.softplus(v.clamp(min=-1)) - (torch.expm1(-b / pi) / torch.expm1(-b)).log()
        return (1 - pi) * (math.log(1 - pi) + torch.where(v < 0, low, high))

    return Divergence(
        f=lambda u: pi * torch.xlogy(u, u) - torch.xlogy(1 - pi + pi * u, 1 - pi + pi * u),
        g=lambda v: -pi * math.log(pi) - F.softplus(-v),
        conjugate=conjugate,
        optimum=lambda log_r: -pi * F.softplus(math.log(1 - pi) - math.log(pi) - log_r) - pi * math.log(pi),
    )


def _alpha(alpha: float) -> Divergence:
    """f(u) = (u^α − 1 − α(u − 1))/(α(α − 1)), α neither 0 nor 1: ½ is 2·hellinger, 2 is pearson/2.

    f*(t) = (((α − 1)t + 1)^(α/(α − 1)) − 1)/α. Of α > 1, f* is −1/α, flat, where the base would be negative. Of α < 1
    the base is (1 − α)·softplus(−s).
    """

    def conjugate(v: Tensor) -> Tensor:
        if alpha > 1:
            log_base = ((alpha - 1) * v + 1).clamp(min=1e-30).log()
        else:
            log_base = math.log(1 - alpha) + _log_softplus(-v)
        return (_exp(alpha / (alpha - 1) * log_base) - 1) / alpha

    return Divergence(
        f=lambda u: (u**alpha - 1 - alpha * (u - 1)) / (alpha * (alpha - 1)),
        g=(lambda v: v) if alpha > 1 else (lambda v: 1 / (1 - alpha) - F.softplus(-v)),
        conjugate=conjugate,
        optimum=lambda log_r: (_exp((alpha - 1) * log_r) - 1) / (alpha - 1),
    )


DIVERGENCES: dict[str, Callable[[float, float], Divergence]] = {
    "kl": lambda alpha, weight: Divergence(
        f=lambda u: torch.xlogy(u, u),
        g=lambda v: v,
        conjugate=lambda v: _exp(v - 1),  # f*(t) = exp(t − 1)
        optimum=lambda log_r: 1 + log_r,
    ),
    "reverse-kl": lambda alpha, weight: Divergence(
        f=lambda u: -u.log(),
        g=lambda v: -_exp(-v),
        conjugate=lambda v: v - 1,  # f*(t) = −1 − log(−t)
        optimum=lambda log_r: -_exp(-log_r),
    ),
    "pearson": lambda alpha, weight: Divergence(
        f=lambda u: (u - 1).square(),
        g=lambda v: v,
        conjugate=lambda v: v.square() / 4 + v,  # f*(t) = t²/4 + t
        optimum=lambda log_r: 2 * (_exp(log_r) - 1),
    ),
    "neyman": lambda alpha, weight: Divergence(
        f=lambda u: (1 - u).square() / u,
        g=lambda v: 1 - _exp(-v),
        conjugate=lambda v: 2 - 2 * _exp(-v / 2),  # f*(t) = 2 − 2√(1 − t)
        optimum=lambda log_r: 1 - _exp(-2 * log_r),
    ),
    "hellinger": lambda alpha, weight: Divergence(  # squared, without ½: ∫(√p − √q)²
        f=lambda u: (u.sqrt() - 1).square(),
        g=lambda v: 1 - _exp(-v),
        conjugate=lambda v: _exp(v) - 1,  # f*(t) = t/(1 − t)
        optimum=lambda log_r: 1 - _exp(-log_r / 2),
    ),
    "js": lambda alpha, weight: Divergence(  # twice the usual one: KL(p‖m) + KL(q‖m), m = (p + q)/2
        f=lambda u: torch.xlogy(u, u) - torch.xlogy(u + 1, (u + 1) / 2),
        g=lambda v: math.log(2) - F.softplus(-v),
        conjugate=lambda v: F.softplus(v) - math.log(2),  # f*(t) = −log(2 − exp t)
        optimum=lambda log_r: math.log(2) - F.softplus(-log_r),
    ),
    "weighted-js": lambda alpha, weight: _weighted_js(weight),
    "gan": lambda alpha, weight: Divergence(  # "js" − log 4
        f=lambda u: torch.xlogy(u, u) - torch.xlogy(u + 1, u + 1),
        g=lambda v: -F.softplus(-v),
        conjugate=F.softplus,  # f*(t) = −log(1 − exp t)
        optimum=lambda log_r: -F.softplus(-log_r),
    ),
    "tv": lambda alpha, weight: Divergence(  # ½∫|p − q|
        f=lambda u: (u - 1).abs() / 2,
        g=lambda v: v.tanh() / 2,
        conjugate=lambda v: v.tanh() / 2,  # f*(t) = t on [−½, ½]
        optimum=lambda log_r: log_r.sign() / 2,
    ),
    "alpha": lambda alpha, weight: _alpha(alpha),
}
"""By name, of (α, π): ``DIVERGENCES["kl"](0.5, 0.5)``. All but "alpha" leave α unused, all but "weighted-js" π."""


@dataclass(frozen=True)
class FGan(_TwoFunctions):
    """L_D = −E_p[g(s)] + E_q[f*(g(s))], L_G = −E_q[f*(g(s))], or with ``trick`` −E_q[g(s)].

    Nowozin et al. 2016, eq. 4 to 8, tables 1, 2 and 6 with g increasing in all rows (one prints exp(v) for reverse KL,
    where exp(−v) is meant), and §3.2 for the trick, which has the same fixed point and larger gradients where the
    critic is sure. The best critic's −L_D is D_f(p‖q) in that paper's scale, in nats: "js" is twice the usual one,
    "gan" that minus log 4, "hellinger" has no ½.

    Exponentials go on by their tangents above e^80 (float64: e^700), so that losses of any scores stay finite. Where f*
    itself is flat, the generator learns nothing from it without the trick: "alpha" above 1 at s < −1/(α − 1), "tv" far
    from 0 (with the trick too). f* of "pearson" falls below s = −2, which a good critic avoids: there L_G leads away.

    Attributes:
        divergence: its name in :data:`DIVERGENCES`.
        trick: the generator's loss of §3.2.
        alpha: α of "alpha" alone; not 0 and not 1, which are reverse KL and KL.
        weight: π in (0, 1), of the data, of "weighted-js" alone.
    """

    divergence: Literal[
        "kl", "reverse-kl", "pearson", "neyman", "hellinger", "js", "weighted-js", "gan", "tv", "alpha"
    ] = "gan"
    trick: bool = False
    alpha: float = 0.5
    weight: float = 0.5

    def __post_init__(self) -> None:
        check_named(self, "divergence", DIVERGENCES)
        if not math.isfinite(self.alpha) or self.alpha in (0, 1):
            raise ValueError(f"alpha={self.alpha} must be a finite number but 0 and 1, which are reverse-kl and kl")
        if not 0 < self.weight < 1:
            raise ValueError(f"weight={self.weight} is not between 0 and 1")

    @property
    def measure(self) -> Divergence:
        """The formulas."""
        return DIVERGENCES[self.divergence](self.alpha, self.weight)

    @property
    def functions(self) -> tuple[Function, Function]:
        return self.measure.g, self.measure.conjugate

    def g(self, fake: Scores | Tensor, real: Scores | Tensor | None = None, stats: Stats | None = None) -> Tensor:
        return -self.measure.g(score_of(fake)).mean() if self.trick else super().g(fake)


class RatioFamily(NamedTuple):
    """(ω, ρ), of which φ' = ρ and ψ' = −ω⁻¹·ρ make losses whose best critic is D* = ω(r), r = p/q.

    Functions of tensors of any shape. The critic gives scores s; D(s) brings them into the range of ω.
    """

    omega: Function  # of r > 0: increasing
    inverse: Function  # of D: ω⁻¹
    rho: Function  # of D: above 0
    output: Function  # of s: D
    phi: Function  # of s: φ(D(s))
    psi: Function  # of s: ψ(D(s))
    f: Function  # of u = p/q: u·φ(ω(u)) + ψ(ω(u)), so that the best critic's −L_D is E_q[f(p/q)]


def _softplus_power(exponent: float) -> Function:
    """softplus(s)^exponent."""
    return lambda s: _exp(exponent * _log_softplus(s))


FAMILIES: dict[str, Callable[[float], RatioFamily]] = {
    "cross-entropy": lambda alpha: RatioFamily(
        omega=lambda r: r / (1 + r),
        inverse=lambda d: d / (1 - d),
        rho=lambda d: 1 / d,
        output=torch.sigmoid,
        phi=lambda s: -F.softplus(-s),  # log D
        psi=lambda s: -F.softplus(s),  # log(1 − D)
        f=lambda u: torch.xlogy(u, u) - torch.xlogy(1 + u, 1 + u),
    ),
    "exponential": lambda alpha: RatioFamily(
        omega=lambda r: alpha * r.log(),
        inverse=lambda d: _exp(d / alpha),
        rho=lambda d: _exp(-d / (2 * alpha)),
        output=lambda s: s,
        phi=lambda s: -2 * alpha * _exp(-s / (2 * alpha)),
        psi=lambda s: -2 * alpha * _exp(s / (2 * alpha)),
        f=lambda u: -4 * alpha * u.sqrt(),
    ),
    "mean-square": lambda alpha: RatioFamily(
        omega=lambda r: r**alpha,
        inverse=lambda d: d ** (1 / alpha),
        rho=torch.ones_like,
        output=F.softplus,
        phi=F.softplus,  # D
        psi=lambda s: -alpha / (1 + alpha) * _softplus_power(1 + 1 / alpha)(s),  # −D^(1 + 1/α)/(1 + 1/α)
        f=lambda u: u ** (1 + alpha) / (1 + alpha),
    ),
    "log-likelihood": lambda alpha: RatioFamily(
        omega=lambda r: r**alpha,
        inverse=lambda d: d ** (1 / alpha),
        rho=lambda d: 1 / d,
        output=F.softplus,
        phi=_log_softplus,  # log D
        psi=lambda s: -alpha * _softplus_power(1 / alpha)(s),  # −α·D^(1/α)
        f=lambda u: alpha * (torch.xlogy(u, u) - u),
    ),
    "hinge": lambda alpha: RatioFamily(
        omega=lambda r: r.log().sign(),
        inverse=torch.ones_like,  # between −1 and 1, where ω jumps
        rho=lambda d: (d.abs() < 1).to(d.dtype),
        output=lambda s: s,
        phi=lambda s: -F.relu(1 - s),
        psi=lambda s: -F.relu(1 + s),
        f=lambda u: -2 * u.clamp(max=1),
    ),
}
"""By name, of α > 0: ``FAMILIES["exponential"](1.0)``. "cross-entropy" and "hinge" leave it unused."""


@dataclass(frozen=True)
class LikelihoodRatio(_TwoFunctions):
    """L_D = −E_p[φ(D)] − E_q[ψ(D)], L_G = E_q[ψ(D)], whose best critic is D* = ω(r), r = p/q, by choice of ω.

    Basioti and Moustakides 2020 (arXiv 2002.00865): for any increasing ω and ρ > 0, φ' = ρ and ψ' = −ω⁻¹·ρ make such a
    pair, and G's minimum is q = p. The families, after their examples, with D of the score s:

    ============== ================ ============== ========= ===================
    family         ω(r)             ρ(D)           D         −L_D of the best, E_q of
    ============== ================ ============== ========= ===================
    cross-entropy  r/(1 + r)        1/D            σ(s)      r·log r − (1 + r)·log(1 + r)
    exponential    α·log r          exp(−D/(2α))   s         −4α·√r
    mean-square    r^α              1              softplus  r^(1 + α)/(1 + α)
    log-likelihood r^α              1/D            softplus  α·(r·log r − r)
    hinge          sign(log r)      1 in (−1, 1)   s         −2·min(r, 1)
    ============== ================ ============== ========= ===================

    The hinge's is the limit of smooth ω; there G learns nothing where D < −1, unlike that of
    :class:`~gan_ops.objectives.Hinge`. Exponentials are kept finite as in :class:`FGan`.
    """

    family: Literal["cross-entropy", "exponential", "mean-square", "log-likelihood", "hinge"] = "cross-entropy"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_named(self, "family", FAMILIES)
        check_positive(self, "alpha")

    @property
    def measure(self) -> RatioFamily:
        """The formulas."""
        return FAMILIES[self.family](self.alpha)

    @property
    def functions(self) -> tuple[Function, Function]:
        family = self.measure
        return family.phi, lambda s: -family.psi(s)


@dataclass(frozen=True)
class BoundarySeeking(Minimax):
    """The discriminator's loss of :class:`Minimax`; L_G = ½E[s²] = ½E[(log D(G(z)) − log(1 − D(G(z))))²].

    Hjelm et al. 2018, boundary-seeking GAN for continuous data: samples are led to where D is undecided, from both
    sides.
    """

    def g(self, fake: Scores | Tensor, real: Scores | Tensor | None = None, stats: Stats | None = None) -> Tensor:
        return score_of(fake).square().mean() / 2
