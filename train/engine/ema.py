"""The averaged generator, which is what samples are drawn from."""

from __future__ import annotations

import copy

import torch
from torch import nn


def averaged_copy(network: nn.Module) -> nn.Module:
    """A copy to hold the average; it starts at the network's own weights."""
    return copy.deepcopy(network).eval().requires_grad_(False)


@torch.no_grad()
def average(ema: nn.Module, network: nn.Module, batch: int, half_life: float) -> None:
    """Moves ``ema`` towards ``network`` after a step that saw ``batch`` images; ``half_life`` images halve what was.

    The half-life in images, instead of a decay per step, keeps its meaning when the batch changes. Parameters that are
    not in use are left alone: they do not move in ``network`` either. ``half_life`` 0 copies.
    """
    decay = 0.5 ** (batch / half_life) if half_life else 0.0
    torch._foreach_lerp_(ema.active_parameters(), network.active_parameters(), 1 - decay)
    for mine, theirs in zip(ema.buffers(), network.buffers(), strict=True):
        mine.copy_(theirs)
