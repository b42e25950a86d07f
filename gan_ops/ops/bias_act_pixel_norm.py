"""Scale, bias, leaky ReLU and pixel norm in one pass."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_ops import reference
from gan_ops._dispatch import kernels_run, reference_only
from gan_ops.ops._layout import bias_gradient_like, dense_like, scale_like


def bias_act_pixel_norm(
    x: Tensor, bias: Tensor | None = None, negative_slope: float = 0.2, eps: float = 1e-8, scale: float = 1.0
) -> Tensor:
    """y = pixel_norm(leaky_relu(scale·x + bias)): a PGGAN generator layer after its convolution, Karras et al. 2018.

    Args:
        x: feature maps [N, C, *] or features [N, C], with at least one channel; float64, float32, float16 or bfloat16
            (computed in float32, for float64 in float64).
        bias: [C] of any of these types, or None.
        negative_slope: the slope below zero, 0 (ReLU) or more.
        eps: added to pixel norm's mean square; not negative.
        scale: positive; with an equalized learning rate the layer's constant, so that nothing else scales its weight.

    Returns:
        A tensor of x's shape and type, and of its memory layout where that is contiguous or channels_last. x and
        one value per pixel are kept for the backward pass. Where scale·x + bias is 0 the slope counts as
        ``negative_slope``, as in torch. First and second derivatives are kernels too; higher ones run as plain torch.

    Raises:
        ValueError: shapes do not fit, negative_slope or eps is negative, or scale is not positive.
        TypeError: x or bias is of another type.
    """
    if kernels_run():
        return _bias_act_pixel_norm(x, bias, negative_slope, eps, scale)[0]
    return reference.bias_act_pixel_norm(x, bias, negative_slope, eps, scale)


if not reference_only:
    _bias_act_pixel_norm = torch.ops.gan_ops.bias_act_pixel_norm.default

    @torch.library.register_fake("gan_ops::bias_act_pixel_norm")
    def _(
        x: Tensor, bias: Tensor | None, negative_slope: float, eps: float, scale: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        return dense_like(x), scale_like(x)

    @torch.library.register_fake("gan_ops::bias_act_pixel_norm_backward")
    def _(
        grad: Tensor,
        x: Tensor,
        bias: Tensor | None,
        r: Tensor,
        with_bias: bool,
        negative_slope: float,
        eps: float,
        scale: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        return dense_like(x), bias_gradient_like(x, with_bias)

    @torch.library.register_fake("gan_ops::bias_act_pixel_norm_double_backward")
    def _(
        v: Tensor,
        v_bias: Tensor | None,
        grad: Tensor,
        x: Tensor,
        bias: Tensor | None,
        r: Tensor,
        with_bias: bool,
        negative_slope: float,
        eps: float,
        scale: float = 1.0,
    ) -> tuple[Tensor, Tensor, Tensor]:
        return dense_like(x), dense_like(x), bias_gradient_like(x, with_bias)
