"""Which device a run uses, and how it behaves there."""

from __future__ import annotations

import torch

from train.errors import UsageError


def resolve_device(name: str) -> torch.device:
    """``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``; UsageError for anything else or absent."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"device={name!r} is none of auto, cpu, cuda, cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device={name!r} is none of auto, cpu, cuda, cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device={name!r}: torch sees {torch.cuda.device_count()} CUDA devices here")
    return device


def set_determinism(deterministic: bool) -> None:
    """Repeatable convolution algorithms on a GPU, or the fastest; on the CPU all are repeatable."""
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic


def describe(device: torch.device) -> str:
    """One line for the log."""
    if device.type == "cuda":
        return f"torch {torch.__version__} on {torch.cuda.get_device_name(device)}"
    return f"torch {torch.__version__} on {torch.get_num_threads()} CPU threads"
