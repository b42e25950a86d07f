"""Layers built on the ops: pixel norm, minibatch stddev, linear and convolution layers with equalized learning rate.

Every layer is a function of its inputs and parameters alone (no buffers, no modes), differentiable twice, and keeps the
memory format: after ``module.to(memory_format=torch.channels_last)`` activations are channels_last throughout.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ops.ops import bias_act, conv2d, minibatch_stddev, pixel_norm

__all__ = ["EqualizedConv2d", "EqualizedLinear", "EqualizedUpConv2d", "MinibatchStddev", "PixelNorm"]


class PixelNorm(nn.Module):
    """y = x / sqrt(mean_c(x²) + eps) for x [N, C, *] (Karras et al. 2018, §4.2)."""

    def __init__(self, eps: float = 1e-8):
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return pixel_norm(x, self.eps)

    def extra_repr(self) -> str:
        return f"eps={self.eps}"


class MinibatchStddev(nn.Module):
    """Appends each group's mean standard deviation to x as ``num_channels`` constant maps (Karras et al. 2018, §3).

    ``group_size=None`` takes the whole minibatch as one group; a group larger than the minibatch shrinks to it.
    """

    def __init__(self, group_size: int | None = 4, num_channels: int = 1, eps: float = 1e-8):
        super().__init__()
        if group_size is not None and group_size < 1:
            raise ValueError(f"group_size={group_size} must be at least 1, or None for the whole minibatch")
        self.group_size = group_size
        self.num_channels = num_channels
        self.eps = eps

    def group(self, batch: int) -> int:
        """Samples in one group of a minibatch of ``batch`` samples; ValueError if they do not divide it."""
        group = batch if self.group_size is None else min(self.group_size, batch)
        if batch and batch % group:
            raise ValueError(f"group_size={self.group_size} does not divide the batch of {batch}")
        return group

    def forward(self, x: Tensor, batches: int = 1) -> Tensor:
        """x [N, C, *] → [N, C + num_channels, *].

        x may interleave several minibatches (sample n belongs to minibatch n mod ``batches``). Their statistics stay
        apart: groups are strided, so the groups of the whole with a group size that divides one minibatch are just
        the groups of the minibatches.
        """
        if batches == 1:
            return minibatch_stddev(x, self.group_size, self.num_channels, self.eps)
        n = x.shape[0]
        if batches < 1 or n % batches:
            raise ValueError(f"batches={batches} does not divide x, which has {n} samples")
        group = max(1, self.group(n // batches))  # an empty batch has no groups, whatever their size
        return minibatch_stddev(x, group, self.num_channels, self.eps)

    def extra_repr(self) -> str:
        return f"group_size={self.group_size}, num_channels={self.num_channels}, eps={self.eps}"


class EqualizedLinear(nn.Module):
    """y = (gain/√in_features)·W·x + b, with W ~ N(0, 1) and b = 0 at the start (Karras et al. 2018, §4.1).

    x [N, in_features] → [N, out_features]. The bias is not scaled.
    """

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True, gain: float = math.sqrt(2)):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self.scale = gain / math.sqrt(in_features)

    def forward(self, x: Tensor) -> Tensor:
        x, weight = scale_smaller(x, self.weight, self.scale)
        return F.linear(x, weight, self.bias)

    def extra_repr(self) -> str:
        out_features, in_features = self.weight.shape
        return f"{in_features}, {out_features}, bias={self.bias is not None}, scale={self.scale:.4g}"


class EqualizedConv2d(nn.Module):
    """Stride-1 convolution by (gain/√fan_in)·W, with W ~ N(0, 1) and bias 0 at the start (Karras et al. 2018, §4.1).

    x [N, in_channels, H, W] → [N, out_channels, H + 2·padding − kernel_size + 1, …]; fan_in = in_channels·kernel_size².
    The bias is not scaled. With ``negative_slope`` a leaky ReLU follows, in one pass with the bias.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        padding: int = 0,
        bias: bool = True,
        gain: float = math.sqrt(2),
        negative_slope: float | None = None,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.padding = padding
        self.negative_slope = negative_slope
        self.scale = gain / math.sqrt(in_channels * kernel_size**2)

    def forward(self, x: Tensor) -> Tensor:
        x, weight = scale_smaller(x, self.weight, self.scale)
        if self.negative_slope is None:
            return conv2d(x, weight, self.bias, self.padding)
        return bias_act(conv2d(x, weight, None, self.padding), self.bias, self.negative_slope)

    def extra_repr(self) -> str:
        out_channels, in_channels, size, _ = self.weight.shape
        return (
            f"{in_channels}, {out_channels}, kernel_size={size}, padding={self.padding}, "
            f"bias={self.bias is not None}, scale={self.scale:.4g}, negative_slope={self.negative_slope}"
        )


class EqualizedUpConv2d(EqualizedConv2d):
    """``EqualizedConv2d(3×3, padding=1)`` of the nearest 2× enlargement of x: [N, C, H, W] → [N, out_channels, 2H, 2W].

    Each output pixel sees only 2×2 different input pixels, so the pair is one transposed convolution of stride 2 with
    a 4×4 kernel: 16 products where the enlarged image needs 36. On CPU in full precision that halves the time once
    the image outweighs the kernel; elsewhere the two steps are taken as they are written.
    """

    # Below this many input pixels in the batch, spreading the kernel costs more than it saves (128 and 512 channels).
    _FUSED_FROM_PIXELS = 1024

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bias: bool = True,
        gain: float = math.sqrt(2),
        negative_slope: float | None = None,
    ):
        super().__init__(in_channels, out_channels, 3, padding=1, bias=bias, gain=gain, negative_slope=negative_slope)

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        full_precision = x.dtype == torch.float32 or x.dtype == torch.float64
        if full_precision and x.device.type == "cpu" and n * height * width >= self._FUSED_FROM_PIXELS:
            # The 4×4 kernel sums the 3×3 one over 2×2 shifts; average pooling divides by 4.
            spread = F.avg_pool2d((self.weight * (4 * self.scale)).flip(2, 3), 2, stride=1, padding=1)
            bias = self.bias if self.negative_slope is None else None
            x = F.conv_transpose2d(x, spread.transpose(0, 1), bias, stride=2, padding=1)
            return x if self.negative_slope is None else bias_act(x, self.bias, self.negative_slope)
        return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def scale_smaller(x: Tensor, weight: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """(x, weight) with one of them multiplied by ``scale``: a bilinear op does not mind which, so the smaller one."""
    return (x * scale, weight) if x.numel() < weight.numel() else (x, weight * scale)
