"""The sizes that families are measured at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.machine import DEVICE

ON_GPU = DEVICE.type == "cuda"


@dataclass(frozen=True)
class Size:
    """The numbers that a family's inputs are made of: for most a tensor's shape."""

    numbers: tuple[int, ...]
    channels_last: bool = False

    def __str__(self) -> str:
        return "x".join(map(str, self.numbers)) + ("-channels_last" if self.channels_last else "")

    def randn(self, *numbers: int) -> Tensor:
        """A normal tensor of this shape, or of that given, in this layout."""
        format = torch.channels_last if self.channels_last else torch.contiguous_format
        return torch.randn(numbers or self.numbers).contiguous(memory_format=format)


SMALL_MAPS = Size((4, 16, 4, 4))
"""4 kB: what a call costs beside its arithmetic."""

HEAD = Size((64, 512, 4, 4))

# On a GPU the least comes first, and the last is measured first.
FEATURE_MAPS = (
    [
        SMALL_MAPS,
        Size((16, 256, 16, 16)),
        Size((16, 64, 256, 256)),  # this and the next two: 268 MB
        HEAD,
        Size((128, 128, 64, 64), channels_last=True),
        Size((128, 128, 64, 64)),
    ]
    if ON_GPU
    else [
        SMALL_MAPS,
        HEAD,
        Size((16, 256, 16, 16)),
        Size((16, 128, 64, 64)),
        Size((16, 128, 64, 64), channels_last=True),
        Size((4, 64, 256, 256)),
    ]
)
"""PGGAN's layers, from the head to 256 pixels."""

SMALL_IMAGES = Size((4, 3, 16, 16))

IMAGES = (
    [
        SMALL_IMAGES,
        Size((128, 3, 32, 32)),
        Size((16, 3, 256, 256)),
        Size((512, 3, 256, 256), channels_last=True),  # this and the next: 403 MB
        Size((512, 3, 256, 256)),
    ]
    if ON_GPU
    else [
        SMALL_IMAGES,
        Size((128, 3, 32, 32)),
        Size((64, 3, 64, 64)),
        Size((64, 3, 64, 64), channels_last=True),
        Size((32, 3, 128, 128)),
        Size((16, 3, 256, 256)),
    ]
)
"""Batches of images, for the ops that see images and gradients to them."""
