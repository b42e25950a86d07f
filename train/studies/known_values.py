"""What objectives measure of two known distributions, by quadrature: formulas of densities p, q and of F_p, F_q.

They are written from the definitions of the divergences and distances, not from the objectives' code. Integrals are
sums over an even grid (trapezoidal rule), far finer than the one that critics are trained on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from train.studies.normals import Normals, Pair

POINTS = 4001
GRID_OF_PAIRS = 601
"""Points of each axis of double integrals."""


class Densities(NamedTuple):
    """Of a pair on a grid of N points, dx apart."""

    x: Tensor  # [N]
    log_p: Tensor
    log_q: Tensor
    h: Tensor  # |F_p − F_q|
    dx: float

    def integral(self, values: Tensor) -> float:
        return float(values.sum() * self.dx)  # [N] → ()

    @property
    def p(self) -> Tensor:
        return self.log_p.exp()

    @property
    def q(self) -> Tensor:
        return self.log_q.exp()


def densities(pair: Pair, points: int = POINTS) -> Densities:
    x = pair.grid(points)
    h = (pair.p.cdf(x) - pair.q.cdf(x)).abs()
    return Densities(x, pair.p.log_density(x), pair.q.log_density(x), h, float(x[1] - x[0]))


# ---- f-divergences, in the scale of Nowozin et al. 2016


def kl(pair: Pair) -> float:
    """∫ p log(p/q)"""
    d = densities(pair)
    return d.integral(d.p * (d.log_p - d.log_q))


def reverse_kl(pair: Pair) -> float:
    """∫ q log(q/p)"""
    d = densities(pair)
    return d.integral(d.q * (d.log_q - d.log_p))


def pearson(pair: Pair) -> float:
    """∫ (p − q)²/q"""
    d = densities(pair)
    return d.integral((2 * d.log_p - d.log_q).exp()) - 1


def neyman(pair: Pair) -> float:
    """∫ (p − q)²/p"""
    d = densities(pair)
    return d.integral((2 * d.log_q - d.log_p).exp()) - 1


def hellinger(pair: Pair) -> float:
    """∫ (√p − √q)²"""
    d = densities(pair)
    return d.integral((d.p.sqrt() - d.q.sqrt()).square())


def weighted_js(pair: Pair, weight: float) -> float:
    """π KL(p‖m) + (1 − π) KL(q‖m) with m = π p + (1 − π) q"""
    d = densities(pair)
    log_m = torch.logaddexp(d.log_p + math.log(weight), d.log_q + math.log(1 - weight))
    return d.integral(weight * d.p * (d.log_p - log_m) + (1 - weight) * d.q * (d.log_q - log_m))


def js(pair: Pair) -> float:
    """½ KL(p‖m) + ½ KL(q‖m) with m = (p + q)/2: at most log 2"""
    return weighted_js(pair, 0.5)


def twice_js(pair: Pair, shift: float = 0.0) -> float:
    return 2 * js(pair) + shift


def tv(pair: Pair) -> float:
    """½ ∫ |p − q|: at most 1"""
    d = densities(pair)
    return d.integral((d.p - d.q).abs()) / 2


def twice_tv(pair: Pair) -> float:
    """∫ |p − q|"""
    return 2 * tv(pair)


def alpha(pair: Pair, alpha: float) -> float:
    """(∫ p^α q^(1−α) − 1)/(α(α − 1))"""
    d = densities(pair)
    return (d.integral((alpha * d.log_p + (1 - alpha) * d.log_q).exp()) - 1) / (alpha * (alpha - 1))


def triangular(pair: Pair) -> float:
    """∫ (p − q)²/(p + q): at most 2"""
    d = densities(pair)
    return d.integral((d.p - d.q).square() / (d.p + d.q))


# ---- what likelihood ratios have for −L_D


def of_exponential(pair: Pair) -> float:
    """−4 ∫ √(pq)"""
    return 2 * hellinger(pair) - 4


def of_mean_square(pair: Pair) -> float:
    """½ ∫ p²/q"""
    return (pearson(pair) + 1) / 2


def of_log_likelihood(pair: Pair) -> float:
    """∫ p log(p/q) − 1"""
    return kl(pair) - 1


def of_ratio_hinge(pair: Pair) -> float:
    """−2 ∫ min(p, q)"""
    return 2 * tv(pair) - 2


# ---- integral probability metrics


def w1(pair: Pair) -> float:
    """W₁ = ∫ |F_p − F_q|"""
    d = densities(pair)
    return d.integral(d.h)


def of_gradient_penalty(pair: Pair, weight: float) -> float:
    """∫ h(1 + h/(2λu)) with h = |F_p − F_q| and u the density of x̂: E[D(x)] − E[D(G(z))] of the best critic.

    It has |D'| = 1 + h/(2λu), the maximum of h|D'| − λu(|D'| − 1)² at each point.
    """
    d = densities(pair)
    u = pair.between.density(d.x)
    return d.integral(_where_positive(d.h, u, lambda h, u: h * (1 + h / (2 * weight * u))))


def of_power_penalty(pair: Pair, weight: float, power: float) -> float:
    """(1 − 1/p) ∫ h(h/(kpu))^(1/(p−1)): max of h|D'| − ku|D'|^p at each point."""
    d = densities(pair)
    u = pair.between.density(d.x)
    values = _where_positive(d.h, u, lambda h, u: h * (h / (weight * power * u)) ** (1 / (power - 1)))
    return (1 - 1 / power) * d.integral(values)


def fisher(pair: Pair) -> float:
    """√∫ (p − q)²/((p + q)/2): at most 2"""
    return math.sqrt(2 * triangular(pair))


def energy_distance(pair: Pair) -> float:
    """2 ∫ (F_p − F_q)² = 2E|X − Y| − E|X − X'| − E|Y − Y'|"""
    d = densities(pair)
    return 2 * d.integral(d.h.square())


def gaussian_mmd(pair: Pair, widths: tuple[float, ...]) -> float:
    """Squared MMD of Σ_σ exp(−(x − y)²/2σ²) in closed form: E k(X, Y) = Σ σ/√(σ² + s² + r²)·exp(−(m − n)²/2(…))."""

    def mean(one: Normals, other: Normals, width: float) -> float:
        total = 0.0
        for m, s, v in zip(one.means, one.deviations, one.weights, strict=True):
            for n, r, w in zip(other.means, other.deviations, other.weights, strict=True):
                variance = width**2 + s**2 + r**2
                total += v * w * width / math.sqrt(variance) * math.exp(-((m - n) ** 2) / (2 * variance))
        return total

    p, q = pair.p, pair.q
    return sum(mean(p, p, width) + mean(q, q, width) - 2 * mean(p, q, width) for width in widths)


def kernel_mmd(pair: Pair, kernel: Callable[[Tensor], Tensor]) -> float:
    """Squared MMD, ∬ (p − q)(x) k(|x − y|) (p − q)(y), of a kernel of the distance."""
    x = pair.grid(POINTS // 2)
    p, q = pair.weights(POINTS // 2)
    return float((p - q) @ kernel((x[:, None] - x).abs()) @ (p - q))


def quadratic_potential(pair: Pair, weight: float) -> float:
    """max over D of E[δ − δ²/(2λ|x − y|)], δ = D(x) − D(y), for independent x ~ p, y ~ q.

    On a grid it is bᵀs − ½ sᵀAs with b = p − q and the Laplacian A of the weights (p_i q_j + p_j q_i)/(λ|x_i − x_j|):
    ½ bᵀs where As = b.
    """
    x = pair.grid(GRID_OF_PAIRS)
    p, q = pair.weights(GRID_OF_PAIRS)
    distance = (x[:, None] - x).abs()
    distance.fill_diagonal_(math.inf)  # a point with itself: δ = 0
    pairs = (p[:, None] * q + q[:, None] * p) / (weight * distance)
    laplacian = pairs.sum(1).diag() - pairs
    support = (p + q) > 1e-12  # elsewhere the equations are 0 = 0
    a, b = laplacian[support][:, support], (p - q)[support]
    s = torch.linalg.lstsq(a, b[:, None], driver="gelsd").solution[:, 0]  # D is only determined up to a constant
    return float(b @ s) / 2


def _where_positive(h: Tensor, u: Tensor, of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """0 where h or u has underflowed."""
    there = (h > 1e-14) & (u > 1e-300)
    return torch.where(there, of(h.clamp(min=1e-300), u.clamp(min=1e-300)), 0.0)
