"""Between stored pixels (uint8, 0..255) and the network's range (float, -1..1)."""

from __future__ import annotations

import torch
from torch import Tensor


def to_float(pixels: Tensor) -> Tensor:
    """uint8 of any shape → float32 in [-1, 1]: x / 127.5 - 1."""
    if pixels.dtype != torch.uint8:
        raise TypeError(f"pixels must be uint8, not {pixels.dtype}")
    return pixels.to(torch.float32) / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """Floats of any shape → uint8: round(clamp(x, -1, 1)·127.5 + 127.5), the exact inverse of `to_float`."""
    if not images.is_floating_point():
        raise TypeError(f"images must be floating point, not {images.dtype}")
    # In float32 whatever comes in: bfloat16 cannot tell neighbouring values near 1 apart.
    return (images.to(torch.float32).clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)
