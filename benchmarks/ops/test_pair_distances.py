"""Distances of all pairs: sizes are N, M and D.

16 features are a critic's vector scores, 768 and 3072 images of 16 and of 32 pixels in three colours. Batches to train
on have up to 256 samples.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.ops.family import Family, Part, cells_of_variants
from benchmarks.ops.sizes import BF16, ON_GPU, Size

SIZES = (
    [
        Size((64, 64, 16)),
        Size((4096, 4096, 16)),
        Size((64, 64, 3072)),
        Size((256, 256, 16)),
        Size((1024, 1024, 768)),
        Size((256, 256, 3072)),
        Size((256, 256, 3072), dtype=BF16),
    ]
    if ON_GPU
    else [
        Size((64, 64, 16)),
        Size((256, 256, 16)),
        Size((1024, 1024, 16)),
        Size((4096, 4096, 16)),
        Size((64, 64, 768)),
        Size((256, 256, 768)),
        Size((1024, 1024, 768)),
        Size((64, 64, 3072)),
        Size((256, 256, 3072)),
    ]
)
BYTES = torch.cuda.get_device_properties(0).total_memory if ON_GPU else 1 << 32
"""That [N, M, D] may have for a rival that goes through it, a difference after another."""
HELD = BYTES // 16
"""And for one that holds it, several times over for derivatives."""
WRITTEN_OUT = HELD if ON_GPU else 1 << 24
"""And for the definition, which holds as much in the forward pass too, and for what is compiled."""


def products(x: Tensor, y: Tensor) -> Tensor:
    """‖x‖² + ‖y‖² − 2 x·y, a matrix product; close samples lose their digits."""
    norms = x.square().sum(1)[:, None] + y.square().sum(1)[None]  # [N, D], [M, D] → [N, M]
    return norms.addmm(x, y.T, alpha=-2).clamp_min(0)


def roots(x: Tensor, y: Tensor) -> Tensor:
    """Its root, with slope 0 at 0."""
    square = products(x, y)
    zero = square == 0
    return (square + zero).sqrt().masked_fill(zero, 0.0)


def cdist(p: float) -> Callable[[Tensor, Tensor], Tensor]:
    """torch.cdist; it takes l2 by a product too. It has second derivatives from torch 2.14 on."""
    return lambda x, y: torch.cdist(x, y, p=p)


def can_run(name: str, mode: str, x: Tensor, y: Tensor) -> bool:
    """Whether it has the type and the derivative, and whether time and memory suffice."""
    differences = len(x) * y.nbytes
    if name.startswith("cdist"):
        second = mode == "double backward"
        if x.dtype == BF16 or (second and torch.__version__ < (2, 14)):
            return False
        return differences < (HELD if second else BYTES)
    return name == "products" or differences < WRITTEN_OUT


def family(metric: str, rivals: dict[str, Callable[[Tensor, Tensor], Tensor]]) -> Family:
    def o(x: Tensor, y: Tensor) -> int:
        """Bytes of the result."""
        return len(x) * len(y) * (8 if x.dtype == torch.float64 else 4)

    return Family(
        "pair_distances",
        sizes=SIZES,
        inputs=lambda size: (
            size.randn(size.numbers[0], size.numbers[2]),
            size.randn(size.numbers[1], size.numbers[2]),
        ),
        # Forward reads x and y and writes o; backward reads g, x and y (for l2 o too) and writes both gradients; double
        # backward reads two cotangents as well, and writes g's gradient.
        traffic=lambda x, y: tuple(
            passes * (x.nbytes + y.nbytes) + of_pairs * o(x, y) for passes, of_pairs in ((1, 1), (2, 1), (3, 2))
        ),
        # For each of N·M·D differences: subtract and add up; for each gradient the same again; in the double backward
        # the difference of cotangents too, and for l2 and its square once more for each gradient.
        operations=lambda x, y: tuple(
            count * len(x) * y.numel() for count in ((2, 4, 3) if metric == "l1" else (2, 4, 7))
        ),
        call=lambda op, x, y: op(x, y, metric),
        rivals=rivals,
        compiled_rivals=[name for name in rivals if name == "products"],
        can_run=can_run,
        variant=metric,
    )


L1 = family("l1", {"cdist": cdist(1.0)})
L2 = family("l2", {"cdist": cdist(2.0), "products": roots})
SQUARED = family("squared", {"cdist": lambda x, y: torch.cdist(x, y).square(), "products": products})


@cells_of_variants(L1, L2, SQUARED)
def test_pair_distances(benchmark: BenchmarkFixture, mode: str, size: Size, part: Part, family: Family) -> None:
    family.race(benchmark, mode, size, part)
