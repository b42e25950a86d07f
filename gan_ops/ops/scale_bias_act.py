"""Scale, noise, bias, activation, gain and clamp in one pass: the epilogue of a demodulated convolution."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_ops import reference
from gan_ops._activations import Act, activation_options
from gan_ops._checks import check_noise
from gan_ops._dispatch import kernels_run, reference_only
from gan_ops._types import accumulate_type
from gan_ops.ops._layout import bias_gradient_like, dense_like


def scale_bias_act(
    x: Tensor,
    scale: Tensor | None = None,
    bias: Tensor | None = None,
    noise: Tensor | None = None,
    strength: float | Tensor | None = None,
    *,
    act: Act = "lrelu",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """y = clamp(act(x·scale + noise·strength + bias) · gain, ±clamp): all that follows StyleGAN2's convolutions.

    The scale is the demodulation of Karras et al. 2020 (section 2.2 and figure 2d), where the convolution's weights are
    left alone and its input and output are scaled instead; noise, one map for all channels, is that of Karras et al.
    2019. Derivatives of the first and second order, to x, scale, bias and noise, are a pass each too, sums included.

    Args:
        x: feature maps [N, C, *] or features [N, C], with at least one channel; float64, float32, float16 or bfloat16
            (computed in float32, for float64 in float64).
        scale: [N, C], or None for ones.
        bias: [C], or None for zeros.
        noise: [N, 1, *], or [1, 1, *] or [*] for the same in all samples, or None for zeros.
        strength: what noise is multiplied by, a number or a 0-d tensor; None for 1. These four of any of these types,
            whatever x's.
        act: "linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus" or "swish" (t·sigmoid(t)).
        alpha: the slope of lrelu below zero, 0.2 if None.
        gain: what the activation is multiplied by; if None √2 for relu, lrelu and swish and 1 for the others, as in
            StyleGAN.
        clamp: the largest magnitude of a result, 0 or more; None for no bound.

    Returns:
        A tensor of x's shape and type, and of its memory layout where that is contiguous or channels_last. The inputs
        are kept for the backward pass, and nothing else. At kinks all derivatives are torch's: at 0 the lower side's
        (relu 0, lrelu alpha, elu and selu that of the exponential), and at the clamp's bounds 0.
        Third and higher derivatives run as plain torch.

    Raises:
        ValueError: shapes or devices do not fit, act is none of these, alpha is given for another act than lrelu,
            alpha or gain is not finite, clamp is negative, or strength is given without noise.
        TypeError: a tensor is of another type.
    """
    if kernels_run():
        options = activation_options(act, alpha, gain, clamp)
        return _scale_bias_act(x, scale, bias, _scaled_noise(x, noise, strength), act, *options)
    return reference.scale_bias_act(x, scale, bias, noise, strength, act=act, alpha=alpha, gain=gain, clamp=clamp)


def _scaled_noise(x: Tensor, noise: Tensor | None, strength: float | Tensor | None) -> Tensor | None:
    """noise·strength [N, 1, *] or [1, 1, *]: one of x's channels in size, so not worth a place in the kernels."""
    check_noise(noise, strength, x)
    if noise is None:
        return None
    noise = (noise if noise.dim() == x.dim() else noise[None, None]).to(accumulate_type(x))
    return noise if strength is None else noise * strength


if not reference_only:
    _scale_bias_act = torch.ops.gan_ops.scale_bias_act.default

    @torch.library.register_fake("gan_ops::scale_bias_act")
    def _(
        x: Tensor,
        scale: Tensor | None,
        bias: Tensor | None,
        noise: Tensor | None,
        act: str,
        alpha: float,
        gain: float,
        clamp: float | None,
    ) -> Tensor:
        return dense_like(x)

    @torch.library.register_fake("gan_ops::scale_bias_act_backward")
    def _(
        grad: Tensor,
        x: Tensor,
        scale: Tensor | None,
        bias: Tensor | None,
        noise: Tensor | None,
        act: str,
        alpha: float,
        gain: float,
        clamp: float | None,
        wanted: list[bool],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return _like_x(x, wanted[0]), *_sums_like(x, scale, bias, noise, wanted[1:])

    @torch.library.register_fake("gan_ops::scale_bias_act_double_backward")
    def _(
        v: Tensor | None,
        v_scale: Tensor | None,
        v_bias: Tensor | None,
        v_noise: Tensor | None,
        grad: Tensor,
        x: Tensor,
        scale: Tensor | None,
        bias: Tensor | None,
        noise: Tensor | None,
        act: str,
        alpha: float,
        gain: float,
        clamp: float | None,
        wanted: list[bool],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        return _like_x(x, wanted[0]), _like_x(x, wanted[1]), *_sums_like(x, scale, bias, noise, wanted[2:])

    def _like_x(x: Tensor, wanted: bool) -> Tensor:
        return dense_like(x) if wanted else x.new_empty([0])

    def _sums_like(
        x: Tensor, scale: Tensor | None, bias: Tensor | None, noise: Tensor | None, wanted: list[bool]
    ) -> tuple[Tensor, Tensor, Tensor]:
        def sums(shape: list[int]) -> Tensor:
            return x.new_empty(shape, dtype=accumulate_type(x))

        return (
            sums(x.shape[:2] if wanted[0] and scale is not None else [0]),
            bias_gradient_like(x, wanted[1] and bias is not None),
            sums(noise.shape if wanted[2] and noise is not None else [0]),
        )
