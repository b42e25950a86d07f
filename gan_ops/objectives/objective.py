"""What an adversarial objective is."""

from __future__ import annotations

import math

from torch import Tensor

from gan_ops.objectives.scores import Scores

__all__ = ["Objective", "Stats"]

Stats = dict[str, Tensor]
"""What losses report, by name."""


class Objective:
    """What a critic and a generator minimise: losses of scores, for a trainer or anybody's own loop.

    Scores are tensors [N], one a sample and higher for what is more real, or :class:`Scores`, of which most objectives
    read ``score`` alone. Losses are scalars, means over the batch. Options are fields of a dataclass. An objective that
    remembers something between steps is an ``nn.Module`` too, with that in buffers.
    """

    compares = False
    """Whether the generator's loss needs the scores of real samples too."""

    def d(self, real: Scores | Tensor, fake: Scores | Tensor, stats: Stats | None = None) -> Tensor:
        """The critic's loss from its scores of real and of generated samples; may report something to ``stats``."""
        raise NotImplementedError

    def g(self, fake: Scores | Tensor, real: Scores | Tensor | None = None, stats: Stats | None = None) -> Tensor:
        """The generator's loss from the scores of its samples, and of real ones where it :attr:`compares`."""
        raise NotImplementedError

    def after(self, stats: Stats) -> None:
        """Called once a step, after the updates, with what the losses reported: an objective that remembers moves on.

        It changes its buffers in place and does not wait for the device.
        """


def check_not_negative(options: object, *names: str) -> None:
    """ValueError unless these fields are finite numbers of at least 0."""
    for name in names:
        value = getattr(options, name)
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}={value} is not a finite number of at least 0")
