"""Attention: sizes are batch, heads, queries N, keys M, features E of both and F of values.

A call's cost, TransGAN's of 16 pixels, SAGAN's of 32 pixels and 128 channels with pooled keys, and heads of 32 and of
64 pixels. TransGAN's also with its bias, one for each head, that has a gradient.
"""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.ops.family import Family, Part, cells_of_variants
from benchmarks.ops.sizes import BF16, ON_GPU, Size

SIZES = (
    [
        Size((2, 2, 16, 16, 8, 8)),
        Size((128, 4, 256, 256, 64, 64)),
        Size((16, 4, 4096, 4096, 32, 32)),
        Size((256, 1, 1024, 256, 16, 64)),
        Size((64, 4, 1024, 1024, 64, 64)),
        Size((64, 4, 1024, 1024, 64, 64), dtype=BF16),
    ]
    if ON_GPU
    else [
        Size((2, 2, 16, 16, 8, 8)),
        Size((8, 4, 256, 256, 64, 64)),
        Size((16, 1, 1024, 256, 16, 64)),
        Size((2, 4, 1024, 1024, 32, 32)),
        Size((2, 4, 1024, 1024, 32, 32), dtype=BF16),
        Size((1, 2, 4096, 4096, 32, 32)),
    ]
)


def inputs(size: Size) -> tuple[Tensor, ...]:
    batch, heads, rows, columns, features, of_values = size.numbers
    pairs = (rows, features), (columns, features), (columns, of_values)
    return tuple(size.randn(batch, heads, *shape) for shape in pairs)


def inputs_and_bias(size: Size) -> tuple[Tensor, ...]:
    _, heads, rows, columns, *_ = size.numbers
    return *inputs(size), size.randn(heads, rows, columns)


def by(backend: SDPBackend, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """torch's attention, whose fused kernels want a bias of as many axes as the scores have."""
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(query, key, value, None if bias is None else bias[None])


FUSED = SDPBackend.EFFICIENT_ATTENTION if ON_GPU else SDPBackend.FLASH_ATTENTION
"""torch's kernel for every type and a bias, that of the least memory."""


def traffic(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> tuple[int, int, int]:
    """Forward reads the inputs and writes as much as value times N/M; backward reads that much and the inputs, and
    writes their gradients; double backward reads their cotangents too, and writes the gradients of them all."""
    given = sum(t.nbytes for t in (query, key, value)) + (0 if bias is None else bias.nbytes)
    out = query.nbytes // query.shape[-1] * value.shape[-1]
    return given + out, 2 * given + out, 3 * given + 2 * out


def operations(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> tuple[int, int, int]:
    """The products' multiplications and additions, scores made once: 2 for each score and feature."""
    of_keys = 2 * query.numel() * key.shape[-2]
    of_values = of_keys // query.shape[-1] * value.shape[-1]
    return tuple(of_keys * e + of_values * f for e, f in ((1, 1), (2, 2), (6, 4)))


def can_run(name: str, mode: str, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> bool:
    """The fused kernel wants adjacent features, and has no second derivative. On the CPU it has none to a bias either,
    and values as wide as keys."""
    if name != "fused":
        return True
    if query.stride(-1) != 1 or not (ON_GPU or query.shape[-1] == value.shape[-1]):
        return False
    return mode == "forward" or (mode == "forward+backward" and (ON_GPU or bias is None))


def family(variant: str, sizes: list[Size], tensors: object) -> Family:
    return Family(
        "attention",
        variant=variant,
        sizes=sizes,
        inputs=tensors,
        traffic=traffic,
        operations=operations,
        rivals={"math": partial(by, SDPBackend.MATH), "fused": partial(by, FUSED)},
        compiled_rivals=["math"],
        can_run=can_run,
    )


FAMILY = family("", SIZES, inputs)
WITH_BIAS = family(
    "with bias",
    [SIZES[0], *SIZES[-2:]] if ON_GPU else [SIZES[0], SIZES[1], SIZES[3]],
    inputs_and_bias,
)


@cells_of_variants(FAMILY, WITH_BIAS)
def test_attention(benchmark: BenchmarkFixture, mode: str, size: Size, part: Part, family: Family) -> None:
    family.race(benchmark, mode, size, part)
