"""Moving averages of networks, which is what samples are drawn from."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from train.engine.player import active_parameters


def averaged_copy(network: nn.Module) -> nn.Module:
    """A copy to hold the average; it starts at the network's own weights."""
    return copy.deepcopy(network).eval().requires_grad_(False)


@torch.no_grad()
def average(ema: nn.Module, network: nn.Module, weight: float | Tensor) -> None:
    """Moves ``ema`` towards ``network`` by a weight, a number or a 0-d tensor; 1 copies.

    Parameters that are not in use are left alone: they do not move in ``network`` either.
    """
    mine, theirs = active_parameters(ema), active_parameters(network)
    if isinstance(weight, Tensor):
        step = torch._foreach_sub(theirs, mine)
        torch._foreach_mul_(step, weight)
        torch._foreach_add_(mine, step)
    else:
        torch._foreach_lerp_(mine, theirs, weight)
    for buffer, other in zip(ema.buffers(), network.buffers(), strict=True):
        buffer.copy_(other)


def weight_of(images: int, half_life: float) -> float:
    """How far a step that saw so many images moves an average that forgets half in ``half_life`` images (0: copies).

    The half-life in images, instead of a decay per step, keeps its meaning when the batch changes.
    """
    return 1 - (0.5 ** (images / half_life) if half_life else 0.0)
