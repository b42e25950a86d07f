"""Objectives that judge each sample, or each patch of one, by its own score: losses are means of functions of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

from gan_ops.objectives.objective import Objective, Stats, check_finite, check_not_negative, check_positive
from gan_ops.objectives.penalties import WganGP
from gan_ops.objectives.scores import Scores, score_of

__all__ = ["ClippedWasserstein", "Hinge", "LeastSquares", "Minimax", "NonSaturating", "Wasserstein", "WassersteinGP"]


@dataclass(frozen=True)
class Wasserstein(Objective):
    """L_D = E[D(G(z))] − E[D(x)] + drift·E[D(x)²], L_G = −E[D(G(z))].

    Arjovsky et al. 2017, eq. 2; the drift term keeps the scores, which are only determined up to a constant, near zero
    (Karras et al. 2018, appendix A.1: 0.001). Something has to keep the critic Lipschitz: clipped weights
    (:class:`ClippedWasserstein`), a penalty (:class:`WassersteinGP`) or spectral norm.
    """

    drift: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        check_not_negative(self, "drift")

    def d(self, real: Scores | Tensor, fake: Scores | Tensor, stats: Stats | None = None) -> Tensor:
        real, fake = score_of(real), score_of(fake)
        loss = fake.mean() - real.mean()
        return loss + self.drift * real.square().mean() if self.drift else loss

    def g(self, fake: Scores | Tensor, real: Scores | Tensor | None = None, stats: Stats | None = None) -> Tensor:
        return -score_of(fake).mean()


@dataclass(frozen=True)
class ClippedWasserstein(Wasserstein):
    """:class:`Wasserstein` for a critic whose weights the trainer clips to ±``clip`` after each update.

    Arjovsky et al. 2017, algorithm 1.
    """

    clip: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "clip")


@dataclass(frozen=True)
class WassersteinGP(Wasserstein):
    """:class:`Wasserstein` with the gradient penalty of :attr:`penalties`, which the trainer adds to the critic's loss.

    Gulrajani et al. 2017, eq. 3, with the target of Karras et al. 2018, appendix A.1 and D (750 for CIFAR-10).
    """

    weight: float = 10.0
    target: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(self, "weight", "target")

    @property
    def penalties(self) -> tuple[WganGP, ...]:
        """weight·E[(‖∇D(x̂)‖ − target)²/target²] between real and generated samples; none of weight 0."""
        return (WganGP(self.weight, self.target),) if self.weight else ()


@dataclass(frozen=True)
class Minimax(Objective):
    """L_D = −E[log D(x)] − E[log(1 − D(G(z)))], L_G = E[log(1 − D(G(z)))], where D is the sigmoid of the score.

    Goodfellow et al. 2014, eq. 1. With ``label_smoothing`` s, D's target for real samples is 1 − s, that for generated
    ones stays 0 (one-sided, Salimans et al. 2016, §3.4, where s is 0.1).
    """

    verdict = "score"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        _check_smoothing(self.label_smoothing)

    def d(self, real: Scores | Tensor, fake: Scores | Tensor, stats: Stats | None = None) -> Tensor:
        real, fake = score_of(real), score_of(fake)
        loss = F.softplus(-real).mean() + F.softplus(fake).mean()
        # Cross-entropy is linear in its target: −(1 − s) log D − s log(1 − D) = −log D + s·score.
        return loss + self.label_smoothing * real.mean() if self.label_smoothing else loss

    def g(self, fake: Scores | Tensor, real: Scores | Tensor | None = None, stats: Stats | None = None) -> Tensor:
        return -F.softplus(score_of(fake)).mean()


@dataclass(frozen=True)
class NonSaturating(Minimax):
    """The discriminator's loss of :class:`Minimax`; L_G = −E[log D(G(z))] (Goodfellow et al. 2014, §3)."""

    def g(self, fake: Scores | Tensor, real: Scores | Tensor | None = None, stats: Stats | None = None) -> Tensor:
        return F.softplus(-score_of(fake)).mean()


@dataclass(frozen=True)
class Hinge(Objective):
    """L_D = E[max(0, 1 − D(x))] + E[max(0, 1 + D(G(z)))], L_G = −E[D(G(z))] (Miyato et al. 2018, eq. 16 and 17)."""

    verdict = "score"

    def d(self, real: Scores | Tensor, fake: Scores | Tensor, stats: Stats | None = None) -> Tensor:
        return F.relu(1 - score_of(real)).mean() + F.relu(1 + score_of(fake)).mean()

    def g(self, fake: Scores | Tensor, real: Scores | Tensor | None = None, stats: Stats | None = None) -> Tensor:
        return -score_of(fake).mean()


@dataclass(frozen=True)
class LeastSquares(Objective):
    """L_D = ½E[(D(x) − b + s)²] + ½E[(D(G(z)) − a)²], L_G = ½E[(D(G(z)) − c)²].

    Mao et al. 2017, eq. 2; (a, b, c) = (0, 1, 1) is eq. 9. The best critic is (bp + aq)/(p + q). Where b − c = 1 and
    b − a = 2, as in (−1, 1, 0), eq. 8, E_p[(D − c)²] + E_q[(D − c)²] of that critic is the Pearson χ² between p + q and
    2q, ∫(p − q)²/(p + q); L_G is half of its second term, the one with samples of the generator.

    Attributes:
        a: D's target for generated samples.
        b: D's target for real ones.
        c: what G wants D to say.
        label_smoothing: s, by which D's target for real samples falls short of b; see :class:`Minimax`.
    """

    label_smoothing: float = 0.0
    a: float = 0.0
    b: float = 1.0
    c: float = 1.0

    def __post_init__(self) -> None:
        _check_smoothing(self.label_smoothing)
        check_finite(self, "a", "b", "c")
        if not self.a < self.b:
            raise ValueError(f"b={self.b} is not above a={self.a}")

    def d(self, real: Scores | Tensor, fake: Scores | Tensor, stats: Stats | None = None) -> Tensor:
        real, fake = score_of(real), score_of(fake)
        return 0.5 * ((real - (self.b - self.label_smoothing)).square().mean() + (fake - self.a).square().mean())

    def g(self, fake: Scores | Tensor, real: Scores | Tensor | None = None, stats: Stats | None = None) -> Tensor:
        return 0.5 * (score_of(fake) - self.c).square().mean()


def _check_smoothing(label_smoothing: float) -> None:
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing={label_smoothing} must be at least 0 and below 1")
