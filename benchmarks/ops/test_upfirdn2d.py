"""Resampling by filters: sizes are N, C and H (images are square) of what is resampled.

Layers of StyleGAN 2 and 3 at 32 to 256 pixels, and the RGB images of its skips: enlarged twice and shrunk twice, by 4×4
taps as in StyleGAN2 and by 12 taps along both axes as in StyleGAN3; and filtered by 4×4 taps, as StyleGAN2 does after a
transposed convolution.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.ops.family import Family, Function, Part, cells_of_variants
from benchmarks.ops.sizes import BF16, ON_GPU, Size

SMALL = Size((2, 4, 8))
SIZES = (
    [
        SMALL,
        Size((32, 512, 32)),
        Size((32, 3, 256)),
        Size((32, 128, 128)),
        Size((32, 128, 128), channels_last=True),
        Size((32, 128, 128), channels_last=True, dtype=BF16),
    ]
    if ON_GPU
    else [
        SMALL,
        Size((16, 512, 32)),
        Size((8, 256, 64)),
        Size((8, 256, 64), channels_last=True),
        Size((4, 128, 128)),
        Size((2, 64, 256)),
        Size((8, 3, 128)),
    ]
)
DEFINITION_MOST = 1 << 20
"""Elements of x up to which the definition runs: convolutions of one channel take ten times as long as any rival."""
FEW_SIZES = (
    SIZES if ON_GPU else [SMALL, Size((8, 256, 64)), Size((8, 256, 64), channels_last=True), Size((4, 128, 128))]
)


def inputs(size: Size) -> tuple[Tensor]:
    n, c, pixels = size.numbers
    return (size.randn(n, c, pixels, pixels),)


def square_filter(size: Size) -> tuple[Tensor]:
    taps = torch.tensor([1, 3, 3, 1], dtype=size.dtype)
    return (torch.outer(taps, taps) / 64,)


def long_filter(size: Size) -> tuple[Tensor]:
    taps = torch.tensor([1, 3, 7, 15, 24, 28, 28, 24, 15, 7, 3, 1], dtype=size.dtype)
    return (taps / 156,)


def passes(filter: Tensor) -> list[Tensor]:
    """[K', K] filters to apply one after another. All are symmetric, so that correlation is convolution."""
    return [filter] if filter.dim() == 2 else [filter[:, None], filter[None, :]]


def outer_taps(square: Tensor) -> Tensor:
    """[K] that a symmetric filter [K, K] is the outer product of."""
    return square.sum(0) / square.sum().sqrt()


def depthwise(filter: Tensor, x: Tensor) -> Tensor:
    return filter.to(x.dtype).expand(x.shape[1], 1, *filter.shape)


# ---- Enlarging ----


def up_transposed(x: Tensor, filter: Tensor) -> Tensor:
    """Transposed convolutions of each channel."""
    for each in passes(filter):
        # A factor of 2 for each axis that is enlarged.
        steps, crops = zip(*[(2, k // 2 - 1) if k > 1 else (1, 0) for k in each.shape], strict=True)
        factor = steps[0] * steps[1]
        x = F.conv_transpose2d(x, factor * depthwise(each, x), stride=steps, padding=crops, groups=x.shape[1])
    return x


def up_by_parts(x: Tensor, filter: Tensor) -> Tensor:
    """The same along one axis after another, where the filter is an outer product."""
    return up_transposed(x, outer_taps(filter))


def up_with_zeros(x: Tensor, filter: Tensor) -> Tensor:
    """Zeros between pixels, and convolutions of each channel."""
    n, c, height, width = x.shape
    x = F.pad(x.reshape(n, c, height, 1, width, 1), [0, 1, 0, 0, 0, 1]).reshape(n, c, 2 * height, 2 * width)
    k = filter.shape[-1]
    x = F.pad(4 * x, [k // 2, k // 2 - 1] * 2)
    for each in passes(filter):
        x = F.conv2d(x, depthwise(each, x), groups=c)
    return x


def up_slices(x: Tensor, filter: Tensor) -> Tensor:
    """Sums of shifted slices for odd and for even pixels along one axis after the other, which are then interleaved."""
    taps = 2 * (filter if filter.dim() == 1 else outer_taps(filter))
    half = len(taps) // 2
    for axis in (2, 3):
        size = x.shape[axis]
        before, behind = half // 2, half // 2
        padded = F.pad(x, [0, 0, before, behind] if axis == 2 else [before, behind])
        even = sum(taps[2 * k + half % 2] * padded.narrow(axis, k, size) for k in range(half))
        odd = sum(taps[2 * k + 1 - half % 2] * padded.narrow(axis, k + 1, size) for k in range(half))
        x = torch.stack([even, odd], dim=axis + 1).flatten(axis, axis + 1)
    return x


# ---- Shrinking, and neither ----


def strided(x: Tensor, filter: Tensor, step: int) -> Tensor:
    """Convolutions of each channel, with a stride."""
    k = filter.shape[-1]
    x = F.pad(x, [(k - step + 1) // 2, (k - step) // 2] * 2)
    for each in passes(filter):
        steps = [step if taps > 1 else 1 for taps in each.shape]
        x = F.conv2d(x, depthwise(each, x), stride=steps, groups=x.shape[1])
    return x


def strided_by_parts(x: Tensor, filter: Tensor, step: int) -> Tensor:
    """The same along one axis after another, where the filter is an outer product."""
    return strided(x, outer_taps(filter), step)


def slices(x: Tensor, filter: Tensor, step: int) -> Tensor:
    """Sums of shifted slices along one axis after the other."""
    taps = filter if filter.dim() == 1 else outer_taps(filter)
    k = len(taps)
    x = F.pad(x, [(k - step + 1) // 2, (k - step) // 2] * 2)
    for axis in (2, 3):
        count = (x.shape[axis] - k) // step
        span = count * step + 1
        shifted = [x.narrow(axis, t, span) for t in range(k)]
        shifted = [part[:, :, ::step] if axis == 2 else part[..., ::step] for part in shifted]
        x = sum(tap * part for tap, part in zip(taps, shifted, strict=True))
    return x


def family(
    variant: str,
    filter: Function,
    call: Function,
    larger: float,
    rivals: Mapping[str, Function],
    compiled_rivals: list[str],
    sizes: list[Size],
) -> Family:
    return Family(
        "upfirdn2d",
        sizes=sizes,
        inputs=inputs,
        constants=filter,
        call=call,
        # Forward reads x and writes y; backward reads g and writes dx; double backward reads v and writes its own.
        traffic=lambda x, filter: (x.nbytes * (1 + larger),) * 3,
        rivals=rivals,
        compiled_rivals=compiled_rivals,
        can_run=lambda name, mode, x, *_: name not in ("definition", "compiled") or x.numel() <= DEFINITION_MOST,
        variant=variant,
    )


UP = {"transposed convolutions": up_transposed, "zeros and convolutions": up_with_zeros, "slices": up_slices}
UP4 = {**UP, "transposed convolutions by axes": up_by_parts}


def with_step(step: int, *functions: Function) -> list[Function]:
    return [lambda x, filter, each=each: each(x, filter, step) for each in functions]


def others(step: int, square: bool) -> dict[str, Function]:
    names = ["convolutions", "slices", *(["convolutions by axes"] if square else [])]
    functions = [strided, slices, *([strided_by_parts] if square else [])]
    return dict(zip(names, with_step(step, *functions), strict=True))


UP_4 = family(
    "up=2, 4x4 taps",
    square_filter,
    lambda op, x, f: op(x, f, 2, 1, [2, 1, 2, 1], False, 4.0),
    4,
    UP4,
    ["slices"],
    SIZES,
)
DOWN_4 = family(
    "down=2, 4x4 taps", square_filter, lambda op, x, f: op(x, f, 1, 2, 1), 0.25, others(2, True), ["slices"], SIZES
)
SAME_4 = family(
    "4x4 taps", square_filter, lambda op, x, f: op(x, f, 1, 1, [2, 1, 2, 1]), 1, others(1, True), ["slices"], SIZES
)
UP_12 = family(
    "up=2, 12 taps",
    long_filter,
    lambda op, x, f: op(x, f, 2, 1, [6, 5, 6, 5], False, 4.0),
    4,
    UP,
    ["slices"],
    FEW_SIZES,
)
DOWN_12 = family(
    "down=2, 12 taps", long_filter, lambda op, x, f: op(x, f, 1, 2, 5), 0.25, others(2, False), ["slices"], FEW_SIZES
)


@cells_of_variants(UP_4, DOWN_4, SAME_4, UP_12, DOWN_12)
def test_upfirdn2d(benchmark: BenchmarkFixture, mode: str, size: Size, part: Part, family: Family) -> None:
    family.race(benchmark, mode, size, part)
