"""Leaky ReLU on enlarged images: upsampling, bias, nonlinearity, clamp and downsampling in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gan_ops import reference
from gan_ops._checks import check_filtered_lrelu
from gan_ops._dispatch import kernels_run, reference_only
from gan_ops._resampling import Padding, filter_size, four_sides, resampled_size
from gan_ops.ops._layout import bias_gradient_like, dense_like


def filtered_lrelu(
    x: Tensor,
    up_filter: Tensor | None = None,
    down_filter: Tensor | None = None,
    bias: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: Padding = 0,
    gain: float = 2**0.5,
    slope: float = 0.2,
    clamp: float | None = None,
    flip: bool = False,
) -> Tensor:
    """The filtered nonlinearity of StyleGAN3 (Karras et al. 2021, sections 2 and 3.2).

    t = upfirdn2d(x + bias, up_filter, up, padding, gain=up²); s = clamp(gain · leaky_relu(t), ±clamp);
    y = upfirdn2d(s, down_filter, down=down), with :func:`gan_ops.upfirdn2d`. The enlarged images t and s are never in
    memory as a whole.

    Args:
        x: images [N, C, H, W]; float64, float32, float16 or bfloat16 (computed in float32, for float64 in float64).
        up_filter: [K], for both axes, or [K, K']; a constant of any of these types. None is a single tap of 1.
        down_filter: the same.
        bias: [C] of any of these types, or None. It is added to pixels, not to the padding.
        up: the factor of the enlargement, on both axes.
        down: the factor of the reduction, on both axes.
        padding: pixels of the enlarged images: an integer, [x, y] or [x0, x1, y0, y1]; negative numbers crop.
        gain: finite.
        slope: of the leaky ReLU below zero; finite.
        clamp: the largest magnitude of s, or None.
        flip: whether filters are correlated, not convolved.

    Returns:
        A tensor [N, C, H', W'] of x's type, and of its memory layout where that is contiguous or channels_last. For the
        backward pass two bits of each enlarged value are kept, and nothing else. Where t is 0 the slope counts as
        ``slope``, as in torch, and where s is exactly ±clamp the derivative is that of values within. Derivatives of
        every order are kernels; the second derivative to x is zero, and no tensor of zeros is made for it.

    Raises:
        ValueError: shapes do not fit, an option is out of range, or no pixel remains.
        TypeError: a tensor is of another type.
        NotImplementedError: a filter requires a gradient.
    """
    if not kernels_run():
        return reference.filtered_lrelu(x, up_filter, down_filter, bias, up, down, padding, gain, slope, clamp, flip)
    check_filtered_lrelu(x, up_filter, down_filter, bias, up, down, padding, gain, slope, clamp)
    sides = four_sides(padding)
    return _filtered_lrelu(x, up_filter, down_filter, bias, up, down, sides, gain, slope, clamp, flip)[0]


PLANES_TOGETHER = 16
"""kPlanesTogether of csrc/math/filtered_lrelu.h: codes are of so many planes, or of a multiple."""


if not reference_only:
    _filtered_lrelu = torch.ops.gan_ops.filtered_lrelu.default

    @torch.library.register_fake("gan_ops::filtered_lrelu")
    def _(
        x: Tensor,
        up_filter: Tensor | None,
        down_filter: Tensor | None,
        bias: Tensor | None,
        up: int,
        down: int,
        padding: Sequence[int],
        gain: float,
        slope: float,
        clamp: float | None,
        flip: bool,
        with_codes: bool = False,
    ) -> tuple[Tensor, Tensor]:
        n, c, *size = x.shape
        enlarged = resampled_size(size, filter_size(up_filter), up, 1, padding)
        taps = filter_size(down_filter)
        height, width = resampled_size(enlarged, taps, 1, down, 0)
        y = dense_like(x, [n, c, height, width])
        if not with_codes:
            return y, x.new_empty([0], dtype=torch.uint8)
        planes = -(-(n * c) // PLANES_TOGETHER) * PLANES_TOGETHER
        rows, columns = (height - 1) * down + taps[0], (width - 1) * down + taps[1]
        return y, x.new_empty([planes, rows, -(-columns // 4)], dtype=torch.uint8)

    @torch.library.register_fake("gan_ops::filtered_lrelu_masked")
    def _(
        x: Tensor,
        codes: Tensor,
        up_filter: Tensor | None,
        down_filter: Tensor | None,
        bias: Tensor | None,
        up: int,
        down: int,
        padding: Sequence[int],
        gain: float,
        slope: float,
        flip: bool,
        size: Sequence[int],
        channels_last: bool,
        transposed: bool,
        with_sums: bool,
    ) -> tuple[Tensor, Tensor]:
        n, c = x.shape[:2]
        if not transposed:
            enlarged = resampled_size(size, filter_size(up_filter), up, 1, padding)
            size = resampled_size(enlarged, filter_size(down_filter), 1, down, 0)
        format = torch.channels_last if channels_last else torch.contiguous_format
        return x.new_empty([n, c, *size]).contiguous(memory_format=format), bias_gradient_like(x, with_sums)
