"""Images sampled at the points of a grid, with second derivatives, and affine grids."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_ops import reference
from gan_ops._checks import check_grid_mode
from gan_ops._dispatch import kernels_run, reference_only
from gan_ops._types import GridMode, GridPadding
from gan_ops.ops._layout import dense_like


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: GridMode = "bilinear",
    padding_mode: GridPadding = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """``torch.nn.functional.grid_sample`` with second derivatives, to the input and to the grid.

    Warps and augmentations that a critic's penalty or a generator's path length goes through are differentiated twice.
    torch's own cannot be before torch 2.12, and is since then by many small ops (Jaderberg et al. 2015;
    csrc/math/grid_sample.h). Gradients are sums in a fixed order, so they repeat to the bit, on a GPU too.

    Args:
        input: images [N, C, H, W] or [N, C, D, H, W]; float64, float32, float16 or bfloat16 (computed in float32, for
            float64 in float64).
        grid: points [N, H', W', 2] or [N, D', H', W', 3] of input's type (under autocast of any, and the wider of the
            two types is computed in): x, y and z from −1 to 1. Infinite coordinates and nan are outside;
            padding takes nan to the first pixel.
        mode: "bilinear" (of volumes trilinear) or "nearest", whose gradient to the grid is zeros.
        padding_mode: what is outside of the image: "zeros", its "border", or its "reflection".
        align_corners: whether −1 and 1 are the centres of the outermost pixels; else (None too, without torch's
            warning) their outer edges.

    Returns:
        [N, C, H', W'] or [N, C, D', H', W'] of input's type, and of its memory layout where that is contiguous or
        channels_last. Input and grid are kept for the backward pass. Third and higher derivatives run as plain torch.

    Raises:
        ValueError: shapes or devices do not fit, or mode or padding_mode is none of these ("bicubic" is not).
        TypeError: a tensor is of another type.
    """
    if input.dtype != grid.dtype and torch.is_autocast_enabled(input.device.type):
        wide = torch.promote_types(input.dtype, grid.dtype)
        input, grid = input.to(wide), grid.to(wide)
    if not kernels_run():
        return reference.grid_sample(input, grid, mode, padding_mode, align_corners)
    check_grid_mode(mode)
    return _grid_sample(input, grid, mode, padding_mode, bool(align_corners))


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """``torch.nn.functional.affine_grid``: the points of an affine warp, for :func:`gan_ops.grid_sample`.

    A product of matrices in torch's own ops, so it has derivatives of every order.

    Args:
        theta: a matrix for each sample, [N, 2, 3] or [N, 3, 4].
        size: of the output, (N, C, H, W) or (N, C, D, H, W).
        align_corners: as :func:`gan_ops.grid_sample` is to be given; None for False, without torch's warning.

    Returns:
        [N, H, W, 2] or [N, D, H, W, 3] of theta's type.
    """
    return F.affine_grid(theta, list(size), bool(align_corners))


if not reference_only:
    _grid_sample = torch.ops.gan_ops.grid_sample.default

    @torch.library.register_fake("gan_ops::grid_sample")
    def _(input: Tensor, grid: Tensor, mode: str, padding_mode: str, align_corners: bool) -> Tensor:
        return dense_like(input, [*input.shape[:2], *grid.shape[1:-1]])

    @torch.library.register_fake("gan_ops::grid_sample_backward")
    def _(
        grad: Tensor,
        input: Tensor,
        grid: Tensor,
        mode: str,
        padding_mode: str,
        align_corners: bool,
        wanted: list[bool],
    ) -> tuple[Tensor, Tensor]:
        return _like_input(input, wanted[0]), _like_grid(grid, wanted[1])

    @torch.library.register_fake("gan_ops::grid_sample_double_backward")
    def _(
        v_input: Tensor | None,
        v_grid: Tensor | None,
        grad: Tensor,
        input: Tensor,
        grid: Tensor,
        mode: str,
        padding_mode: str,
        align_corners: bool,
        wanted: list[bool],
    ) -> tuple[Tensor, Tensor, Tensor]:
        d_grad = dense_like(input, grad.shape) if wanted[0] else input.new_empty([0])
        return d_grad, _like_input(input, wanted[1]), _like_grid(grid, wanted[2])

    def _like_input(input: Tensor, wanted: bool) -> Tensor:
        return dense_like(input) if wanted else input.new_empty([0])

    def _like_grid(grid: Tensor, wanted: bool) -> Tensor:
        return grid.new_empty(grid.shape if wanted else [0])
