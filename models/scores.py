"""What every discriminator gives."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Scores", "widened"]


class Scores(NamedTuple):
    """What a discriminator says about N images."""

    score: Tensor  # [N], float32 (float64 of float64), higher is more real
    class_logits: Tensor | None = None  # [N, num_classes] of one that tells classes apart
    features: Tensor | None = None  # [N, *], activations of the layer that was asked for


def widened(x: Tensor) -> Tensor:
    """float32 of half precision; other types as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
