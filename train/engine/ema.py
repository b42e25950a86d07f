"""Moving averages of networks, which is what samples are drawn from."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from train.engine.player import active_parameters


def averaged_copy(network: nn.Module) -> nn.Module:
    """A copy to hold the average; it starts at the network's own weights."""
    return copy.deepcopy(network).eval().requires_grad_(False)


RUNNING = ("running_mean", "running_var")
"""What torch's norms call the statistics that they use in evaluation."""


@torch.no_grad()
def average(ema: nn.Module, network: nn.Module, weight: float | Tensor) -> None:
    """Moves ``ema`` towards ``network`` by a weight, a number or a 0-d tensor; 1 copies.

    Parameters that are not in use are left alone: they do not move in ``network`` either. Running statistics move as
    the parameters do. Where activations are linear in the weights, the average of their means is the mean that the
    averaged weights give; those of the newest weights are not. Other buffers are copied, such as the vectors of a
    spectral norm, whose averages would be of another length.
    """
    mine, theirs = _moving(ema), _moving(network)
    if isinstance(weight, Tensor):
        step = torch._foreach_sub(theirs, mine)
        torch._foreach_mul_(step, weight)
        torch._foreach_add_(mine, step)
    else:
        torch._foreach_lerp_(mine, theirs, weight)
    for (name, buffer), other in zip(ema.named_buffers(), network.buffers(), strict=True):
        if not _runs(name):
            buffer.copy_(other)


def _moving(network: nn.Module) -> list[Tensor]:
    """Its parameters in use and its running statistics."""
    return [*active_parameters(network), *(buffer for name, buffer in network.named_buffers() if _runs(name))]


def _runs(name: str) -> bool:
    return name.rpartition(".")[2] in RUNNING


def weight_of(images: int, half_life: float) -> float:
    """How far a step that saw so many images moves an average that forgets half in ``half_life`` images (0: copies).

    The half-life in images, instead of a decay per step, keeps its meaning when the batch changes.
    """
    return 1 - (0.5 ** (images / half_life) if half_life else 0.0)
