"""Objectives that judge samples against each other: real ones of the batch against its generated ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_ops.objectives.objective import (
    Objective,
    Stats,
    check_named,
    check_not_negative,
    check_positive,
    report,
)
from gan_ops.objectives.pairs import distances
from gan_ops.objectives.penalties import R1, R2
from gan_ops.objectives.scores import Scores, score_of, values_of

__all__ = ["QuadraticPotential", "R3Gan", "Relativistic", "Softmax"]


@dataclass(frozen=True)
class Softmax(Objective):
    """L_D = −E_real[s] + log Σ exp s, L_G = −E_all[s] + log Σ exp s, sums over all N real and M generated samples.

    Lin 2017 (arXiv 1704.06191): cross-entropies of softmax(s) over the batch, whose targets are 1/N on reals and 0 on
    fakes for D, 1/(N + M) on all for G. The best values are log N and log(N + M). Each process, and each microbatch,
    has a sum of its own: the losses of parts do not average to that of the whole.
    """

    compares = True

    def d(self, real: Scores | Tensor, fake: Scores | Tensor, stats: Stats | None = None) -> Tensor:
        real, fake = score_of(real).flatten(), score_of(fake).flatten()
        return torch.cat((real, fake)).logsumexp(0) - real.mean()  # [N + M] → scalar

    def g(self, fake: Scores | Tensor, real: Scores | Tensor | None = None, stats: Stats | None = None) -> Tensor:
        both = torch.cat((score_of(real).flatten(), score_of(fake).flatten()))  # [N + M]
        return both.logsumexp(0) - both.mean()


MARGIN_LOSSES = {
    "logistic": lambda margin: F.softplus(-margin),
    "least-squares": lambda margin: (margin - 1).square(),
    "hinge": lambda margin: F.relu(1 - margin),
}
"""h of how much more real one sample is than another: what :class:`Relativistic` means."""


@dataclass(frozen=True)
class Relativistic(Objective):
    """L_D = E[h(s(x) − m_f)] + E[h(m_r − s(G(z)))], m_r and m_f the mean scores of the real and the generated batch.

    L_G is the same with real and generated exchanged. Jolicoeur-Martineau 2018 (arXiv 1807.00734), §4.3 and appendix:
    RaSGAN, RaLSGAN and RaHingeGAN, with h(y) = softplus(−y), (y − 1)² or max(0, 1 − y). Not ``average``, §4.1 and 4.2:
    L_D = E[h(s(x_i) − s(G(z_i)))], each real sample against one generated, and L_G again the same exchanged.

    The means are over the minibatch of one process, place by place where the critic judges patches. The paper has no
    factor ½; its code halves all losses of the averages.

    Attributes:
        average: compare with the other batch's mean, not with one sample of it.
        of: h.
    """

    compares = True
    verdict = "difference"
    average: bool = True
    of: Literal["logistic", "least-squares", "hinge"] = "logistic"

    def __post_init__(self) -> None:
        check_named(self, "of", MARGIN_LOSSES)

    def d(self, real: Scores | Tensor, fake: Scores | Tensor, stats: Stats | None = None) -> Tensor:
        return self._above(score_of(real), score_of(fake))

    def g(self, fake: Scores | Tensor, real: Scores | Tensor | None = None, stats: Stats | None = None) -> Tensor:
        return self._above(score_of(fake), score_of(real))

    def _above(self, upper: Tensor, lower: Tensor) -> Tensor:
        """The loss of the player who wants the scores ``upper`` [N, …] above ``lower`` [M, …]."""
        h = MARGIN_LOSSES[self.of]
        if self.average:
            return h(upper - lower.mean(0)).mean() + h(upper.mean(0) - lower).mean()  # means over the batch
        return h(_difference(upper, lower)).mean()


@dataclass(frozen=True)
class R3Gan(Relativistic):
    """Relativistic pairs, E[softplus(−(s(x) − s(G(z))))], with the penalties R1 and R2, γ/2·E‖∇s‖² each.

    Huang et al. 2024 (arXiv 2501.05441), §2. γ is 0.05 where the authors' run on CIFAR-10 starts, and falls
    to a tenth; FFHQ at 64² starts at 2, at 256² at 150: larger for larger images. Scores have no zero to be compared
    with; the critic's loss reports the mean sign of s(x) − s(G(z)) as "pair_sign", 1 where it ranks all pairs rightly.
    """

    average: bool = field(default=False, init=False)
    of: Literal["logistic"] = field(default="logistic", init=False)
    gamma: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(self, "gamma")

    def d(self, real: Scores | Tensor, fake: Scores | Tensor, stats: Stats | None = None) -> Tensor:
        report(stats, pair_sign=_difference(score_of(real), score_of(fake)).sign().mean())
        return super().d(real, fake, stats)

    @property
    def penalties(self) -> tuple[R1 | R2, ...]:
        """On the gradients at real and at generated samples; none of weight 0."""
        return (R1(self.gamma), R2(self.gamma)) if self.gamma else ()


@dataclass(frozen=True)
class QuadraticPotential(Objective):
    """L_D = −E[δ − δ²/(2λd)] with δ = s(x) − s(G(z)) of pairs and d the distance of their samples; L_G = −E[s(G(z))].

    GAN-QP, Su 2018 (arXiv 1811.07296), with its authors' code's form of s for pairs, their λ = 10, and their d, a mean
    over the values of a sample, so that λ does not depend on their number. No gradient flows through d. Scores need
    :attr:`Scores.x` [N, …].

    Attributes:
        weight: λ.
        distance: d = mean |x − G(z)| ("l1") or √mean (x − G(z))² ("l2").
    """

    shown = True
    verdict = "difference"
    weight: float = 10.0
    distance: Literal["l1", "l2"] = "l1"

    def __post_init__(self) -> None:
        check_positive(self, "weight")
        check_named(self, "distance", ("l1", "l2"))

    def d(self, real: Scores, fake: Scores, stats: Stats | None = None) -> Tensor:
        delta = _difference(score_of(real), score_of(fake))  # [N]
        # Equal samples have equal scores: δ²/d is 0/0 there, and 0 with a floor under d.
        d = self._distances(real, fake).clamp(min=1e-6)
        return (delta.square() / (2 * self.weight * d) - delta).mean()

    def g(self, fake: Scores | Tensor, real: Scores | Tensor | None = None, stats: Stats | None = None) -> Tensor:
        return -score_of(fake).mean()

    @torch.no_grad()
    def _distances(self, real: Scores, fake: Scores) -> Tensor:
        """d [N]."""
        x, y = values_of(real), values_of(fake)
        size = x.shape[1] if self.distance == "l1" else math.sqrt(x.shape[1])
        return distances(x, y, self.distance) / size


def _difference(one: Tensor, other: Tensor) -> Tensor:
    """Of pairs; ValueError unless there are as many of both."""
    if one.shape != other.shape:
        raise ValueError(f"pairs need batches of one shape, but these are {list(one.shape)} and {list(other.shape)}")
    return one - other
