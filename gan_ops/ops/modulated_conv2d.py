"""Convolution by weights of each sample's own: modulation, convolution and demodulation of StyleGAN 2 and 3."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_ops import reference
from gan_ops._checks import check_modulated_conv2d
from gan_ops._dispatch import kernels_run
from gan_ops._resampling import Padding
from gan_ops._types import accumulable
from gan_ops.ops.demodulation import demodulation
from gan_ops.ops.resample_conv2d import resample_conv2d
from gan_ops.ops.scale_bias_act import scale_bias_act


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    style: Tensor,
    *,
    demodulate: bool = True,
    noise: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: Padding = 0,
    filter: Tensor | None = None,
    flip_weight: bool = True,
    input_gain: float | Tensor | None = None,
    eps: float = 1e-8,
    fused: bool | None = None,
) -> Tensor:
    """x convolved by weight[o, i, k]·style[n, i], over the root of that weight's sum of squares, and noise added.

    Karras et al. 2020, section 2.2 (equations 1 to 3), with the up- and downsampling of appendix B. Two exact ways:

    - apart: x·style is convolved by the weight that all samples share, and the result multiplied by
      :func:`gan_ops.demodulation`;
    - fused: each sample's weight is made, and convolves its image as a group of its own.

    A layer's noise, bias and activation are cheapest in the pass of the demodulation::

        y = gan_ops.modulated_conv2d(x, weight, style, demodulate=False, padding=1)
        y = gan_ops.scale_bias_act(y, gan_ops.demodulation(weight, style), bias, noise, strength)

    Args:
        x: feature maps [N, I, H, W]; float64, float32, float16 or bfloat16.
        weight: [O, I, K', K] and
        style: [N, I], of any of these types: they are taken to x's for the convolution.
        demodulate: whether outputs are brought back to unit variance. In float16, which products of large styles
            overflow, weight and style are then first brought to a largest magnitude of 1; the result is the same.
        noise: [N, 1, H', W'], [1, 1, H', W'] or [H', W'], added to the result (StyleGAN2); or None.
        up, down, padding, filter, flip_weight: of :func:`gan_ops.resample_conv2d`.
        input_gain: what x is multiplied by besides, without a share in the demodulation (StyleGAN3's, the inverse of
            a running magnitude): a number, a 0-d tensor, [I] or [N, I]; or None.
        eps: of the demodulation.
        fused: which of the two ways; None for the one that is faster (benchmarks/ops/test_modulated_conv2d.py): apart,
            for a single sample too.

    Returns:
        [N, O, H', W'] of x's type.

    Raises:
        ValueError: shapes, factors, padding or devices do not fit, or eps is negative.
        TypeError: a tensor is of another type.
        NotImplementedError: the filter requires a gradient.
    """
    # The reference takes one sample after the other, and a graph that is exported is for batches of any size.
    if not kernels_run() and not torch.compiler.is_exporting():
        return reference.modulated_conv2d(
            x,
            weight,
            style,
            demodulate=demodulate,
            noise=noise,
            up=up,
            down=down,
            padding=padding,
            filter=filter,
            flip_weight=flip_weight,
            input_gain=input_gain,
            eps=eps,
        )
    check_modulated_conv2d(x, weight, style, input_gain, eps)
    scale = demodulation(weight, style, eps) if demodulate else None
    modulation = accumulable(style) if input_gain is None else accumulable(style) * input_gain

    def convolved(x: Tensor, weight: Tensor, groups: int) -> Tensor:
        return resample_conv2d(x, weight, filter, up, down, padding, groups, flip_weight=flip_weight)

    if fused and len(x) > 0:
        return _added(_fused(convolved, x, accumulable(weight), modulation, scale), noise)
    if x.dtype == torch.float16 and demodulate:
        weight, modulation, scale = _within_float16(weight, modulation, scale)
    y = scale_bias_act(x, modulation, act="linear")
    y = convolved(y, weight.to(x.dtype), 1)
    return y if scale is None and noise is None else scale_bias_act(y, scale, noise=noise, act="linear")


def _fused(convolved, x: Tensor, weight: Tensor, modulation: Tensor, scale: Tensor | None) -> Tensor:
    """By the weights of each sample, its image as a group of its own."""
    n, channels, *size = x.shape
    of_each = weight * modulation[:, None, :, None, None]  # [N, O, I, K', K]
    if scale is not None:
        of_each = of_each * scale[:, :, None, None, None]
    y = convolved(x.reshape(1, n * channels, *size), of_each.flatten(0, 1).to(x.dtype), n)  # [1, N·O, H', W']
    return y.reshape(n, -1, *y.shape[2:])


def _added(y: Tensor, noise: Tensor | None) -> Tensor:
    return y if noise is None else scale_bias_act(y, noise=noise, act="linear")


def _within_float16(weight: Tensor, modulation: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weight of each output and modulation of each sample with a largest magnitude of 1, and what outputs are then
    multiplied by. The weight is also divided by the root of its inputs: their sum stays small.

    The factors are constants, for the result does not depend on them.
    """
    weight, inputs = accumulable(weight), weight[0].numel()
    with torch.no_grad():
        of_outputs = weight.abs().amax((1, 2, 3)).mul(inputs**0.5)  # [O]
        of_samples = modulation.abs().amax(1)  # [N]
        of_outputs, of_samples = (t.masked_fill(t == 0, 1.0) for t in (of_outputs, of_samples))
    return (
        weight / of_outputs[:, None, None, None],
        modulation / of_samples[:, None],
        scale * of_outputs * of_samples[:, None],
    )
