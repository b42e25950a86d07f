"""Minibatch discrimination: sizes are N, B (kernels) and C (their dimension)."""

from __future__ import annotations

import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.ops.family import Family, Part, cells
from benchmarks.ops.sizes import BF16, ON_GPU, Size

SIZES = (
    [
        Size((8, 20, 5)),
        Size((512, 300, 50)),
        Size((64, 100, 5)),
        Size((256, 100, 16)),
        Size((256, 100, 5)),
        Size((256, 100, 5), dtype=BF16),
    ]
    if ON_GPU
    else [Size((8, 20, 5)), Size((64, 100, 5)), Size((128, 100, 5)), Size((256, 100, 16)), Size((512, 300, 50))]
)
MOST = torch.cuda.get_device_properties(0).total_memory // 16 if ON_GPU else 1 << 30
"""Bytes that [N, N, B, C] may have."""


def distances(m: Tensor) -> Tensor:
    """By torch.cdist, which has a second derivative from torch 2.14 on."""
    rows = m.transpose(0, 1)  # [N, B, C] → [B, N, C]
    return torch.cdist(rows, rows, p=1).neg().exp().sum(dim=2).t()  # [B, N, N] → [N, B]


def can_run(name: str, mode: str, m: Tensor) -> bool:
    """Whether it has the type and the derivative, and memory suffices: some hold [N, N, B, C], several times over for
    derivatives."""
    if name.startswith("cdist") and (m.dtype == BF16 or (mode == "double backward" and torch.__version__ < (2, 14))):
        return False
    holds_differences = {
        "definition": True,
        "compiled": mode != "forward",
        "cdist": mode == "double backward",
        "cdist, compiled": mode == "double backward",
    }
    return not holds_differences.get(name, False) or m.shape[0] * m.nbytes < MOST


def o(m: Tensor) -> int:
    """Bytes of the result."""
    return m.nbytes // m.shape[2]


FAMILY = Family(
    "minibatch_discrimination",
    sizes=SIZES,
    inputs=lambda size: (size.randn(),),
    # Forward reads m and writes o; backward reads g and m, writes dm; double backward reads v, g and m, writes dg and
    # dm.
    traffic=lambda m: (m.nbytes + o(m), 2 * m.nbytes + o(m), 3 * m.nbytes + 2 * o(m)),
    # Each of the three must know every pair's distance and may keep none: N²·B numbers are too many. A distance is C
    # differences, absolute values and sums, and half of the pairs mirror the others.
    operations=lambda m: (3 * m.shape[0] * m.numel() / 2,) * 3,
    rivals={"cdist": distances},
    compiled_rivals=["cdist"],
    can_run=can_run,
)


@cells(FAMILY)
def test_minibatch_discrimination(benchmark: BenchmarkFixture, mode: str, size: Size, part: Part) -> None:
    FAMILY.race(benchmark, mode, size, part)
