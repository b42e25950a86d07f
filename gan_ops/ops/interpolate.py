"""Points between two batches of images."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_ops import reference
from gan_ops._dispatch import kernels_run_eagerly, reference_only
from gan_ops._types import accumulate_type
from gan_ops.ops._layout import dense_like


def interpolate(real: Tensor, fake: Tensor, weight: Tensor) -> Tensor:
    """real + weight·(fake − real), one weight per sample: the points of Gulrajani et al. 2017, algorithm 1, line 6.

    Args:
        real: [N, *] with at least two axes; float64, float32, float16 or bfloat16.
        fake: of real's shape, type and device.
        weight: one value per sample, [N] or [N, 1, …], of any of these types; 0 gives ``real``, 1 gives ``fake``.

    Returns:
        A tensor of real's shape and type, and of its memory layout where that is contiguous or channels_last; computed
        in float32 (float64 for float64). First derivatives are kernels too; higher ones consist of the same kernels.

    Raises:
        ValueError: shapes or devices do not fit.
        TypeError: types do not.
    """
    if kernels_run_eagerly():
        return _interpolate(real, fake, weight)
    return reference.interpolate(real, fake, weight)


if not reference_only:
    _interpolate = torch.ops.gan_ops.interpolate.default

    @torch.library.register_fake("gan_ops::interpolate")
    def _(real: Tensor, fake: Tensor, weight: Tensor) -> Tensor:
        return dense_like(real)

    @torch.library.register_fake("gan_ops::interpolate_backward")
    def _(grad: Tensor, weight: Tensor, with_real: bool, with_fake: bool) -> tuple[Tensor, Tensor]:
        d_real, d_fake = (dense_like(grad) if wanted else grad.new_empty([0]) for wanted in (with_real, with_fake))
        return d_real, d_fake

    @torch.library.register_fake("gan_ops::interpolate_weight_grad")
    def _(grad: Tensor, real: Tensor, fake: Tensor) -> Tensor:
        return grad.new_empty([grad.shape[0]], dtype=accumulate_type(grad))
