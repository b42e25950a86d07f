"""The gradient penalty: how far the norms of the samples' gradients are from a target."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_ops import reference
from gan_ops._dispatch import kernels_run, reference_only
from gan_ops._types import accumulate_type
from gan_ops.ops._layout import dense_like


def gradient_penalty(gradient: Tensor, target: float = 1.0, one_sided: bool = False) -> Tensor:
    """(‖g‖ − target)²/target² of each sample: Gulrajani et al. 2017, eq. 3, without its weight and its mean.

    ‖·‖ is the Euclidean norm over all axes but the first. ``one_sided`` counts only what exceeds the target,
    max(‖g‖ − target, 0)²/target² (Petzka et al. 2018). With target 0 both are ‖g‖² (Mescheder et al. 2018, eq. 9).

    Args:
        gradient: [N, *] with at least two axes, such as the scores' gradient with respect to images; float64, float32,
            float16 or bfloat16. If it was taken from a scaled loss, unscale it first.
        target: the norm that costs nothing, in units of score per unit of the images; not negative.
        one_sided: let norms below the target pass.

    Returns:
        [N], float32 (float64 for float64). No square leaves float32's range before the result itself does. Where a
        sample's gradient is 0, its norm has no derivative: there the first and second derivative count as 0 (those of
        target 0 are what they are). First and second derivatives are kernels too, the first in gradient's memory
        layout; higher ones run as plain torch.

    Raises:
        ValueError: gradient has fewer than two axes, or target is negative.
        TypeError: gradient is of another type.
    """
    if kernels_run():
        return _gradient_penalty(gradient, target, one_sided)[0]
    return reference.gradient_penalty(gradient, target, one_sided)


if not reference_only:
    _gradient_penalty = torch.ops.gan_ops.gradient_penalty.default

    def _penalty_like(gradient: Tensor) -> Tensor:
        return gradient.new_empty([gradient.shape[0]], dtype=accumulate_type(gradient))

    @torch.library.register_fake("gan_ops::gradient_penalty")
    def _(gradient: Tensor, target: float, one_sided: bool) -> tuple[Tensor, Tensor]:
        penalty = _penalty_like(gradient)
        return penalty, torch.empty_like(penalty, dtype=torch.float64)  # and the norms

    @torch.library.register_fake("gan_ops::gradient_penalty_backward")
    def _(grad: Tensor, gradient: Tensor, norm: Tensor, target: float, one_sided: bool) -> Tensor:
        return dense_like(gradient)

    @torch.library.register_fake("gan_ops::gradient_penalty_double_backward")
    def _(
        v: Tensor, grad: Tensor, gradient: Tensor, norm: Tensor, target: float, one_sided: bool
    ) -> tuple[Tensor, Tensor]:
        return _penalty_like(gradient), dense_like(gradient)
