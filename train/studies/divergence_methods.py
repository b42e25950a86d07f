"""The rows of ``train.studies.divergences``: an objective, what its best critic measures, and how that is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gan_ops import objectives
from gan_ops.objectives import Objective
from train.base.specs import parse_spec
from train.studies import known_values as known
from train.studies.normals import Pair
from train.studies.trained_critics import Alone, Trained, Way, paired, together, untrained

KINDS: Mapping[str, Objective] = {
    "f": objectives.FGan(),
    "minimax": objectives.Minimax(),
    "lsgan": objectives.LeastSquares(),
    "hinge": objectives.Hinge(),
    "likelihood-ratio": objectives.LikelihoodRatio(),
    "mmd": objectives.Mmd(outputs=1, weight=0.0),
    "fisher": objectives.Fisher(),
    "wgan": objectives.Wasserstein(),
    "wgan-div": objectives.WassersteinDiv(),
    "wgan-gp": objectives.WassersteinGP(),
    "qp": objectives.QuadraticPotential(),
    "c-transform": objectives.CTransform(),
}
CONVEX = objectives.WassersteinGP(weight=0.5, target=0.0)  # a slope of 1 and one of −1 are both minima of WGAN-GP's
MMD_WIDTHS = (1.0, 2.0, 4.0, 8.0, 16.0)
MMD_EXPONENTS = (0.2, 0.5, 1.0, 2.0, 5.0)


def value_of(trained: Trained) -> float:
    """−L_D."""
    return -trained.loss


@dataclass(frozen=True)
class Method:
    """A row.

    Attributes:
        loss: as ``--loss`` has it.
        measures: the formula of ``value``.
        value: of a pair, by quadrature.
        way: how its critic is trained.
        read: what the critic has measured.
        tolerance: the largest relative deviation; None for a bound that the critic does not attain.
        bound: the formula of ``limit``.
        limit: what the method cannot exceed.
        norm: as ``--d-norm`` has it.
        optimum: the best D as a function of log(p/q), for those that a row asks it of, and the D of scores.
        note: what the method cannot reach, and why.
    """

    loss: str
    measures: str
    value: Callable[[Pair], float]
    way: Way = Alone()
    read: Callable[[Trained], float] = value_of
    tolerance: float | None = 0.03
    norm: str = ""
    optimum: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]] | None = None
    note: str = ""
    picture: str = field(default="", kw_only=True)

    @property
    def name(self) -> str:
        return f"{self.loss} --d-norm {self.norm}" if self.norm else self.loss

    def objective(self) -> Objective:
        """A new one: some remember."""
        return parse_spec(self.loss, KINDS, "loss")


def _squares(trained: Trained) -> float:
    """E_p[(D − c)²] + E_q[(D − c)²], twice the generator's loss with its term for real samples."""
    of_each = torch.vmap(lambda score: trained.objective.g(score[None]))(trained.scores)
    return 2 * float(of_each @ (trained.p + trained.q))


def _fisher(trained: Trained) -> float:
    """Ê/√Ω̂, which does not depend on the scale of the critic."""
    difference = float(trained.scores @ (trained.p - trained.q))
    return difference / math.sqrt(float(trained.stats["fisher_second_moment"]))


def _with_penalty(trained: Trained) -> float:
    return -trained.loss - trained.penalty


METHODS = tuple(
    [
        Method("f(divergence=kl)", "∫ p log(p/q)", known.kl),
        Method("f(divergence=reverse-kl)", "∫ q log(q/p)", known.reverse_kl),
        Method("f(divergence=pearson)", "∫ (p − q)²/q", known.pearson, Alone(stretched=True)),
        Method("f(divergence=neyman)", "∫ (p − q)²/p", known.neyman),
        Method("f(divergence=hellinger)", "∫ (√p − √q)²", known.hellinger),
        Method("f(divergence=js)", "2 JS", lambda pair: 2 * known.js(pair)),
        Method("f(divergence=weighted-js, weight=0.3)", "JS weighted", lambda pair: known.weighted_js(pair, 0.3)),
        Method("f(divergence=gan)", "2 JS − log 4", lambda pair: 2 * known.js(pair) - math.log(4)),
        Method("f(divergence=tv)", "½ ∫ |p − q|", known.tv, Alone(starts=2)),
        Method("f(divergence=alpha)", "4 (1 − ∫ √(pq))", lambda pair: known.alpha(pair, 0.5), Alone(stretched=True)),
        Method("f(divergence=alpha, alpha=2)", "½ ∫ (p − q)²/q", lambda pair: known.alpha(pair, 2.0), Alone(stretched=True)),
        Method("minimax", "JS", known.js, read=lambda t: math.log(2) - t.loss / 2),
        Method("lsgan", "∫ (p − q)²/(p + q)", known.triangular, read=lambda t: 2 - 8 * t.loss),
        Method("lsgan(a=-1, b=1, c=0)", "∫ (p − q)²/(p + q)", known.triangular, read=_squares),
        Method("hinge", "½ ∫ |p − q|", known.tv, Alone(starts=2), read=lambda t: 1 - t.loss / 2),
        Method("likelihood-ratio(family=cross-entropy)", "2 JS − log 4", lambda pair: 2 * known.js(pair) - math.log(4), optimum=(torch.sigmoid, torch.sigmoid)),
        Method("likelihood-ratio(family=exponential)", "−4 ∫ √(pq)", lambda pair: -4 * known.bhattacharyya(pair), optimum=(lambda r: r, lambda s: s)),
        Method("likelihood-ratio(family=mean-square)", "½ ∫ p²/q", lambda pair: (known.pearson(pair) + 1) / 2, Alone(stretched=True), optimum=(torch.exp, torch.nn.functional.softplus)),
        Method("likelihood-ratio(family=log-likelihood)", "∫ p log(p/q) − 1", lambda pair: known.kl(pair) - 1, Alone(stretched=True), optimum=(torch.exp, torch.nn.functional.softplus)),
        Method("likelihood-ratio(family=hinge)", "−2 ∫ min(p, q)", lambda pair: 2 * known.tv(pair) - 2, Alone(starts=2), optimum=(torch.sign, lambda s: s)),
        Method("mmd(kernel=gaussian)", "closed form", lambda pair: known.gaussian_mmd(pair, MMD_WIDTHS), untrained),
        Method("mmd(kernel=rational-quadratic)", "∬", lambda pair: known.kernel_mmd(pair, lambda d: sum((1 + d.square() / (2 * a)) ** -a for a in MMD_EXPONENTS)), untrained),
        Method("mmd(kernel=distance)", "2 ∫ (F_p − F_q)²", known.energy_distance, untrained),
        Method("mmd(kernel=exponential)", "∬", lambda pair: known.kernel_mmd(pair, lambda d: (-d).exp()), untrained),
        Method("fisher(rho=0.01)", "√∫ (p − q)²/((p + q)/2)", known.fisher, together, _fisher),
        Method("wgan-div", "(1 − 1/6) ∫ h (h/12u)^(1/5)", lambda pair: known.of_power_penalty(pair, 2, 6), read=_with_penalty),
        Method("wgan-gp", "∫ h (1 + h/20u)", lambda pair: known.of_gradient_penalty(pair, 10), Alone(first=CONVEX)),
        Method("wgan-gp(weight=100)", "W₁", known.w1, Alone(first=CONVEX), tolerance=0.1),
        Method("c-transform", "W₁", known.w1, together, tolerance=0.1),
        Method("qp", "linear solve", lambda pair: known.quadratic_potential(pair, 10), paired),
        Method("wgan", "∫ |p − q|", lambda pair: 2 * known.tv(pair), Alone(normalised="gradient"), norm="gradient", tolerance=None),
        Method("wgan", "W₁", known.w1, Alone(normalised="gradient-v2"), norm="gradient-v2", tolerance=None),
    ]
)
