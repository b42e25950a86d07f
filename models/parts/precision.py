"""What networks compute in: half precision where it is wanted, and outputs that are wider."""

from __future__ import annotations

import torch
from torch import Tensor


def widened(x: Tensor) -> Tensor:
    """float32 of half precision; other types as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def computing(x: Tensor, half: bool) -> torch.autocast:
    """A context for the layers that x goes through: autocast, if it is on already and they may be in half precision."""
    device = x.device.type
    return torch.autocast(device, enabled=half and torch.is_autocast_enabled(device))


def entering(x: Tensor, half: bool) -> Tensor:
    """x as layers in :func:`computing` take it: in autocast's type, or widened."""
    device = x.device.type
    if half and torch.is_autocast_enabled(device):
        return x.to(torch.get_autocast_dtype(device))
    return widened(x)
