"""Convolution that enlarges or shrinks images by a filter."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from gan_ops import reference
from gan_ops._checks import check_resample_conv2d
from gan_ops._dispatch import kernels_run
from gan_ops._resampling import Padding, added, down_padding, four_sides, up_padding
from gan_ops.ops.conv2d import conv2d
from gan_ops.ops.upfirdn2d import upfirdn2d


def resample_conv2d(
    x: Tensor,
    weight: Tensor,
    filter: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: Padding = 0,
    groups: int = 1,
    flip_weight: bool = True,
    flip_filter: bool = False,
) -> Tensor:
    """x enlarged and filtered, convolved, and filtered and thinned out; in the order that costs least.

    The up- and downsampling convolutions of StyleGAN 2 and 3 (Karras et al. 2020, appendix B), with the arguments of
    StyleGAN3's ``conv2d_resample``. The value is that of :func:`gan_ops.upsample2d`, convolution,
    :func:`gan_ops.downsample2d` one after the other. But a convolution and a filter may change places, and so:

    - a kernel of one pixel sees the small image, before enlarging and after shrinking;
    - shrinking filters first, and convolves with a stride;
    - enlarging convolves the pixels alone, without the zeros between them (transposed), and filters then.

    Args:
        x: feature maps [N, C_in, H, W]; float64, float32, float16 or bfloat16.
        weight: [C_out, C_in / groups, K', K] of x's type (under autocast any floating-point type).
        filter: as for :func:`gan_ops.upfirdn2d`, for both enlarging and shrinking; not used if up and down are 1.
        up: an integer; the result is multiplied by its square, so that a filter with the sum 1 keeps the mean.
        down: an integer.
        padding: on top of what the filter needs to keep the place of the image (:func:`gan_ops.upsample2d`), in
            enlarged pixels: K // 2 keeps the size.
        groups: parts of the channels; each part of the output sees one part of the input.
        flip_weight: whether the weight is applied as it is, as in ``torch.nn.functional.conv2d`` (correlation); else
            it is turned around first.
        flip_filter: the same for the filter.

    Returns:
        [N, C_out, H', W'], for a padding of K // 2 with odd K of H·up / down by W·up / down pixels.

    Raises:
        ValueError: shapes, factors, padding, groups or devices do not fit.
        TypeError: types do not.
        NotImplementedError: the filter requires a gradient.
    """
    if not kernels_run():
        return reference.resample_conv2d(x, weight, filter, up, down, padding, groups, flip_weight, flip_filter)
    check_resample_conv2d(x, weight, filter, up, down, padding, groups)
    height, width = weight.shape[2:]
    if up > 1:
        padding = added(padding, up_padding(filter, up))
    if down > 1:
        padding = added(padding, down_padding(filter, down))
    of_pixels = height == width == 1
    if up == 1:
        correlating = weight if flip_weight else weight.flip(2, 3)
        if down == 1:
            return _convolved(x, correlating, four_sides(padding), groups)
        if of_pixels:
            y = upfirdn2d(x, filter, down=down, padding=padding, flip=flip_filter)
            return conv2d(y, correlating, groups=groups)
        y = upfirdn2d(x, filter, padding=padding, flip=flip_filter)
        return F.conv2d(y, correlating, stride=down, groups=groups)
    if of_pixels:
        y = conv2d(x, weight, groups=groups)
        y = upfirdn2d(y, filter, up, padding=padding, flip=flip_filter, gain=up**2)
    else:
        # The transposed convolution begins K − 1 pixels before the image, and ends where the last pixel does, not the
        # up − 1 zeros behind it.
        y = F.conv_transpose2d(x, _transposed(weight, groups, flip_weight), stride=up, groups=groups)
        padding = added(padding, [1 - width, up - width, 1 - height, up - height])
        y = upfirdn2d(y, filter, padding=padding, flip=flip_filter, gain=up**2)
    return y if down == 1 else upfirdn2d(y, filter, down=down, flip=flip_filter)


def _convolved(x: Tensor, weight: Tensor, sides: list[int], groups: int) -> Tensor:
    """Convolution with that padding, which conv2d adds itself where it is even and small."""
    side = sides[0]
    if sides == [side] * 4 and 0 <= side < min(weight.shape[2:]):
        return conv2d(x, weight, padding=side, groups=groups)
    return conv2d(upfirdn2d(x, None, padding=sides), weight, groups=groups)


def _transposed(weight: Tensor, groups: int, flip: bool) -> Tensor:
    """[C_out, C_in / groups, K', K] → [C_in, C_out / groups, K', K], as transposed convolutions take it."""
    out_channels, in_group, height, width = weight.shape
    weight = weight.flip(2, 3) if flip else weight
    parts = weight.reshape(groups, out_channels // groups, in_group, height, width)
    return parts.transpose(1, 2).reshape(groups * in_group, out_channels // groups, height, width)
