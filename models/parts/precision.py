"""Outputs are wider than what networks compute in."""

from __future__ import annotations

import torch
from torch import Tensor


def widened(x: Tensor) -> Tensor:
    """float32 of half precision; other types as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
