"""Options of games in which labels have a part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from train.base.errors import UsageError
from train.data import ImageSet
from train.gan.conditioning import AuxiliaryClassifier, Concat, Conditioning, KPlusOne, Projection
from train.gan.options import GanConfig

Condition = Literal["none", "cgan", "acgan", "projection", "k+1"]
"""A system's own option may name fewer, and "auto": "cgan" if the data has labels."""

_CONDITIONS: Mapping[str, Callable[[float], Conditioning]] = {
    "none": lambda weight: Conditioning(),
    "cgan": lambda weight: Concat(),
    "acgan": AuxiliaryClassifier,
    "projection": lambda weight: Projection(),
    "k+1": KPlusOne,
}


@dataclass(frozen=True)
class ConditionalConfig(GanConfig):
    """Options for training two players on images with labels."""

    condition: Condition = "none"
    """Use of labels; cgan: inputs (Mirza 2014), acgan: Odena 2017, projection: Miyato 2018, k+1: Salimans 2016, 5."""

    def check(self) -> None:
        super().check()
        if self.condition in ("none", "auto"):
            return
        self.check_labelled(f"condition={self.condition!r}")
        if self.condition in ("projection", "k+1") and self.objective().outputs > 1:
            raise UsageError(
                f"loss={self.loss!r} cannot be combined with condition={self.condition!r}: its critic gives vectors,"
                " and the score of a class is one number"
            )
        if self.condition in ("cgan", "projection") and self.feature_matching:
            raise UsageError(
                f"feature_matching={self.feature_matching} cannot be combined with condition={self.condition!r}: means"
                " over all classes are matched, so G would have no reason to follow its labels (condition='acgan' has a"
                " loss for that)"
            )

    def conditioning(self, images: ImageSet) -> Conditioning:
        """How labels enter; UsageError if the images have none and these are needed."""
        if self.condition == "auto":
            chosen = replace(self, condition="cgan" if images.num_classes and self.pack == 1 else "none")
            chosen.check()
            return chosen.conditioning(images)
        conditioning = _CONDITIONS[self.condition](self.class_weight)
        if conditioning.labels and not images.num_classes:
            option = f"condition={self.condition!r}"
            raise UsageError(f"{option} needs labels, and {images.name} has {images.describe_labels()}")
        return conditioning
