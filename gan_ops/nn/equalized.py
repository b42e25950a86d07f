"""Linear and convolution layers with equalized learning rate."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ops.ops import bias_act, bias_act_pixel_norm, conv2d

__all__ = ["EqualizedConv2d", "EqualizedLinear", "EqualizedUpConv2d", "scaled_before_epilogue"]


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
    The bias is not scaled. With ``negative_slope`` a leaky ReLU follows, with ``pixel_norm`` a pixel norm, in one pass
    with the bias.
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
        pixel_norm: bool = False,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.padding = padding
        self.negative_slope = negative_slope
        self.pixel_norm = pixel_norm
        self.scale = gain / math.sqrt(in_channels * kernel_size**2)

    def forward(self, x: Tensor) -> Tensor:
        if not self._has_epilogue():
            x, weight = scale_smaller(x, self.weight, self.scale)
            return conv2d(x, weight, self.bias, self.padding)
        x, weight, scale = scaled_before_epilogue(x, self.weight, self.scale)
        return self._epilogue(conv2d(x, weight, None, self.padding), scale)

    def _has_epilogue(self) -> bool:
        return self.negative_slope is not None or self.pixel_norm

    def _epilogue(self, x: Tensor, scale: float) -> Tensor:
        """Of the convolution x: times ``scale``, with the bias, and what follows it."""
        slope = 1.0 if self.negative_slope is None else self.negative_slope
        if self.pixel_norm:
            return bias_act_pixel_norm(x, self.bias, slope, scale=scale)
        return bias_act(x, self.bias, slope, scale=scale)

    def extra_repr(self) -> str:
        out_channels, in_channels, size, _ = self.weight.shape
        return (
            f"{in_channels}, {out_channels}, kernel_size={size}, padding={self.padding}, "
            f"bias={self.bias is not None}, scale={self.scale:.4g}, negative_slope={self.negative_slope}, "
            f"pixel_norm={self.pixel_norm}"
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
        pixel_norm: bool = False,
    ):
        epilogue = {"negative_slope": negative_slope, "pixel_norm": pixel_norm}
        super().__init__(in_channels, out_channels, 3, padding=1, bias=bias, gain=gain, **epilogue)

    def forward(self, x: Tensor) -> Tensor:
        if self._fusing_pays(x):
            if not self._has_epilogue():
                return self._fused(x, self.weight * self.scale, self.bias)
            x, weight, scale = scaled_before_epilogue(x, self.weight, self.scale)
            return self._epilogue(self._fused(x, weight, None), scale)
        return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))

    def _fusing_pays(self, x: Tensor) -> bool:
        if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
            return False
        # An exported graph is for batches of any size.
        return not torch.compiler.is_exporting() and x.numel() // x.shape[1] >= self._FUSED_FROM_PIXELS

    @staticmethod
    def _fused(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # The 4×4 kernel sums the 3×3 one over 2×2 shifts.
        spread = F.avg_pool2d(weight.flip(2, 3), 2, stride=1, padding=1, divisor_override=1).transpose(0, 1)
        return F.conv_transpose2d(x, spread, bias, stride=2, padding=1)


def scaled_before_epilogue(x: Tensor, weight: Tensor, scale: float) -> tuple[Tensor, Tensor, float]:
    """(x, weight) to multiply, and what their product's epilogue has still to scale it by.

    That is ``scale``, but in float16 one of the two is scaled: of weights ~ N(0, 1) the product is √fan_in/gain times
    as large, which float16 does not always hold.
    """
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    return (*scale_smaller(x, weight, scale), 1.0) if dtype == torch.float16 else (x, weight, scale)


def scale_smaller(x: Tensor, weight: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """(x, weight) with one of them multiplied by ``scale``: either will do in a bilinear op; it is the smaller one.

    In an exported graph it is the weight, since the batch can have any size there.
    """
    if torch.compiler.is_exporting() or x.numel() >= weight.numel():
        return x, weight * scale
    return x * scale, weight
