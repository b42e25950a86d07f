"""What no implementation can beat: the memory's speed and the arithmetic units', measured beside it."""

from __future__ import annotations

import torch

from benchmarks.machine import DEVICE
from benchmarks.ops.modes import Call

SIDE = 4096 if DEVICE.type == "cuda" else 1024
"""Of the matrices whose product shows the peak: large enough for it."""


def copy(nbytes: int, piece: int) -> Call:
    """Reads and writes ``nbytes`` altogether, as copies of ``piece`` bytes each, the size of the op's tensors.

    The copies go to newly allocated memory, as an op's results do.
    """
    pieces = torch.rand(max(1, nbytes // 8), dtype=torch.float32, device=DEVICE).split(max(1, piece // 4))
    return lambda: [tensor.clone() for tensor in pieces]


def operations(count: float) -> tuple[Call, float]:
    """A call, and the share of it that takes as long as ``count`` simple operations at the measured peak.

    The peak is a large float32 matrix product's: in it every vector instruction is a multiply-add, and processors issue
    additions, differences and absolute values at the rate of multiply-adds, not faster. SIDE³ multiply-adds thus stand
    for SIDE³ operations.
    """
    a, b = torch.randn(2, SIDE, SIDE, dtype=torch.float32, device=DEVICE)
    return lambda: a @ b, count / SIDE**3
