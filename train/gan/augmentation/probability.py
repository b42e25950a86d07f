"""How probable augmentations are: along a plan, or as overfitting asks (ADA, Karras et al. 2020, section 3.1)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from train.engine.curve import Cosine
from train.engine.game import Stats
from train.engine.schedule import Position

Statistic = Literal["sign", "held-out"]
INTERVAL = 4
"""Steps between adjustments (ADA, Karras et al. 2020, section 3.1)."""


class Probability:
    """What every choice of p has.

    Attributes:
        state: what it remembers between steps; None for nothing.
    """

    state: nn.Module | None = None

    def at(self, at: Position) -> float | Tensor:
        """p in a step: a number, or a 0-d tensor on the device."""
        raise NotImplementedError

    def arrange(self, shown: int) -> None:
        """When a phase begins, whose steps show D so many images."""

    def after(self, stats: Stats) -> None:
        """Once a step, with what the losses reported."""


class Planned(Probability):
    """By the images shown alone."""

    def __init__(self, curve: Cosine) -> None:
        self._curve = curve

    def at(self, at: Position) -> float:
        return self._curve.at(at.images)


class Adaptive(Probability):
    """From 0 up and down, every 4 steps by the images that these have shown / ``images``, in [0, 1]: up where a
    measure of overfitting r is above its target.

    The measure of 4 steps is one of two:

    - "sign": r_t = E[sign s(x)], of the scores of the images that D learns from. They must have a zero.
    - "held-out": r_v = (E[s(x)] − E[s(x')])/(E[s(x)] − E[s(G(z))]), where x' are images that D does not learn from.
      Where generated images have the higher scores there is no such r, and p goes down.

    Args:
        target: of r.
        images: in which p would go from 0 to 1.
    """

    def __init__(self, statistic: Statistic, target: float, images: float, device: torch.device) -> None:
        self.statistic, self.target, self.images = statistic, target, images
        self._shown = 0
        self.state = nn.Module()
        for name in ("p", "above", "below", "steps"):
            self.state.register_buffer(name, torch.zeros((), device=device))

    def at(self, at: Position) -> Tensor:
        return self.state.p

    def arrange(self, shown: int) -> None:
        self._shown = shown

    def after(self, stats: Stats) -> None:
        state = self.state
        if self.statistic == "sign":
            above, below = stats["real_sign"], torch.ones_like(stats["real_sign"])
        else:
            above = stats["real_score"] - stats["held_out_score"]
            below = stats["real_score"] - stats["fake_score"]
        state.above.add_(above)
        state.below.add_(below)
        state.steps.add_(1)
        due = (state.steps >= INTERVAL).float()
        direction = torch.sign(state.above - self.target * state.below)
        direction = torch.where(state.below > 0, direction, torch.full_like(direction, -1.0))
        state.p.add_(due * direction * (INTERVAL * self._shown / self.images)).clamp_(0, 1)
        for total in (state.above, state.below, state.steps):
            total.mul_(1 - due)
