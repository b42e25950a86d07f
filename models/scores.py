"""What every discriminator gives."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

__all__ = ["Scores"]


class Scores(NamedTuple):
    """What a discriminator says about N images."""

    score: Tensor  # [N], float32 (float64 of float64), higher is more real
    class_logits: Tensor | None = None  # [N, num_classes] of one that tells classes apart
    features: Tensor | None = None  # [N, F], activations of the layer that was asked for
