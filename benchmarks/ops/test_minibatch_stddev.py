"""Minibatch stddev, in groups of four."""

from __future__ import annotations

import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.ops.family import Family, Part, cells
from benchmarks.ops.sizes import BF16, FEATURE_MAPS, ON_GPU, Size

GROUP, EPS = 4, 1e-8
# Its place.
HEADS = [
    Size((16, 512, 4, 4)),
    Size((64, 512, 4, 4), channels_last=True),
    Size((64, 512, 4, 4), channels_last=True, dtype=BF16),
]
SIZES = [FEATURE_MAPS[0], *HEADS, *FEATURE_MAPS[1:]] if ON_GPU else [*FEATURE_MAPS, *HEADS]


def centred(x: Tensor) -> Tensor:
    """As PGGAN's code has it: deviations from the mean, squared and averaged."""
    n, _, h, w = x.shape
    groups = x.reshape(GROUP, n // GROUP, -1)  # [G, M, C·H·W]
    deviation = groups - groups.mean(dim=0, keepdim=True)
    stddev = deviation.square().mean(dim=0).add(EPS).sqrt().mean(dim=1)  # → [M]
    maps = stddev.repeat(GROUP).view(n, 1, 1, 1).expand(n, 1, h, w)  # → [N, 1, H, W]
    return torch.cat([x, maps], dim=1)


FAMILY = Family(
    "minibatch_stddev",
    sizes=SIZES,
    inputs=lambda size: (size.randn(),),
    # Forward reads x and writes it again; backward reads g and x, writes dx; double backward reads v and x and writes
    # dg and dx. Of g it needs the maps alone, and maps are left out of account.
    traffic=lambda x: (2 * x.nbytes, 3 * x.nbytes, 4 * x.nbytes),
    call=lambda op, x: op(x, GROUP, 1, EPS),
    rivals={"centred squares": centred},
    compiled_rivals=["centred squares"],
)


@cells(FAMILY)
def test_minibatch_stddev(benchmark: BenchmarkFixture, mode: str, size: Size, part: Part) -> None:
    FAMILY.race(benchmark, mode, size, part)
