"""What an adversarial objective is."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Literal

from torch import Tensor

from gan_ops.objectives.scores import Scores, score_of

__all__ = ["Objective", "Stats"]

Stats = dict[str, Tensor]
"""What losses report, by name."""


class Objective:
    """What a critic and a generator minimise: losses of scores, for a trainer or anybody's own loop.

    Scores are tensors [N], one a sample and higher for what is more real, or :class:`Scores`, of which most objectives
    read ``score`` alone. Losses are scalars, means over the batch. Options are fields of a dataclass. An objective that
    remembers something between steps is an ``nn.Module`` too, with that in buffers; its parameters, if it has any,
    are moved with the critic's, and its method ``retract_`` brings them back to where they must lie after each update.
    """

    compares = False
    """Whether the generator's loss needs the scores of real samples too."""
    shown = False
    """Whether losses read the samples too: scores must be :class:`Scores` with ``x``."""
    least = 1
    """Fewest samples of each kind that losses can be taken of."""
    outputs = 1
    """How many values the critic gives for a sample: 1 for scores [N], K for vectors [N, K]."""
    clip = 0.0
    """The trainer brings the critic's parameters into [−clip, clip] after each update; 0 for no bound."""
    verdict: Literal["", "score", "difference"] = ""
    """What is above 0 where the critic takes a sample for real: its score, which is a logit or has a margin on either
    side of 0; its score less that of a generated sample; or nothing."""
    penalties = ()
    """Those (:class:`gan_ops.objectives.Penalty`) on the critic's gradient that the trainer adds to its loss."""

    def d(self, real: Scores | Tensor, fake: Scores | Tensor, stats: Stats | None = None) -> Tensor:
        """The critic's loss from its scores of real and of generated samples; may report something to ``stats``."""
        raise NotImplementedError

    def g(self, fake: Scores | Tensor, real: Scores | Tensor | None = None, stats: Stats | None = None) -> Tensor:
        """The generator's loss from the scores of its samples, and of real ones where it :attr:`compares`."""
        raise NotImplementedError

    def witness(self, points: Scores | Tensor, real: Scores | Tensor, fake: Scores | Tensor) -> Tensor:
        """The function [N] that the loss integrates, at any points: what penalties take the gradient of.

        That is the score itself, but for critics with vectors, where it depends on both batches too.
        """
        return score_of(points)

    def after(self, stats: Stats) -> None:
        """Called once a step, after the updates, with what the losses reported: an objective that remembers moves on.

        It changes its buffers in place and does not wait for the device.
        """


def report(stats: Stats | None, **values: Tensor) -> None:
    """Adds numbers to what a loss reports, if anybody wants to know; they are cut from the graph."""
    if stats is not None:
        stats.update({name: value.detach() for name, value in values.items()})


def check_named(options: object, name: str, known: Collection[str]) -> None:
    """ValueError unless this field is one of the names ``known``."""
    value = getattr(options, name)
    if value not in known:
        raise ValueError(f"{name}={value!r} is not one of {', '.join(known)}")


def check_finite(options: object, *names: str) -> None:
    """ValueError unless these fields are finite numbers."""
    for name in names:
        value = getattr(options, name)
        if not math.isfinite(value):
            raise ValueError(f"{name}={value} is not a finite number")


def check_not_negative(options: object, *names: str) -> None:
    """ValueError unless these fields are finite numbers of at least 0."""
    for name in names:
        value = getattr(options, name)
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}={value} is not a finite number of at least 0")


def check_positive(options: object, *names: str) -> None:
    """ValueError unless these fields are finite numbers above 0."""
    for name in names:
        value = getattr(options, name)
        if not 0 < value < math.inf:
            raise ValueError(f"{name}={value} is not a finite number above 0")


def check_count(options: object, *names: str) -> None:
    """ValueError unless these fields are whole numbers of at least 1."""
    for name in names:
        value = getattr(options, name)
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}={value} is not a whole number of at least 1")
