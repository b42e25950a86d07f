"""What cannot fit into a machine's memory, told before it is tried."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import torch
from torch import nn

from train.base.errors import UsageError


def check_fits(size: int, device: torch.device, what: str) -> None:
    """UsageError that begins with ``what`` if that alone takes more bytes than the device has memory in all."""
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
    else:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        raise UsageError(f"{what}: that takes {size / 1e9:.4g} GB at least, and {device} has {memory / 1e9:.4g} GB")


def check_networks(build: Callable[[], Iterable[nn.Module]], device: torch.device, what: str) -> None:
    """UsageError if the networks that ``build`` makes, each parameter with its gradient and Adam's two means, do not
    fit. Nothing is allocated: they are built of torch's meta tensors."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        size = sum(p.numel() * p.element_size() for network in build() for p in network.parameters())
    check_fits(4 * size, device, what)
