"""The sizes that families are measured at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.machine import DEVICE

ON_GPU = DEVICE.type == "cuda"
BF16 = torch.bfloat16
NAMES = {BF16: "bf16"}


@dataclass(frozen=True)
class Size:
    """The numbers that a family's inputs are made of, for most a tensor's shape, and the inputs' layout and type.

    Its name, which tables have, says the layout and the type where they are not contiguous and torch's default,
    float32.
    """

    numbers: tuple[int, ...]
    channels_last: bool = False
    dtype: torch.dtype | None = None

    def __str__(self) -> str:
        layout, kind = "-channels_last" if self.channels_last else "", f"-{NAMES[self.dtype]}" if self.dtype else ""
        return "x".join(map(str, self.numbers)) + layout + kind

    def randn(self, *numbers: int) -> Tensor:
        """A normal tensor of this shape, or of that given, in this type, and with four axes in this layout."""
        return self.laid_out(torch.randn(numbers or self.numbers, dtype=self.dtype))

    def rand(self, *numbers: int) -> Tensor:
        """The same with values from 0 to 1."""
        return self.laid_out(torch.rand(numbers or self.numbers, dtype=self.dtype))

    def laid_out(self, tensor: Tensor) -> Tensor:
        lasting = self.channels_last and tensor.dim() == 4
        return tensor.contiguous(memory_format=torch.channels_last) if lasting else tensor


SMALL_MAPS = Size((4, 16, 4, 4))
"""4 kB: what a call costs beside its arithmetic."""

HEAD = Size((64, 512, 4, 4))

# On a GPU the least comes first, and the last is measured first: what a GPU trains in, bf16 in channels_last.
FEATURE_MAPS = (
    [
        SMALL_MAPS,
        Size((16, 256, 16, 16)),
        Size((16, 64, 256, 256)),  # this and all of 64 pixels: 268 MB
        HEAD,
        Size((128, 128, 64, 64)),
        Size((16, 256, 16, 16), channels_last=True, dtype=BF16),
        Size((128, 128, 64, 64), channels_last=True),
        Size((256, 128, 64, 64), channels_last=True, dtype=BF16),
    ]
    if ON_GPU
    else [
        SMALL_MAPS,
        HEAD,
        Size((16, 256, 16, 16)),
        Size((16, 128, 32, 32)),
        Size((16, 128, 64, 64)),
        Size((16, 128, 64, 64), channels_last=True),
        Size((16, 128, 64, 64), channels_last=True, dtype=BF16),
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
        Size((512, 3, 256, 256)),  # this and the next two: 403 MB
        Size((512, 3, 256, 256), channels_last=True),
        Size((1024, 3, 256, 256), channels_last=True, dtype=BF16),
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
