"""Minibatches that are interleaved, for layers that must see each alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def one_by_one(
    network: Callable[..., tuple[Tensor, ...]], x: Tensor, batches: int, *more: Tensor | None
) -> tuple[Tensor, ...]:
    """What a network gives of each of ``batches`` minibatches by itself, interleaved as they are in x [N, *]: sample n
    belongs to minibatch n mod ``batches``. It is given ``more`` too, labels [N] or None."""
    if batches == 1:
        return network(x, *more)

    def part(i: int) -> tuple[Tensor, ...]:
        return network(x[i::batches], *(None if one is None else one[i::batches] for one in more))

    apart = zip(*map(part, range(batches)), strict=True)
    return tuple(torch.stack(some, 1).flatten(0, 1) for some in apart)  # batches × [n, …] → [N, …]
