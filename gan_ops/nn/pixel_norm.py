"""Pixel norm as a layer."""

from __future__ import annotations

from torch import Tensor, nn

from gan_ops.ops import pixel_norm

__all__ = ["PixelNorm"]


class PixelNorm(nn.Module):
    """y = x / sqrt(mean_c(x²) + eps) for x [N, C, *] (Karras et al. 2018, §4.2)."""

    def __init__(self, eps: float = 1e-8):
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return pixel_norm(x, self.eps)

    def extra_repr(self) -> str:
        return f"eps={self.eps}"
