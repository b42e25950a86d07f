"""What brings the outputs of a modulated convolution back to unit variance."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_ops import reference
from gan_ops._checks import check_demodulation
from gan_ops._dispatch import kernels_run
from gan_ops._types import accumulable


def demodulation(weight: Tensor, style: Tensor, eps: float = 1e-8) -> Tensor:
    """d[n, o] = (Σ_ik (weight[o, i, k]·style[n, i])² + eps)^(−½): Karras et al. 2020, section 2.2, equation 3.

    As a product of matrices, style² by the sums of weight² over the kernel, so no weights of each sample are made:
    no kernel of ours would be faster. Multiply the convolution of x·style by it (``scale`` of
    :func:`gan_ops.scale_bias_act`).

    Args:
        weight: [O, I, K', K]; float64, float32, float16 or bfloat16.
        style: [N, I], of any of these types.
        eps: not negative.

    Returns:
        [N, O] in float32, or in float64 if one of the two is: in float16 the squares would overflow.

    Raises:
        ValueError: shapes or devices do not fit, or eps is negative.
        TypeError: a tensor is of another type.
    """
    if not kernels_run():
        return reference.demodulation(weight, style, eps)
    check_demodulation(weight, style, eps)
    w, s = accumulable(weight), accumulable(style)
    of_kernel = w.square().sum((2, 3))  # [O, I, K', K] → [O, I]
    s = s.to(torch.promote_types(s.dtype, w.dtype))
    with torch.autocast(s.device.type, enabled=False):
        return torch.addmm(s.new_full((), eps), s.square(), of_kernel.to(s.dtype).T).rsqrt()
