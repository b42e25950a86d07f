"""The rows of ``train.studies.divergences``: an objective, what its best critic measures, and how that is read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from gan_ops import objectives
from gan_ops.objectives import Objective
from train.base.specs import parse_spec
from train.gan.losses import LOSSES
from train.studies import known_values as known
from train.studies.normals import Pair
from train.studies.trained_critics import Alone, Trained, Way, paired, together, untrained

CLOSE, WITHIN_TENTH = 0.03, 0.1
ALONE = Alone()
STRETCHED = Alone(last="sinh")
# Total variation has a local minimum where a change of sign is missing: its critic begins with the sign of log(p/q).
OF_SIGNS = Alone(first=(objectives.Minimax(),))
OF_HINGES = Alone(last="tanh", first=(objectives.Minimax(),))
# A slope of 1 and a slope of −1 are both minima of WGAN-GP's penalty; this begins with the right one.
OF_SLOPES = Alone(first=(objectives.WassersteinGP(weight=0.5, target=0.0),))
GN = Alone(normalised="gradient", first=(objectives.Minimax(),))
GRAN = Alone(normalised="gradient-v2", in_pieces=True, lbfgs=0)


def value_of(trained: Trained) -> float:
    """−L_D."""
    return -trained.loss


@dataclass(frozen=True)
class Method:
    """A row.

    Attributes:
        loss: as ``--loss`` has it.
        measures: the formula of ``value``.
        value: of a pair, by quadrature: what the critic measures, or with no ``tolerance`` what it is compared with.
        way: how its critic is trained.
        read: what the critic has measured.
        tolerance: the largest relative deviation.
        d_norm: the critic's normalisation, as ``--d-norm`` has it.
        optimum: the best D as a function of log(p/q), where D itself is compared too.
        note: what the method cannot reach, and why.
    """

    loss: str
    measures: str
    value: Callable[[Pair], float]
    way: Way = ALONE
    read: Callable[[Trained], float] = value_of
    tolerance: float | None = CLOSE
    d_norm: str = ""
    optimum: Callable[[Tensor], Tensor] | None = None
    note: str = ""

    @property
    def name(self) -> str:
        return f"{self.loss} --d-norm {self.d_norm}" if self.d_norm else self.loss

    def objective(self) -> Objective:
        """A new one: some remember."""
        return parse_spec(self.loss, LOSSES, "loss")


def ratio_error(method: Method, pair: Pair, trained: Trained) -> float | None:
    """∫ w|D − ω(r)| / ∫ w|ω(r)|, of likelihood ratios alone.

    w is p + q, but for two families, where it is what L_D itself weighs D with: q for log-likelihood, so that it is
    ∫ |qD − p|, and |p − q| for the hinge, so that it is what L_D is above its minimum.
    """
    if method.optimum is None:
        return None
    x, p, q = pair.grid(len(trained.scores)), trained.p, trained.q
    best = method.optimum(pair.p.log_density(x) - pair.q.log_density(x))
    found = trained.objective.measure.output(trained.scores)
    w = {"log-likelihood": q, "hinge": (p - q).abs()}.get(trained.objective.family, p + q)
    if trained.objective.family == "hinge":
        found = found.clamp(-1, 1)  # beyond, it is as good
    return float(w @ (found - best).abs() / (w @ best.abs()))


def _squares(trained: Trained) -> float:
    """E_p[(D − c)²] + E_q[(D − c)²], twice the generator's loss with its term for real samples."""
    of_each = torch.vmap(lambda score: trained.objective.g(score[None]))(trained.scores)
    return 2 * float(of_each @ (trained.p + trained.q))


def _fisher(trained: Trained) -> float:
    """Ê/√Ω̂, which does not depend on the scale of the critic."""
    difference = float(trained.scores @ (trained.p - trained.q))
    return difference / math.sqrt(float(trained.stats["fisher_second_moment"]))


def _with_penalty(trained: Trained) -> float:
    """−L_D, where the penalty is a part of what is measured."""
    return -trained.loss - trained.penalty


def _rational_quadratic(distance: Tensor) -> Tensor:
    return sum((1 + distance.square() / (2 * a)) ** -a for a in (0.2, 0.5, 1.0, 2.0, 5.0))


_REACH = "p/q of 10¹⁰ and more for a linear last layer (off by up to 39 %): sinh follows it"
_JUMP = "the jump of D* for a linear last layer (off by up to 21 %): tanh follows it"
_HALF = "half of it from random weights, in a local minimum: D begins with `minimax`"
_SLOPES = "the right sign of D' from random weights: D begins with the penalty λE[|∇s|²]; and its jump where F_p = F_q"
_ABOVE = "W₁ itself: no finite λ forbids slopes above 1, so it is above by ∫ h²/200u. Begins as the row above"
_BATCHES = "p and q themselves: it is the transport between 256 quantiles of each"
_POINTS = "p and q themselves: 2048 quantiles of each, pairs of a point with itself left out. Nothing is trained"
_BOUNDED = "∫ |p − q|, which it cannot exceed, as |f̂| < 1: D would have to be infinitely large and steep"
_UNBOUNDED = "any bound: f̂ has slopes of at most 1 in the linear pieces of D (ReLU), but jumps between them"


def _f(divergence: str, measures: str, value: Callable[[Pair], float], way: Way = ALONE, note: str = "") -> Method:
    return Method(f"f(divergence={divergence})", measures, value, way, note=note)


def _ratio(
    family: str,
    measures: str,
    value: Callable[[Pair], float],
    optimum: Callable[[Tensor], Tensor],
    way: Way = ALONE,
    note: str = "",
) -> Method:
    return Method(f"likelihood-ratio(family={family})", measures, value, way, optimum=optimum, note=note)


def _mmd(kernel: str, measures: str, value: Callable[[Pair], float]) -> Method:
    return Method(f"mmd(kernel={kernel})", measures, value, untrained, note=_POINTS)


METHODS = (
    _f("kl", "∫ p log(p/q)", known.kl),
    _f("reverse-kl", "∫ q log(q/p)", known.reverse_kl),
    _f("pearson", "∫ (p − q)²/q", known.pearson, STRETCHED, _REACH),
    _f("neyman", "∫ (p − q)²/p", known.neyman),
    _f("hellinger", "∫ (√p − √q)²", known.hellinger),
    _f("js", "2·JS", known.twice_js),
    _f("weighted-js, weight=0.3", "JS of weights 0.3, 0.7", partial(known.weighted_js, weight=0.3)),
    _f("gan", "2·JS − log 4", partial(known.twice_js, shift=-math.log(4))),
    _f("tv", "½ ∫ |p − q|", known.tv, OF_SIGNS, _HALF),
    _f("alpha, alpha=0.5", "2 ∫ (√p − √q)²", partial(known.alpha, alpha=0.5)),
    _f("alpha, alpha=2", "½ ∫ (p − q)²/q", partial(known.alpha, alpha=2.0), STRETCHED, _REACH),
    Method("minimax", "JS", known.js, read=lambda trained: math.log(2) - trained.loss / 2),
    Method("lsgan", "∫ (p − q)²/(p + q)", known.triangular, read=lambda trained: 2 - 8 * trained.loss),
    Method("lsgan(a=-1, b=1, c=0)", "∫ (p − q)²/(p + q)", known.triangular, read=_squares),
    Method("hinge", "½ ∫ |p − q|", known.tv, OF_HINGES, lambda trained: 1 - trained.loss / 2, note=_JUMP),
    _ratio("cross-entropy", "2·JS − log 4", partial(known.twice_js, shift=-math.log(4)), torch.sigmoid),
    _ratio("exponential", "−4 ∫ √(pq)", known.of_exponential, lambda log_r: log_r),
    _ratio("mean-square", "½ ∫ p²/q", known.of_mean_square, torch.exp, STRETCHED, _REACH),
    _ratio("log-likelihood", "∫ p log(p/q) − 1", known.of_log_likelihood, torch.exp, STRETCHED, _REACH),
    _ratio("hinge", "−2 ∫ min(p, q)", known.of_ratio_hinge, torch.sign, OF_HINGES, _JUMP),
    _mmd("gaussian", "MMD², closed form", partial(known.gaussian_mmd, widths=(1.0, 2.0, 4.0, 8.0, 16.0))),
    _mmd("rational-quadratic", "MMD²", partial(known.kernel_mmd, kernel=_rational_quadratic)),
    _mmd("distance", "2 ∫ (F_p − F_q)²", known.energy_distance),
    _mmd("exponential", "MMD²", partial(known.kernel_mmd, kernel=lambda distance: (-distance).exp())),
    Method("fisher(rho=0.01)", "√∫ (p − q)²/((p + q)/2)", known.fisher, together, _fisher),
    Method("wgan-div", "⅚ ∫ h (h/12u)^⅕", partial(known.of_power_penalty, weight=2.0, power=6.0), read=_with_penalty),
    Method("wgan-gp", "∫ h (1 + h/20u)", partial(known.of_gradient_penalty, weight=10.0), OF_SLOPES, note=_SLOPES),
    Method("wgan-gp(weight=100)", "W₁ = ∫ h", known.w1, OF_SLOPES, tolerance=WITHIN_TENTH, note=_ABOVE),
    Method("c-transform", "W₁ = ∫ h", known.w1, together, tolerance=WITHIN_TENTH, note=_BATCHES),
    Method("qp", "½ sᵀb of As = b", partial(known.quadratic_potential, weight=10.0), paired),
    Method("wgan-gp(weight=0)", "∫ |p − q|", known.twice_tv, GN, tolerance=None, d_norm="gradient", note=_BOUNDED),
    Method("wgan-gp(weight=0)", "W₁ = ∫ h", known.w1, GRAN, tolerance=None, d_norm="gradient-v2", note=_UNBOUNDED),
)
BY_NAME = {method.name: method for method in METHODS}
