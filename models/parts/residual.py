"""Residual blocks that double or halve images: those of WGAN-GP, SNGAN and BigGAN."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ops import bias_act, conv2d
from models.parts.norms import norm_layer

Finish = Callable[[nn.Module], nn.Module]
"""What is done to each layer with weights: how they start, spectral norm."""
Upsampling = Literal["nearest", "bilinear"]
UPSAMPLINGS = get_args(Upsampling)


class Conv2d(nn.Conv2d):
    """[N, inputs, H, W] → [N, outputs, H, W], with a fast double backward (``gan_ops.conv2d``)."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int):
        super().__init__(inputs, outputs, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        """With ``relu`` a ReLU follows, in one pass with the bias."""
        padding = self.padding[0]
        if relu:
            return bias_act(conv2d(x, self.weight, None, padding), self.bias, negative_slope=0.0)
        return conv2d(x, self.weight, self.bias, padding)


def upsampled(x: Tensor, how: str) -> Tensor:
    """[N, C, H, W] → [N, C, 2H, 2W], by one of :data:`UPSAMPLINGS`."""
    return F.interpolate(x, scale_factor=2, mode=how, **({"align_corners": False} if how == "bilinear" else {}))


EQUAL = (8, 16, 32)
"""Resolutions at which all blocks are equally wide in the papers' networks, unless they are to be a pyramid."""
Multiples = Mapping[int, tuple[int, ...]]
"""Feature maps of each block, by resolution, as multiples of the unit of width."""


def g_multiples(papers: Multiples, resolution: int, pyramid: bool) -> tuple[int, ...]:
    """Of a generator's dense layer and blocks."""
    return pyramid_widths(resolution) if pyramid and resolution in EQUAL else papers[resolution]


def d_multiples(
    papers: Multiples, halvings: Mapping[int, int], resolution: int, pyramid: bool
) -> tuple[tuple[int, ...], int]:
    """Of a discriminator's blocks, and how many of these, the first ones, halve."""
    if not (pyramid and resolution in EQUAL):
        return papers[resolution], halvings[resolution]
    multiples = pyramid_widths(resolution)[::-1]
    return multiples, len(multiples) - 1


def pyramid_widths(resolution: int) -> tuple[int, ...]:
    """Multiples of the unit of width from 4×4 maps to those of the resolution, at most 64: 16, 8, 4, …

    Up to 32 px the papers' networks have the same width at all heights, and most of their work in the largest maps.
    Theirs of 64 px are pyramids.
    """
    return tuple(16 >> i for i in range((resolution // 4).bit_length()))


class UpBlock(nn.Module):
    """x [N, inputs, H, W] → x' + scale·f(x) [N, outputs, 2H, 2W] (Gulrajani et al. 2017; Miyato et al. 2018, fig. 8).

    f is norm, ReLU, doubling, 3×3 convolution, norm, ReLU, 3×3 convolution; x' is x through a 1×1 convolution, doubled.
    (The papers double it before. Both orders are the same function: a mean of pixels passes through a 1×1 convolution,
    and this one takes a quarter of the work.)

    Args:
        norm: makes a norm of so many channels, which takes the conditions y [N, F] too.
        scale: of the residual, at most 1.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        norm: Callable[[int], nn.Module],
        finish: Finish,
        *,
        scale: float = 1.0,
        upsampling: str = "nearest",
    ):
        super().__init__()
        self.norm1, self.norm2 = norm(inputs), norm(outputs)
        self.conv1 = finish(Conv2d(inputs, outputs, 3))
        self.conv2 = finish(Conv2d(outputs, outputs, 3))
        self.shortcut = finish(Conv2d(inputs, outputs, 1))
        self.scale, self.upsampling = scale, upsampling

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = self.conv1(upsampled(F.relu(self.norm1(x, y), inplace=True), self.upsampling))
        h = self.conv2(F.relu(self.norm2(h, y), inplace=True))
        return torch.add(upsampled(self.shortcut(x), self.upsampling), h, alpha=self.scale)


class DownBlock(nn.Module):
    """x [N, inputs, H, W] → x' + scale·f(x) [N, outputs, H/2, W/2], or of x's size.

    f is norm, ReLU, 3×3 convolution, norm, ReLU, 3×3 convolution, 2×2 means; in the first block of a network, which
    sees images, it begins with the convolution and has no norm. x' is x's 2×2 means through a 1×1 convolution, or x
    where nothing changes. (The papers have the convolution before the means, but for the first block; see
    :class:`UpBlock`.)

    Args:
        hidden: maps between the convolutions: ``inputs`` in SNGAN, ``outputs`` in BigGAN and in first blocks.
        norm: one of :data:`models.parts.norms.D_NORMS`.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        finish: Finish,
        *,
        hidden: int,
        first: bool = False,
        down: bool = True,
        norm: str = "none",
        scale: float = 1.0,
    ):
        super().__init__()
        norms = [[] if first else norm_layer(norm, channels) for channels in (inputs, hidden)]
        self.norm1, self.norm2 = (nn.Sequential(*layers) for layers in norms)
        self.conv1 = finish(Conv2d(inputs, hidden, 3))
        self.conv2 = finish(Conv2d(hidden, outputs, 3))
        self.shortcut = finish(Conv2d(inputs, outputs, 1)) if down or inputs != outputs else nn.Identity()
        self.first, self.down, self.scale = first, down, scale

    def forward(self, x: Tensor) -> Tensor:
        h = x if self.first else F.relu(self.norm1(x))
        h = F.relu(self.norm2(self.conv1(h)), inplace=True) if len(self.norm2) else self.conv1(h, relu=True)
        h = self.conv2(h)
        if self.down:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        return torch.add(self.shortcut(x), h, alpha=self.scale)
