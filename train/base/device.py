"""Which device a run uses, and how it behaves there."""

from __future__ import annotations

import torch

from train.base import processes
from train.base.errors import UsageError


def resolve_device(name: str) -> torch.device:
    """``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``; UsageError for anything else or absent. With
    several processes ``cuda`` is another GPU for each."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UsageError(f"device={name!r} is not one of auto, cpu, cuda, cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device={name!r}: torch sees {torch.cuda.device_count()} CUDA devices here")
    if device.type == "cuda" and processes.size() > 1:
        return _own_gpu(name, device)
    return device


def _own_gpu(name: str, device: torch.device) -> torch.device:
    """The GPU of this one of several processes, which becomes torch's default: NCCL sends from there."""
    here, there = processes.on_this_machine(), torch.cuda.device_count()
    if device.index is not None:
        raise UsageError(f"device={name!r}: several processes have a GPU each, which --device cuda chooses")
    if there < here:
        raise UsageError(f"{here} processes on this machine need a GPU each, and torch sees {there}")
    device = torch.device("cuda", processes.local_rank())
    torch.cuda.set_device(device)
    return device


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 faster than float32, and not by way of it."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.cpu._is_avx512_bf16_supported()  # torch has no public question for this before 2.12


def resolve_precision(name: str, device: torch.device) -> str:
    """``auto`` is bf16 where the device has it, else float32."""
    if name != "auto":
        return name
    return "bf16" if has_bf16(device) else "float32"


def set_determinism(deterministic: bool) -> None:
    """Repeatable convolution algorithms on a GPU, or the fastest; on the CPU all are repeatable."""
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic


def describe(device: torch.device) -> str:
    """One line for the log."""
    if device.type == "cuda":
        return f"torch {torch.__version__} on {torch.cuda.get_device_name(device)}{_times()}"
    threads = torch.get_num_threads()
    return f"torch {torch.__version__} on {threads} CPU {'thread' if threads == 1 else 'threads'}{_times()}"


def _times() -> str:
    return f" in each of {processes.size()} processes" if processes.size() > 1 else ""
