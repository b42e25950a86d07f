"""How labels enter a game of a generator and a discriminator: what each network is given, and terms of the losses.

The base class has no labels. Labels are int64 [N].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from gan_ops.objectives import Scores, semi_supervised, variational_information
from models.parts.codes import Codes

Network = Callable[..., object]
Stats = dict[str, Tensor]


class Conditioning:
    """No labels.

    Attributes:
        name: the option's value, which the discriminator's ``condition`` is too.
        labels: whether real images come with labels.
        generates: whether the generator is given labels.
        judges: whether the discriminator is given labels.
        codes: those that latents hold. They are the labels of what is generated, [N, width].
    """

    name = "none"
    labels = generates = judges = False
    codes = Codes()

    def classes(self, num_classes: int) -> tuple[int, int]:
        """The ``num_classes`` of the generator and of the discriminator, of data with so many."""
        return num_classes if self.generates else 0, num_classes if self.labels else self.codes.width

    def generate(self, generator: Network, z: Tensor, labels: Tensor | None) -> Tensor:
        """Images [N, C, H, W] of latents z [N, L]."""
        return generator(z, labels) if self.generates else generator(z)

    def judge(self, discriminator: Network, x: Tensor, labels: Tensor | None, **minibatches: int) -> Scores:
        """Scores of images x [N, C, H, W]."""
        return discriminator(x, *((labels,) if self.judges else ()), **minibatches)

    def d(self, real: Scores, fake: Scores, labels: Tensor | None, stats: Stats) -> Tensor | None:
        """A term of the discriminator's loss; the fakes have the labels of the reals, if any. May report something."""
        return None

    def g(self, fake: Scores, labels: Tensor | None, stats: Stats) -> Tensor | None:
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

    def d(self, real: Scores, fake: Scores, labels: Tensor | None, stats: Stats) -> Tensor | None:
        return self.weight * semi_supervised.classification_loss(fake.logits, labels, real.logits, labels)

    def g(self, fake: Scores, labels: Tensor | None, stats: Stats) -> Tensor | None:
        return self.weight * semi_supervised.classification_loss(fake.logits, labels)


@dataclass(frozen=True)
class KPlusOne(Conditioning):
    """D learns the classes of real images; "generated" is one more (Salimans et al. 2016, section 5)."""

    weight: float = 1.0
    name = "k+1"
    labels = True

    def d(self, real: Scores, fake: Scores, labels: Tensor | None, stats: Stats) -> Tensor | None:
        return self.weight * semi_supervised.labelled_loss(real.logits, labels)


@dataclass(frozen=True)
class InfoGan(Conditioning):
    """The discriminator's Q tells which codes an image was made of, and both players maximise the information that
    images hold about their codes (Chen et al. 2016, arXiv 1606.03657, equation 6).

    Q is moved with the discriminator, whose layers it shares, as in the authors' code.

    Attributes:
        weight, continuous_weight: of the information about categorical and about continuous codes.
    """

    codes: Codes
    weight: float = 1.0
    continuous_weight: float = 0.1
    name = "infogan"

    def d(self, real: Scores, fake: Scores, labels: Tensor | None, stats: Stats) -> Tensor | None:
        return self._loss(fake, labels, stats)

    def g(self, fake: Scores, labels: Tensor | None, stats: Stats) -> Tensor | None:
        return self._loss(fake, labels, stats)

    def _loss(self, fake: Scores, codes: Tensor | None, stats: Stats) -> Tensor:
        categorical, continuous = variational_information(fake.logits, codes, self.codes.categorical)
        stats["information"] = (categorical + continuous).detach()  # in nats, a lower bound
        return -self.weight * categorical - self.continuous_weight * continuous
