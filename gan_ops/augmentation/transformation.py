"""What an augmentation is: numbers drawn for each image, and a differentiable function of images and these numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

Probability = float | Tensor
"""A number, or a 0-d tensor on the device of the generator."""


class Transformation(nn.Module):
    """One kind of change to images.

    All randomness is in :meth:`draw`; :meth:`forward` is a pure function with exact first and second derivatives with
    respect to the images. An image changes by its own row of numbers alone. Nothing is read from the device, and no
    shape depends on what is drawn.

    Args:
        share: what the probability that a change happens is multiplied by, from 0 to 1.
    """

    name: ClassVar[str]
    """Of its numbers."""

    def __init__(self, share: float = 1.0) -> None:
        super().__init__()
        if not 0 <= share <= 1:
            raise ValueError(f"share={share} is not from 0 to 1")
        self.share = share

    def draw(self, shape: Sequence[int], p: Probability, random: torch.Generator) -> Tensor:
        """Numbers [N, …] for images of a shape [N, C, H, W]: as many random ones whatever ``p`` is."""
        raise NotImplementedError

    def forward(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Images [N, C, H, W], changed as the numbers [N, …] say."""
        raise NotImplementedError


class Dice:
    """Random numbers for N images, and whether things happen to them.

    Args:
        count: N.
        p: the probability that something happens.
    """

    def __init__(self, count: int, p: Probability, random: torch.Generator) -> None:
        self._count, self._p, self._random = count, p, random

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """[N, *shape], from low to high."""
        numbers = torch.empty(self._count, *shape, device=self._random.device)
        return numbers.uniform_(low, high, generator=self._random)

    def normal(self, *shape: int) -> Tensor:
        """[N, *shape], standard normal."""
        return torch.randn(self._count, *shape, generator=self._random, device=self._random.device)

    def integer(self, below: int) -> Tensor:
        """[N], float, from 0 to ``below`` − 1."""
        return self.uniform(0, below).floor().clamp_(max=below - 1)

    def or_else(self, numbers: Tensor, neutral: float, p: Probability | None = None) -> Tensor:
        """The numbers [N, …] of those images to which it happens, and ``neutral`` for the others.

        Args:
            p: another probability than that of all.
        """
        dice = self.uniform(0, 1).reshape(-1, *[1] * (numbers.dim() - 1))
        # torch.where would copy the neutral number to the device first.
        return numbers.masked_fill(dice >= (self._p if p is None else p), neutral)
