"""Zero-insertion, padding, FIR filter and decimation in one pass."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_ops import reference
from gan_ops._dispatch import kernels_run, reference_only
from gan_ops._resampling import Factors, Padding, both_axes, filter_size, four_sides, resampled_size
from gan_ops.ops._layout import dense_like


def upfirdn2d(
    x: Tensor,
    filter: Tensor | None,
    up: Factors = 1,
    down: Factors = 1,
    padding: Padding = 0,
    flip: bool = False,
    gain: float = 1.0,
) -> Tensor:
    """Images enlarged by zeros between their pixels, padded or cropped, filtered, and thinned out, in one pass.

    The resampling of StyleGAN 2 and 3 (Karras et al. 2020, 2021), with the arguments of StyleGAN3's function of this
    name. Along an axis, with c the turned filter and p the padding before the first pixel,
    y[o] = gain · Σ_i c[i·up + p − o·down] · x[i] (csrc/math/upfirdn2d.h). No inserted zero is multiplied, and nothing
    but y is written to memory.

    Args:
        x: feature maps [N, C, H, W]; float64, float32, float16 or bfloat16 (computed in float32, for float64 in
            float64).
        filter: [K', K] of any of these types; or [K], which is applied along both axes, one after the other; or None
            for a single tap of 1. A constant.
        up: an integer for both axes or [x, y]: each pixel is followed by up − 1 zeros.
        down: an integer or [x, y]: of the result every down-th pixel is kept, from the first on.
        padding: zeros around the enlarged image, an integer, [x, y] or [x0, x1, y0, y1] (left, right, top, bottom);
            negative numbers crop.
        flip: whether the filter is applied as it is (correlation); else it is turned around first (convolution).
        gain: what the result is multiplied by.

    Returns:
        [N, C, H', W'] with W' = (W·up + x0 + x1 − K) // down + 1, of x's type, and of its memory layout where that is
        contiguous or channels_last. The derivative is this op itself with up and down exchanged, so those of every
        order are kernels; nothing but the filter is kept for them.

    Raises:
        ValueError: shapes, factors, padding, gain or devices do not fit, or nothing would be left of the image.
        TypeError: a tensor is of another type.
        NotImplementedError: the filter requires a gradient.
    """
    if kernels_run():
        return _upfirdn2d(x, filter, both_axes(up), both_axes(down), four_sides(padding), flip, gain)
    return reference.upfirdn2d(x, filter, up, down, padding, flip, gain)


if not reference_only:
    _upfirdn2d = torch.ops.gan_ops.upfirdn2d.default

    @torch.library.register_fake("gan_ops::upfirdn2d")
    def _(
        x: Tensor, filter: Tensor | None, up: list[int], down: list[int], padding: list[int], flip: bool, gain: float
    ) -> Tensor:
        return dense_like(x, [*x.shape[:2], *resampled_size(x.shape[2:], filter_size(filter), up, down, padding)])
