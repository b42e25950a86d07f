"""Adversarial objectives: losses of the discriminator and the generator as functions of the scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

__all__ = ["Hinge", "LeastSquares", "Minimax", "NonSaturating", "Objective", "Wasserstein", "classification_loss"]


class Objective(Protocol):
    """What the two networks minimise. Scores are [N], one a sample; losses are scalars, means over the batch."""

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of the discriminator from its scores of real and of generated samples."""

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Loss of the generator from the scores of its samples; relativistic ones also need those of real samples."""


@dataclass(frozen=True)
class Wasserstein:
    """L_D = E[D(G(z))] − E[D(x)] + drift·E[D(x)²], L_G = −E[D(G(z))].

    Arjovsky et al. 2017, eq. 2; the drift term keeps the scores, which are only determined up to a constant, near zero
    (Karras et al. 2018, appendix A.1).
    """

    drift: float = 0.001

    def __post_init__(self) -> None:
        if not self.drift >= 0:
            raise ValueError(f"drift={self.drift} must not be negative")

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        loss = fake.mean() - real.mean()
        return loss + self.drift * real.square().mean() if self.drift else loss

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -fake.mean()


@dataclass(frozen=True)
class Minimax:
    """L_D = −E[log D(x)] − E[log(1 − D(G(z)))], L_G = E[log(1 − D(G(z)))], where D is the sigmoid of the score.

    Goodfellow et al. 2014, eq. 1. With ``label_smoothing`` s, D's target for real samples is 1 − s, that for generated
    ones stays 0 (one-sided, Salimans et al. 2016, §3.4, where s is 0.1).
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        _check_smoothing(self.label_smoothing)

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        loss = F.softplus(-real).mean() + F.softplus(fake).mean()
        # Cross-entropy is linear in its target: −(1 − s) log D − s log(1 − D) = −log D + s·score.
        return loss + self.label_smoothing * real.mean() if self.label_smoothing else loss

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -F.softplus(fake).mean()


@dataclass(frozen=True)
class NonSaturating(Minimax):
    """The discriminator's loss of :class:`Minimax`; L_G = −E[log D(G(z))] (Goodfellow et al. 2014, §3)."""

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return F.softplus(-fake).mean()


@dataclass(frozen=True)
class Hinge:
    """L_D = E[max(0, 1 − D(x))] + E[max(0, 1 + D(G(z)))], L_G = −E[D(G(z))] (Miyato et al. 2018, eq. 16 and 17)."""

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -fake.mean()


@dataclass(frozen=True)
class LeastSquares:
    """L_D = ½E[(D(x) − 1 + s)²] + ½E[D(G(z))²], L_G = ½E[(D(G(z)) − 1)²] (Mao et al. 2017, eq. 9).

    ``label_smoothing`` s is 0 there; see :class:`Minimax`.
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        _check_smoothing(self.label_smoothing)

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * ((real - (1 - self.label_smoothing)).square().mean() + fake.square().mean())

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return 0.5 * (fake - 1).square().mean()


def classification_loss(
    fake_logits: Tensor,
    fake_labels: Tensor,
    real_logits: Tensor | None = None,
    real_labels: Tensor | None = None,
) -> Tensor:
    """AC-GAN's class term, −L_C = −E[log P(c | G(z, c))] − E[log P(c | x)] (Odena et al. 2017, eq. 3).

    Logits [N, K] with int64 labels [N]. The discriminator minimises both halves; the generator, on which the real half
    does not depend, leaves ``real_logits`` and ``real_labels`` out.
    """
    if (real_logits is None) != (real_labels is None):
        raise ValueError("real_logits and real_labels must be given together")
    loss = F.cross_entropy(fake_logits, fake_labels)
    return loss if real_logits is None else loss + F.cross_entropy(real_logits, real_labels)


def _check_smoothing(label_smoothing: float) -> None:
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing={label_smoothing} must be at least 0 and below 1")
