"""What the metrics take for an image: eight-bit values, from whatever range a network gives."""

from __future__ import annotations

import torch
from torch import Tensor


def quantised(images: Tensor, name: str = "images") -> Tensor:
    """uint8 images as they are; floating-point ones in [−1, 1] as round(clamp(x, −1, 1)·127.5 + 127.5).

    All metrics see images like this, so that a generator's floats count the same as the files that would be saved.

    Args:
        images: [N, 1 or 3, H, W], uint8 or floating-point.

    Raises:
        ValueError: another shape, or values that are NaN.
        TypeError: another dtype.
    """
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"{name} must be [N, 1 or 3, H, W], but its shape is {list(images.shape)}")
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise TypeError(f"{name} must be uint8 or floating-point in [−1, 1], but is {images.dtype}")
    if images.isnan().any():
        raise ValueError(f"{name} must not have NaN in it")
    return (images.detach().float().clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)
