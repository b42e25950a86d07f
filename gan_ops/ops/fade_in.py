"""Fading a new resolution in over the enlarged image of the one below."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_ops import reference
from gan_ops._dispatch import kernels_run, reference_only
from gan_ops.ops._layout import dense_like


def fade_in(new: Tensor, old: Tensor, fraction: float | Tensor) -> Tensor:
    """lerp(new, nearest 2× enlargement of old, fraction), without the enlarged image: Karras et al. 2018, figure 2.

    Args:
        new: images or feature maps [N, C, 2H, 2W]; float64, float32, float16 or bfloat16 (computed in float32, for
            float64 in float64).
        old: [N, C, H, W] of new's type.
        fraction: old's weight, falling from 1 to 0 while new fades in; a number or a 0-d floating-point tensor, read
            by the kernel if it is on the images' device, so that nothing waits for it. Both ends are exact where new
            and old are finite; infinities and NaN of either side spread, as in ``torch.lerp``, whose formula this is.

    Returns:
        A tensor of new's shape and type, and of its memory layout where that is contiguous or channels_last. Only
        the fraction is kept for the backward pass. Derivatives of every order are kernels, except where the fraction
        requires a gradient: then all of it runs as plain torch.

    Raises:
        ValueError: new's height or width is odd, old's shape is not half of new's, or the fraction is not 0-d.
        TypeError: a tensor is of another type.
    """
    of_tensor = isinstance(fraction, Tensor)
    if kernels_run() and not (of_tensor and fraction.requires_grad):
        return _fade_in(new, old, fraction, 0.0) if of_tensor else _fade_in(new, old, None, fraction)
    return reference.fade_in(new, old, fraction)


if not reference_only:
    _fade_in = torch.ops.gan_ops.fade_in.default

    @torch.library.register_fake("gan_ops::fade_in")
    def _(new: Tensor, old: Tensor, fraction: Tensor | None, number: float) -> Tensor:
        return dense_like(new)

    @torch.library.register_fake("gan_ops::fade_in_backward")
    def _(grad: Tensor, fraction: Tensor | None, number: float, channels_last: bool) -> tuple[Tensor, Tensor]:
        n, c, height, width = grad.shape
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        d_old = grad.new_empty([n, c, height // 2, width // 2])
        return torch.empty_like(grad, memory_format=memory_format), d_old.contiguous(memory_format=memory_format)
