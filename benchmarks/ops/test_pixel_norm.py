"""Pixel norm."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.ops.family import Family, Part, cells
from benchmarks.ops.sizes import FEATURE_MAPS, Size

EPS = 1e-8


def fused_norm(x: Tensor) -> Tensor:
    """With ATen's norm of one pass, which has no square to keep."""
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)  # [N, C, H, W] → [N, 1, H, W]
    return x * torch.rsqrt(norm.square() / x.shape[1] + EPS)


def rms_norm(x: Tensor) -> Tensor:
    """torch's own, over the last axis: one kernel where the channels are adjacent in memory."""
    return F.rms_norm(x.permute(0, 2, 3, 1), (x.shape[1],), eps=EPS).permute(0, 3, 1, 2)


FAMILY = Family(
    "pixel_norm",
    sizes=FEATURE_MAPS,
    inputs=lambda size: (size.randn(),),
    # Forward reads x and writes y; backward reads g and x, writes dx; double backward reads v, g and x, writes dg and
    # dx. One scale a pixel is left out of account.
    traffic=lambda x: (2 * x.nbytes, 3 * x.nbytes, 5 * x.nbytes),
    rivals={"vector_norm": fused_norm, "F.rms_norm": rms_norm},
)


@cells(FAMILY)
def test_pixel_norm(benchmark: BenchmarkFixture, mode: str, size: Size, part: Part) -> None:
    FAMILY.race(benchmark, mode, size, part)
