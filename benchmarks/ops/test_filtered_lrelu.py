"""StyleGAN3's nonlinearity: sizes are N, C, H (images are square), and the factors up and down.

As in StyleGAN3-T from 32 to 256 pixels: images with their margin of 10 pixels on each side, filters of six taps for
each factor, layers that keep their resolution and layers that double it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.ops.family import Family, Part, cells
from benchmarks.ops.modes import Function
from benchmarks.ops.sizes import BF16, ON_GPU, Size

SIZES = (
    [
        Size((2, 16, 12, 2, 2)),
        Size((32, 512, 36, 2, 2)),
        Size((32, 256, 84, 2, 2)),
        Size((32, 256, 52, 4, 2)),
        Size((32, 128, 148, 2, 2)),
        Size((32, 64, 276, 2, 2), channels_last=True),
        Size((32, 128, 148, 2, 2), channels_last=True, dtype=BF16),
    ]
    if ON_GPU
    else [
        Size((2, 16, 12, 2, 2)),
        Size((8, 512, 36, 2, 2)),
        Size((4, 256, 52, 4, 2)),
        Size((4, 256, 84, 2, 2)),
        Size((4, 256, 84, 2, 2), channels_last=True),
        Size((4, 256, 84, 2, 2), channels_last=True, dtype=BF16),
        Size((4, 128, 148, 2, 2)),
        Size((2, 64, 276, 2, 2)),
    ]
)
TAPS = 6
"""For each factor."""

SLOPE, GAIN, CLAMP = 0.2, 2**0.5, 256.0

DEFINITION_MOST = 1 << 20
"""Elements of x up to which the definition runs: convolutions of one channel take ten times as long as any rival."""


def inputs(size: Size) -> tuple[Tensor, Tensor]:
    n, c, pixels, *_ = size.numbers
    return size.randn(n, c, pixels, pixels), size.randn(c)


def filters(size: Size) -> tuple[Tensor, Tensor]:
    """Low-pass filters for the two factors; symmetric, so that correlation is convolution."""
    windows = (torch.kaiser_window(TAPS * factor + 2, periodic=False)[1:-1] for factor in size.numbers[3:])
    up_filter, down_filter = (size.laid_out(window / window.sum()).to(size.dtype or window.dtype) for window in windows)
    return up_filter, down_filter


def factors(up_filter: Tensor, down_filter: Tensor) -> tuple[int, int]:
    return len(up_filter) // TAPS, len(down_filter) // TAPS


def call(op: Function, x: Tensor, bias: Tensor, up_filter: Tensor, down_filter: Tensor) -> Tensor:
    up, down = factors(up_filter, down_filter)
    before, after = len(up_filter) - 1, len(up_filter) - up  # all that the filter reaches
    padding = [before, after, before, after]
    return op(x, up_filter, down_filter, bias, up, down, padding, GAIN, SLOPE, CLAMP)


def nonlinearity(t: Tensor) -> Tensor:
    return (F.leaky_relu(t, SLOPE) * GAIN).clamp(-CLAMP, CLAMP)


def of_channels(x: Tensor, taps: Tensor) -> Tensor:
    """A kernel [K, K'] for each channel."""
    return taps.expand(x.shape[1], 1, *taps.shape)


def grouped(x: Tensor, bias: Tensor, up_filter: Tensor, down_filter: Tensor) -> Tensor:
    """A transposed convolution and one with a stride, both of a group a channel, with the products of the taps."""
    up, down = factors(up_filter, down_filter)
    c = x.shape[1]
    t = F.conv_transpose2d(
        x + bias[:, None, None], of_channels(x, up**2 * torch.outer(up_filter, up_filter)), stride=up, groups=c
    )
    return F.conv2d(nonlinearity(t), of_channels(x, torch.outer(down_filter, down_filter)), stride=down, groups=c)


def separable(x: Tensor, bias: Tensor, up_filter: Tensor, down_filter: Tensor) -> Tensor:
    """The same, an axis at a time."""
    up, down = factors(up_filter, down_filter)
    c = x.shape[1]
    t = x + bias[:, None, None]
    for taps, stride in ((up_filter[None, :], (1, up)), (up_filter[:, None], (up, 1))):
        t = F.conv_transpose2d(t, of_channels(x, up * taps), stride=stride, groups=c)
    s = nonlinearity(t)
    for taps, stride in ((down_filter[None, :], (1, down)), (down_filter[:, None], (down, 1))):
        s = F.conv2d(s, of_channels(x, taps), stride=stride, groups=c)
    return s


def sizes_of(x: Tensor, up_filter: Tensor, down_filter: Tensor) -> tuple[int, int]:
    """Elements of the enlarged images and of y."""
    up, down = factors(up_filter, down_filter)
    side = (x.shape[2] - 1) * up + len(up_filter)
    out = (side - len(down_filter)) // down + 1
    planes = x.shape[0] * x.shape[1]
    return planes * side * side, planes * out * out


def traffic(x: Tensor, bias: Tensor, up_filter: Tensor, down_filter: Tensor) -> tuple[float, float, float]:
    """Forward reads x and writes y; backward reads g and writes d_x; double backward is forward again. Two bits of each
    enlarged value are written once and read in each of the other two."""
    enlarged, out = sizes_of(x, up_filter, down_filter)
    both = x.nbytes + out * x.element_size()
    return both, both + enlarged / 2, both + enlarged / 4


def operations(x: Tensor, bias: Tensor, up_filter: Tensor, down_filter: Tensor) -> tuple[float, float, float]:
    """Multiply-adds: of each enlarged value an axis at a time, of which the first has fewer values."""
    up, down = factors(up_filter, down_filter)
    enlarged, _ = sizes_of(x, up_filter, down_filter)
    each = len(up_filter) * (1 / up**2 + 1 / up) + len(down_filter) * (1 / down + 1 / down**2)
    return (enlarged * each,) * 3


FAMILY = Family(
    "filtered_lrelu",
    sizes=SIZES,
    inputs=inputs,
    constants=filters,
    call=call,
    traffic=traffic,
    operations=operations,
    rivals={"grouped convolutions": grouped, "separable convolutions": separable},
    compiled_rivals=("grouped convolutions", "separable convolutions"),
    can_run=lambda name, mode, x, *_: name not in ("definition", "compiled") or x.numel() <= DEFINITION_MOST,
)


@cells(FAMILY)
def test_filtered_lrelu(benchmark: BenchmarkFixture, mode: str, size: Size, part: Part) -> None:
    FAMILY.race(benchmark, mode, size, part)
