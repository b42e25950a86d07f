"""Images sampled at the points of a warp, near one another, and at points anywhere, the worst that caches can meet."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

import gan_ops
from benchmarks.ops.family import Family, Part, cells_of_variants
from benchmarks.ops.sizes import BF16, ON_GPU, Size

SIZES = (
    [
        Size((2, 3, 8, 8)),
        Size((16, 32, 16, 32, 32)),
        Size((16, 64, 64, 64)),
        Size((64, 3, 256, 256)),
        Size((64, 64, 128, 128)),
        Size((64, 64, 128, 128), channels_last=True),
        Size((64, 64, 128, 128), channels_last=True, dtype=BF16),
    ]
    if ON_GPU
    else [
        Size((2, 3, 8, 8)),
        Size((4, 16, 16, 32, 32)),
        Size((16, 3, 256, 256)),
        Size((16, 64, 64, 64)),
        Size((16, 64, 64, 64), channels_last=True),
        Size((16, 64, 64, 64), channels_last=True, dtype=BF16),
    ]
)
"""Images that augmentations warp, feature maps, and volumes; as many points as pixels."""


def warped(size: Size) -> tuple[Tensor, Tensor]:
    """With the points [N, P, axes] of some affine maps near the identical one."""
    n, _, *pixels = size.numbers
    axes = len(pixels)
    theta = torch.eye(axes, axes + 1) + 0.1 * torch.randn(n, axes, axes + 1)
    return size.randn(), gan_ops.affine_grid(theta, size.numbers).flatten(1, -2).to(size.dtype)


def scattered(size: Size) -> tuple[Tensor, Tensor]:
    """With random points [N, P, axes]."""
    n, _, *pixels = size.numbers
    return size.randn(), 2 * torch.rand(n, math.prod(pixels), len(pixels), dtype=size.dtype) - 1


def grid_of(input: Tensor, points: Tensor) -> Tensor:
    """As many points as pixels, in their places."""
    return points.view(len(input), *input.shape[2:], -1)


def traffic(input: Tensor, points: Tensor) -> tuple[int, int, int]:
    """Forward reads input and points and writes as much; backward reads g, input and points, writes both gradients;
    double backward reads two cotangents, g, input and points, and writes three gradients. With as many pixels as
    points, g and y are as large as input."""
    return 2 * input.nbytes + points.nbytes, 3 * input.nbytes + 2 * points.nbytes, 5 * input.nbytes + 3 * points.nbytes


def torch_s_own(input: Tensor, points: Tensor) -> Tensor:
    """It has second derivatives from torch 2.12 on."""
    return F.grid_sample(input, grid_of(input, points), align_corners=False)


def as_written(input: Tensor, points: Tensor) -> Tensor:
    """By indices, as code that needs second derivatives does it: corners clamped into the image, weights outside 0."""
    n, c, *pixels = input.shape
    flat = input.flatten(2)  # [N, C, H·W]
    sizes = points.new_tensor(pixels[::-1])
    u = ((points + 1) * sizes - 1) / 2
    base = u.detach().floor()
    y = flat.new_zeros(n, c, points.shape[1])
    for k in range(2 ** len(pixels)):
        side = torch.tensor([k >> a & 1 for a in range(len(pixels))], device=u.device)
        at = base + side
        share = torch.where(side == 1, u - base, 1 - (u - base)).prod(-1)  # [N, P]
        share = share * ((at >= 0) & (at < sizes)).all(-1)
        index = torch.minimum(at.clamp(min=0), sizes - 1).long()
        place = index[..., -1]
        for a in reversed(range(len(pixels) - 1)):
            place = place * pixels[-1 - a] + index[..., a]
        y = y + flat.gather(2, place[:, None].expand(n, c, -1)) * share[:, None]
    return y.view(input.shape)


def can_run(name: str, mode: str, *_: Tensor) -> bool:
    return name != "torch's own" or mode != "double backward" or torch.__version__ >= (2, 12)


def family(variant: str, sizes: list[Size]) -> Family:
    return Family(
        "grid_sample",
        sizes=sizes,
        inputs={"warped": warped, "scattered": scattered}[variant],
        traffic=traffic,
        call=lambda op, input, points: op(input, grid_of(input, points)),
        rivals={"torch's own": torch_s_own, "as written": as_written},
        compiled_rivals=["as written"],
        can_run=can_run,
        variant=variant,
    )


WARPED = family("warped", SIZES)
SCATTERED = family("scattered", SIZES[:1] + SIZES[-3:])  # few sizes show what caches do


@cells_of_variants(WARPED, SCATTERED)
def test_grid_sample(benchmark: BenchmarkFixture, mode: str, size: Size, part: Part, family: Family) -> None:
    family.race(benchmark, mode, size, part)
