"""Options of games in which labels or codes have a part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from models.parts.codes import Codes
from train.base.errors import UsageError
from train.base.values import Range
from train.data import ImageSet
from train.gan.conditioning import AuxiliaryClassifier, Concat, Conditioning, InfoGan, KPlusOne, Projection
from train.gan.options import GanConfig, check_finite

Condition = Literal["none", "cgan", "acgan", "projection", "k+1", "infogan"]
"""A system's own option may name fewer, and "auto": "cgan" if the data has labels."""
MOST_CODES = 2**16


@dataclass(frozen=True)
class ConditionalConfig(GanConfig):
    """Options for training two players on images with labels."""

    condition: Condition = "none"
    """Labels in inputs (cgan: Mirza 2014), acgan: Odena 2017, projection: Miyato 2018, k+1: Salimans 2016; infogan."""

    def check(self) -> None:
        super().check()
        if self.condition in ("none", "auto"):
            return
        option = f"condition={self.condition!r}"
        self.check_labelled(option)
        if self.condition in ("projection", "k+1") and self.objective().outputs > 1:
            raise UsageError(
                f"loss={self.loss!r} cannot be combined with {option}: its critic gives vectors, and the score of a"
                " class is one number"
            )
        if self.condition in ("cgan", "projection") and self.feature_matching:
            raise UsageError(
                f"feature_matching={self.feature_matching} cannot be combined with {option}: means over all classes are"
                " matched, so G would have no reason to follow its labels (condition='acgan' has a loss for that)"
            )

    def conditioning(self, images: ImageSet) -> Conditioning:
        """How labels or codes enter; UsageError if the images have no labels and these are needed."""
        if self.condition == "auto":
            chosen = replace(self, condition="cgan" if images.num_classes and self.pack == 1 else "none")
            chosen.check()
            return chosen.conditioning(images)
        kinds = {
            "none": Conditioning(),
            "cgan": Concat(),
            "acgan": AuxiliaryClassifier(self.class_weight),
            "projection": Projection(),
            "k+1": KPlusOne(self.class_weight),
        }
        conditioning = kinds[self.condition]
        if conditioning.labels and not images.num_classes:
            option = f"condition={self.condition!r}"
            raise UsageError(f"{option} needs labels, and {images.name} has {images.describe_labels()}")
        return conditioning


@dataclass(frozen=True)
class CodedConfig(ConditionalConfig):
    """The same, or with codes among the latents."""

    categorical: str = "10"
    """Categories of each categorical code (infogan: Chen 2016: 10 for MNIST, 10,10,10,10 for SVHN; empty: none)."""
    continuous: Annotated[int, Range(0, MOST_CODES)] = 2
    """Number of continuous codes (infogan: Chen 2016: 2 for MNIST, 4 for SVHN)."""
    information_weight: float = 1.0
    """Weight of the information about categorical codes (infogan: Chen 2016: 1)."""
    continuous_weight: float = 0.1
    """Weight of the information about continuous codes (infogan: Chen 2016's code: 0.1)."""

    def check(self) -> None:
        super().check()
        check_finite(self, "information_weight", "continuous_weight")
        if not self._codes().width and self.condition == "infogan":
            raise UsageError("condition='infogan' with categorical='' and continuous=0 has no code")

    def conditioning(self, images: ImageSet) -> Conditioning:
        if self.condition == "infogan":
            return InfoGan(self._codes(), self.information_weight, self.continuous_weight)
        return super().conditioning(images)

    def latents(self, conditioning: Conditioning) -> dict[str, Any]:
        """A generator's arguments: the length of its latents, of which the last are made codes, and these."""
        codes = conditioning.codes
        arguments: dict[str, Any] = {"latent_dim": self.latent + codes.width}
        if codes.width:
            arguments |= {"categorical": list(codes.categorical), "continuous": codes.continuous}
        return arguments

    def _codes(self) -> Codes:
        """Those of an InfoGAN; UsageError if ``categorical`` is not a list of numbers."""
        words = self.categorical.split(",") if self.categorical else []
        if not all(word.isdecimal() and len(word) < 6 and int(word) > 1 for word in words):
            raise UsageError(
                f"categorical={self.categorical!r} is not a list of whole numbers from 2 on, such as 10,10"
            )
        codes = Codes([int(word) for word in words], self.continuous)
        if codes.width > MOST_CODES:
            raise UsageError(f"categorical={self.categorical!r}: all codes have more than {MOST_CODES} values")
        return codes
