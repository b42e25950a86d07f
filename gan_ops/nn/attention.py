"""Attention of a feature map to itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ops.ops import attention

__all__ = ["SelfAttention2d"]


class SelfAttention2d(nn.Module):
    """y = γ·o + x, where each pixel's o is made of the values of all pixels (SAGAN: Zhang et al. 2019, eq. 1–3).

    o = output(softmax(query(x)·key(x)ᵀ)·value(x)), with 1×1 convolutions without biases and scores that are not scaled.
    γ is learnt and begins at 0. For spectral or orthogonal norms treat ``query``, ``key``, ``value`` and ``output`` as
    any convolution.

    Args:
        channels: C, at least 8. Queries and keys have C/8, values C/2 as in the authors' code
            (the paper has C/8).
        pool: whether keys and values are 2×2 max pooled, as in the authors' code and BigGAN (images have two rows and
            columns or more); else every pixel has its own, as in the paper's text.
    """

    def __init__(self, channels: int, pool: bool = True):
        super().__init__()
        if channels < 8:
            raise ValueError(f"channels must be at least 8, since queries have an eighth of them, but are {channels}")
        self.pool = pool
        self.query = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.key = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.value = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.output = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] → [N, C, H, W]."""
        query, key, value = self.query(x), self.key(x), self.value(x)
        if self.pool:
            key, value = F.max_pool2d(key, 2), F.max_pool2d(value, 2)
        # Pixels are what attends and is attended to: [N, C, H, W] → [N, H·W, C].
        query, key, value = (t.flatten(2).transpose(1, 2) for t in (query, key, value))
        attended = attention(query, key, value, scale=1.0).transpose(1, 2).unflatten(2, x.shape[2:])
        return x + self.gamma * self.output(attended)

    def extra_repr(self) -> str:
        return f"pool={self.pool}"
