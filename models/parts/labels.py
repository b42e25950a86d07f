"""Labels as networks take them."""

from __future__ import annotations

import torch
from torch import Tensor


def one_hot(labels: Tensor | None, num_classes: int, like: Tensor) -> Tensor:
    """labels int64 [N] → [N, num_classes] in the type and on the device of ``like`` [N, …].

    The range is checked on CPU alone, since reading labels on the host waits for the device; on CUDA a label out of
    range trips the device's own assertion.

    Raises:
        ValueError: there are no labels, or not one for each of ``like``, or one is out of range.
        TypeError: they are not int64.
    """
    if labels is None:
        raise ValueError(f"labels are needed by a network with num_classes={num_classes}")
    if labels.dtype != torch.int64:
        raise TypeError(f"labels are {labels.dtype}, not torch.int64")
    n = like.shape[0]
    if labels.shape != (n,):
        raise ValueError(f"labels are {list(labels.shape)}, not [{n}]")
    if labels.device.type == "cpu" and not torch.compiler.is_compiling() and n:
        _check_range(labels, num_classes)
    return like.new_zeros(n, num_classes).scatter_(1, labels[:, None], 1.0)


def with_planes(x: Tensor, labels: Tensor | None, num_classes: int) -> Tensor:
    """Maps x [N, C, H, W] and a plane for each class, which is 1 for the image's own: [N, C + num_classes, H, W]."""
    planes = one_hot(labels, num_classes, x)[:, :, None, None]
    return torch.cat((x, planes.expand(-1, -1, *x.shape[2:])), dim=1)


def _check_range(labels: Tensor, num_classes: int) -> None:
    low, high = torch.aminmax(labels)
    if low < 0 or high >= num_classes:
        raise ValueError(f"labels reach from {int(low)} to {int(high)}, outside 0 to {num_classes - 1}")
