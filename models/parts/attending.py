"""Attention at chosen heights of convolutional networks."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import nn

from gan_ops.nn import SelfAttention2d
from models.parts.residual import Finish


def attention_after(
    heights: Sequence[int], channels: Sequence[int], at: Collection[int], finish: Finish
) -> nn.ModuleDict:
    """SAGAN's attention (Zhang et al. 2019) after the blocks whose results are so high, by the blocks' numbers.

    Args:
        heights, channels: of the blocks' results.
        at: heights that have attention; each block of such a height gets it.

    Raises:
        ValueError: no block is so high, or has too few channels.
    """
    if missing := sorted(set(at) - set(heights)):
        raise ValueError(f"attention={missing[0]} is not the height of a block: there are {sorted(set(heights))}")
    layers = nn.ModuleDict()
    for i, (height, width) in enumerate(zip(heights, channels, strict=True)):
        if height in at:
            layer = SelfAttention2d(width)
            for name in ("query", "key", "value", "output"):
                setattr(layer, name, finish(getattr(layer, name)))
            layers[str(i)] = layer
    return layers
