"""Feature matching: the generator's aim is the statistics of the data as the discriminator sees it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gan_ops.objectives.objective import Objective, Stats
from gan_ops.objectives.penalties import Penalty
from gan_ops.objectives.scores import Scores

__all__ = ["FeatureMatching", "feature_matching"]


def feature_matching(real: Tensor, fake: Tensor) -> Tensor:
    """‖E f(x) − E f(G(z))‖² for a layer f of the discriminator: Salimans et al. 2016, §3.1.

    Args:
        real, fake: that layer's activations [N, *] and [M, *]. Expectations are means over the batch; gradients flow to
            both (the generator's step gives ``real`` without a graph).

    Returns:
        A scalar.

    Raises:
        ValueError: the features have different shapes.
    """
    if real.shape[1:] != fake.shape[1:]:
        raise ValueError(
            f"fake must have features {list(real.shape[1:])} as real has, but they are {list(fake.shape[1:])}"
        )
    return (real.mean(0) - fake.mean(0)).square().sum()


@dataclass(frozen=True)
class FeatureMatching(Objective):
    """The critic's loss of another objective, and :func:`feature_matching` instead of its generator's.

    Attributes:
        objective: whose critic's loss it is.
        height: of the critic's maps that are matched; the largest not above it. Maps [N, F] without pixels count as of
            height 1.
    """

    objective: Objective
    height: int = 4
    compares = True

    @property
    def shown(self) -> bool:
        return self.objective.shown

    @property
    def least(self) -> int:
        return self.objective.least

    @property
    def outputs(self) -> int:
        return self.objective.outputs

    @property
    def clip(self) -> float:
        return self.objective.clip

    @property
    def verdict(self) -> str:
        return self.objective.verdict

    @property
    def penalties(self) -> tuple[Penalty, ...]:
        return self.objective.penalties

    def d(self, real: Scores | Tensor, fake: Scores | Tensor, stats: Stats | None = None) -> Tensor:
        return self.objective.d(real, fake, stats)

    def g(self, fake: Scores | Tensor, real: Scores | Tensor | None = None, stats: Stats | None = None) -> Tensor:
        return feature_matching(self._map(real), self._map(fake))

    def witness(self, points: Scores | Tensor, real: Scores | Tensor, fake: Scores | Tensor) -> Tensor:
        return self.objective.witness(points, real, fake)

    def after(self, stats: Stats) -> None:
        self.objective.after(stats)

    def _map(self, scores: Scores) -> Tensor:
        """Its values in float32, or float64 of float64."""
        heights = {1 if m.dim() == 2 else m.shape[2]: m for m in scores.maps}
        fitting = [height for height in heights if height <= self.height]
        if not fitting:
            raise ValueError(f"height={self.height}: the critic's maps have heights {', '.join(map(str, heights))}")
        found = heights[max(fitting)]
        return found if found.dtype == torch.float64 else found.float()
