"""How labels enter a game of a generator and a discriminator: what each network is given, and terms of the losses.

The base class has no labels. Labels are int64 [N].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from gan_ops.objectives import Scores, semi_supervised

Network = Callable[..., object]


class Conditioning:
    """No labels.

    Attributes:
        name: the option's value, which the discriminator's ``condition`` is too.
        labels: whether real images come with labels.
        generates: whether the generator is given labels.
        judges: whether the discriminator is given labels.
    """

    name = "none"
    labels = generates = judges = False

    def classes(self, num_classes: int) -> tuple[int, int]:
        """How many classes of the data's the generator and the discriminator know."""
        return num_classes if self.generates else 0, num_classes if self.labels else 0

    def generate(self, generator: Network, z: Tensor, labels: Tensor | None) -> Tensor:
        """Images [N, C, H, W] of latents z [N, L]."""
        return generator(z, labels) if self.generates else generator(z)

    def judge(self, discriminator: Network, x: Tensor, labels: Tensor | None, **minibatches: int) -> Scores:
        """Scores of images x [N, C, H, W]."""
        return discriminator(x, *((labels,) if self.judges else ()), **minibatches)

    def d(self, real: Scores, fake: Scores, labels: Tensor | None) -> Tensor | None:
        """A term of the discriminator's loss; the fakes have the labels of the reals, if any."""
        return None

    def g(self, fake: Scores, labels: Tensor | None) -> Tensor | None:
        """A term of the generator's loss."""
        return None


class Concat(Conditioning):
    """Both networks take labels beside their inputs (Mirza and Osindero 2014)."""

    name = "cgan"
    labels = generates = judges = True


class Projection(Concat):
    """Both networks take labels; the discriminator's score has the inner product of its features with a vector of the
    class (Miyato and Koyama 2018, arXiv 1802.05637, equation 3)."""

    name = "projection"


@dataclass(frozen=True)
class AuxiliaryClassifier(Conditioning):
    """The generator takes labels, and the discriminator tells the classes of all images apart (AC-GAN, Odena et al.
    2017, equation 3)."""

    weight: float = 1.0
    name = "acgan"
    labels = generates = True

    def d(self, real: Scores, fake: Scores, labels: Tensor | None) -> Tensor | None:
        return self.weight * semi_supervised.classification_loss(fake.logits, labels, real.logits, labels)

    def g(self, fake: Scores, labels: Tensor | None) -> Tensor | None:
        return self.weight * semi_supervised.classification_loss(fake.logits, labels)


@dataclass(frozen=True)
class KPlusOne(Conditioning):
    """D learns the classes of real images; "generated" is one more (Salimans et al. 2016, section 5)."""

    weight: float = 1.0
    name = "k+1"
    labels = True

    def d(self, real: Scores, fake: Scores, labels: Tensor | None) -> Tensor | None:
        return self.weight * semi_supervised.labelled_loss(real.logits, labels)
