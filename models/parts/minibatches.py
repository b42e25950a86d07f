"""Minibatches that are interleaved, for layers that must see each alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def one_by_one(network: Callable[[Tensor], tuple[Tensor, ...]], x: Tensor, batches: int) -> tuple[Tensor, ...]:
    """What a network gives of each of ``batches`` minibatches by itself, interleaved as they are in x [N, *]: sample n
    belongs to minibatch n mod ``batches``."""
    if batches == 1:
        return network(x)
    apart = zip(*(network(x[i::batches]) for i in range(batches)), strict=True)
    return tuple(torch.stack(some, 1).flatten(0, 1) for some in apart)  # batches × [n, …] → [N, …]
