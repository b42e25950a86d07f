"""Convolution: sizes are N, C_in, C_out, H (images are square), K (kernels too) and groups.

The layers of PGGAN at 16 and 64 pixels, a convolution of one pixel, and R3GAN's grouped ones, of 16 groups at 16 pixels
and as many as its generator has at 32.
"""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.ops.family import Family, Part, cells
from benchmarks.ops.sizes import BF16, ON_GPU, Size


def groups_of(x: Tensor, weight: Tensor) -> int:
    return x.shape[1] // weight.shape[1]


def padding_of(weight: Tensor) -> int:
    return weight.shape[2] // 2


SIZES = (
    [
        Size((4, 16, 16, 4, 3, 1)),
        Size((16, 512, 512, 16, 3, 1)),
        Size((32, 384, 384, 32, 3, 24), channels_last=True, dtype=BF16),
        Size((32, 384, 384, 32, 3, 24)),
        Size((32, 128, 128, 64, 3, 1), channels_last=True),
        Size((32, 128, 128, 64, 3, 1), channels_last=True, dtype=BF16),
    ]
    if ON_GPU
    else [
        Size((4, 16, 16, 4, 3, 1)),
        Size((16, 128, 128, 16, 3, 1)),
        Size((16, 64, 64, 32, 1, 1)),
        Size((4, 32, 32, 64, 3, 1)),
        Size((16, 256, 256, 16, 3, 16)),
        Size((8, 192, 192, 32, 3, 12)),
    ]
)


def inputs(size: Size) -> tuple[Tensor, Tensor]:
    n, channels_in, channels_out, pixels, kernel, groups = size.numbers
    weight = size.randn(channels_out, channels_in // groups, kernel, kernel)
    return size.randn(n, channels_in, pixels, pixels), weight


def multiplications(x: Tensor, weight: Tensor) -> int:
    """N·C_out·H·W·(C_in / groups)·K²; images keep their size."""
    return len(x) * x[0, 0].numel() * weight.numel()


FAMILY = Family(
    "conv2d",
    sizes=SIZES,
    inputs=inputs,
    # Forward reads x and w and writes y, here as large as x; backward reads g, x and w and writes both gradients;
    # double backward reads both cotangents, g, x and w, and writes three gradients.
    traffic=lambda x, weight: (
        2 * x.nbytes + weight.nbytes,
        3 * x.nbytes + 2 * weight.nbytes,
        5 * x.nbytes + 3 * weight.nbytes,
    ),
    # A convolution multiplies and adds. There are one forward and two backward; in the double backward two for g, and
    # one each for x and w.
    operations=lambda x, weight: tuple(2 * count * multiplications(x, weight) for count in (1, 2, 4)),
    call=lambda op, x, weight: op(x, weight, None, padding_of(weight), groups_of(x, weight)),
)


@cells(FAMILY)
def test_conv2d(benchmark: BenchmarkFixture, mode: str, size: Size, part: Part) -> None:
    FAMILY.race(benchmark, mode, size, part)
