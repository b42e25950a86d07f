"""Adaptive instance normalisation (Huang and Belongie 2017; Karras et al. 2019, equation 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from models.parts.precision import widened


def adain(x: Tensor, scale: Tensor, shift: Tensor, eps: float = 1e-8) -> Tensor:
    """(1 + scale)·(x − μ)/√(σ² + eps) + shift, with the mean μ and the biased variance σ² of each map of a sample.

    Args:
        x: [N, C, H, W].
        scale, shift: the style of each map [N, C].

    Returns:
        [N, C, H, W] of x's type; statistics are taken in float32 or wider.
    """
    variance, mean = torch.var_mean(widened(x), (2, 3), unbiased=False)  # [N, C, H, W] → [N, C] each
    factor = (1 + scale) * (variance + eps).rsqrt()
    mean, factor, shift = (part.to(x.dtype)[..., None, None] for part in (mean, factor, shift))
    # The mean goes first: of a map that hardly varies, such as the constant input is at the start, factors are large.
    return torch.addcmul(shift, x - mean, factor)
