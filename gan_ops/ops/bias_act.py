"""Scale, bias, leaky ReLU and gain in one pass."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_ops import reference
from gan_ops._dispatch import kernels_run, reference_only
from gan_ops.ops._layout import bias_gradient_like, dense_like


def bias_act(
    x: Tensor, bias: Tensor | None = None, negative_slope: float = 0.2, gain: float = 1.0, scale: float = 1.0
) -> Tensor:
    """y = gain · leaky_relu(scale·x + bias): what follows a convolution in every network here.

    Args:
        x: feature maps [N, C, *] or features [N, C], with at least one channel; float64, float32, float16 or bfloat16
            (computed in float32, for float64 in float64).
        bias: [C] of any of these types, or None.
        negative_slope: the slope below zero, 0 (ReLU) or more.
        gain: positive.
        scale: positive; with an equalized learning rate the layer's constant, so that nothing else scales its weight.

    Returns:
        A tensor of x's shape and type, and of its memory layout where that is contiguous or channels_last. Only y
        is kept for the backward pass. Where scale·x + bias is 0 the slope counts as ``negative_slope``, as in torch.
        The second derivative to x is zero, and no tensor of zeros is made for it.

    Raises:
        ValueError: shapes do not fit, negative_slope is negative, or gain or scale is not positive and finite.
        TypeError: x or bias is of another type.
    """
    if kernels_run():
        return _bias_act(x, bias, negative_slope, gain, scale)
    return reference.bias_act(x, bias, negative_slope, gain, scale)


if not reference_only:
    _bias_act = torch.ops.gan_ops.bias_act.default

    @torch.library.register_fake("gan_ops::bias_act")
    def _(x: Tensor, bias: Tensor | None, negative_slope: float, gain: float, scale: float = 1.0) -> Tensor:
        return dense_like(x)

    @torch.library.register_fake("gan_ops::bias_act_backward")
    def _(
        grad: Tensor, y: Tensor, with_bias: bool, negative_slope: float, gain: float, scale: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        return dense_like(y), bias_gradient_like(y, with_bias)
