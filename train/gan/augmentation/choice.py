"""What the options of augmentation stand for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from gan_ops.augmentation import ADA, AUGMENTATIONS, DiffAugment
from gan_ops.objectives import Objective
from train.base.errors import UsageError
from train.base.specs import parse_spec
from train.engine.curve import Cosine
from train.gan.augmentation.base import Augmentation
from train.gan.augmentation.noise import InstanceNoise
from train.gan.augmentation.piped import Piped
from train.gan.augmentation.probability import Adaptive, Planned, Probability, Statistic


@dataclass(frozen=True)
class NoAugmentation:
    """Images as they are."""


KINDS: dict[str, ADA | DiffAugment | NoAugmentation] = {"none": NoAugmentation(), **AUGMENTATIONS}


@dataclass(frozen=True)
class Augmenting:
    """The options, by their names in :class:`train.gan.options.GanConfig`."""

    augment: str
    augment_p: str
    augment_target: float
    augment_kimg: float

    def kind(self) -> ADA | DiffAugment | NoAugmentation:
        """Of changes; UsageError if ``augment`` says it wrongly."""
        return parse_spec(self.augment, KINDS, "augment")

    def probability(self) -> tuple[float, float] | Statistic:
        """The first and the last p, or by what it is adapted; UsageError if ``augment_p`` says it wrongly."""
        if self.augment_p == "auto":
            return (1.0, 1.0) if isinstance(self.kind(), DiffAugment) else "sign"
        if self.augment_p == "held-out":
            return "held-out"
        try:
            values = [float(value) for value in self.augment_p.split(":")]
        except ValueError:
            values = []
        if len(values) not in (1, 2) or not all(0 <= value <= 1 for value in values):
            raise UsageError(
                f"augment_p={self.augment_p!r} is neither auto nor held-out, nor a number from 0 to 1 or two such as"
                " 0:0.55"
            )
        return values[0], values[-1]

    def check(self, loss: str, objective: Objective, held_out: int) -> None:
        """UsageError for options that contradict each other, with the reason."""
        if isinstance(self.kind(), NoAugmentation):
            return
        probability = self.probability()
        if probability == "sign" and objective.verdict != "score":
            raise UsageError(
                f"augment_p={self.augment_p!r} adapts p by the sign of D's scores of images, and scores of"
                f" loss={loss!r} have no zero that parts real from generated ones, as logistic and hinge losses' have"
                " (ADA, Karras et al. 2020, 3.1): give augment_p a number, two such as 0:0.55, or held-out"
            )
        if probability == "held-out" and not held_out:
            raise UsageError("augment_p='held-out' compares D's scores with those of images held out: give held_out")
        if probability == "held-out" and objective.outputs > 1:
            raise UsageError(f"augment_p='held-out' compares scores, and the critic of loss={loss!r} gives vectors")
        if not self.augment_kimg > 0:
            raise UsageError(f"augment_kimg={self.augment_kimg:g} is not a positive number")

    def make(self, noise: InstanceNoise, curve: Callable[[float, float], Cosine], device: torch.device) -> Augmentation:
        """What stands before D.

        Args:
            noise: on all images that D sees.
            curve: makes of a first and a last value what goes from one to the other.
        """
        kind = self.kind()
        if isinstance(kind, NoAugmentation):
            return noise
        return Piped(kind.pipe().to(device), self._control(curve, device), noise)

    def _control(self, curve: Callable[[float, float], Cosine], device: torch.device) -> Probability:
        probability = self.probability()
        if isinstance(probability, tuple):
            return Planned(curve(*probability))
        return Adaptive(probability, self.augment_target, 1000 * self.augment_kimg, device)
