"""Pixel norm: every pixel's channel vector divided by its root mean square."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_ops import reference
from gan_ops._dispatch import kernels_run_eagerly, reference_only
from gan_ops.ops._layout import dense_like, scale_like


def pixel_norm(x: Tensor, eps: float = 1e-8) -> Tensor:
    """y = x / sqrt(mean_c(x²) + eps): "pixelwise feature vector normalization", Karras et al. 2018, section 4.2.

    Args:
        x: feature maps [N, C, *] or latents [N, C], with at least one channel; float64, float32, float16 or bfloat16
            (sums are taken in float32, for float64 in float64).
        eps: added to the mean square; not negative.

    Returns:
        A tensor of x's shape and type, and of its memory layout where that is contiguous or channels_last. First and
        second derivatives are kernels too; higher ones run as plain torch.

    Raises:
        ValueError: x has fewer than two axes or no channel, or eps is negative.
        TypeError: x is of another type.
    """
    if kernels_run_eagerly():
        return _pixel_norm(x, eps)[0]
    return reference.pixel_norm(x, eps)


if not reference_only:
    _pixel_norm = torch.ops.gan_ops.pixel_norm.default

    @torch.library.register_fake("gan_ops::pixel_norm")
    def _(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        return dense_like(x), scale_like(x)

    @torch.library.register_fake("gan_ops::pixel_norm_backward")
    def _(grad: Tensor, x: Tensor, r: Tensor, eps: float) -> Tensor:
        return dense_like(x)

    @torch.library.register_fake("gan_ops::pixel_norm_double_backward")
    def _(v: Tensor, grad: Tensor, x: Tensor, r: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        return dense_like(x), dense_like(x)
