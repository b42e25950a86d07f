"""Grids of latents in which one code of an InfoGAN changes and the others do not (Chen et al. 2016, figure 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from models.parts.codes import Codes
from train.base.errors import UsageError

REACH = 2.0  # that continuous codes go beyond what they are trained on, which is 1


def code_walk(codes: Codes, number: int, z: Tensor, columns: int) -> Tensor:
    """Latents with their codes, as :meth:`Codes.placed` gives them, for a grid of ``columns``: [rows · columns, L].

    Codes have numbers from 1, categorical ones first. Rows go through the categories of one, and each column is the
    same otherwise. A continuous one goes from −2 to 2 along each row, and rows go through the categories of the first.

    Args:
        z: latents [rows · columns, L].

    Raises:
        UsageError: if there is no such code.
    """
    count = len(codes.categorical) + codes.continuous
    if not 1 <= number <= count:
        raise UsageError(f"codes={number}: " + (f"there are codes 1 to {count}" if count else "latents have no codes"))
    placed = codes.placed(z)
    row = torch.arange(len(z), device=z.device) // columns
    column = torch.arange(len(z), device=z.device) % columns
    if number <= len(codes.categorical):
        return codes.with_category(placed[column], number - 1, row % codes.categorical[number - 1])
    placed = placed[row * columns]
    if codes.categorical:
        placed = codes.with_category(placed, 0, row % codes.categorical[0])
    numbers = torch.linspace(-REACH, REACH, columns, device=z.device)[column]
    return codes.with_number(placed, number - 1 - len(codes.categorical), numbers)
