"""Means over the steps of training that networks use."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MovingMean(nn.Module):
    """A mean that keeps ``beta`` of itself in a step.

    It does not move by itself. A game has it in its ``state`` and moves it once a step, from statistics of all
    microbatches and processes; so a step uses the value before it.

    Attributes:
        mean: a tensor of ``shape``, at first of ``start``.
    """

    mean: Tensor

    def __init__(self, shape: tuple[int, ...], beta: float, start: float = 0.0):
        super().__init__()
        self.beta = beta
        self.register_buffer("mean", torch.full(shape, start))

    @torch.no_grad()
    def move_(self, value: Tensor) -> None:
        """mean ← β·mean + (1 − β)·value."""
        self.mean.lerp_(value.to(self.mean.dtype), 1 - self.beta)

    def extra_repr(self) -> str:
        return f"{list(self.mean.shape)}, beta={self.beta}"
