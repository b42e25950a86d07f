"""The types that sums are taken in: float64 for float64, float32 for everything narrower. And the words of options."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, dtype, float32, float64

GridMode = Literal["bilinear", "nearest"]
GridPadding = Literal["zeros", "border", "reflection"]


def accumulate_type(x: Tensor) -> dtype:
    """The type that sums over x are taken in; the same as in csrc/common.h."""
    return float64 if x.dtype == float64 else float32


def accumulable(x: Tensor) -> Tensor:
    """x in that type."""
    return x.to(accumulate_type(x))
