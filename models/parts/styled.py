"""Layers that a style modulates (Karras et al. 2020, section 2.2 and figure 2d)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gan_ops import demodulation, modulated_conv2d, scale_bias_act
from models.parts.equalized import Dense
from models.parts.noise import LayerNoise


class StyledConv(nn.Module):
    """x [N, inputs, H, W] and w [N, w_dim] → [N, outputs, H·up, W·up]: a 3×3 convolution of weights that each sample's
    style modulates and that are demodulated, then noise, bias and leaky ReLU.

    Args:
        resolution: H·up.
        filter: for ``up``, as :func:`gan_ops.resample_conv2d` takes it.
        clamp: the largest magnitude of a result; None for no bound.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        w_dim: int,
        resolution: int,
        *,
        up: int = 1,
        filter: Tensor | None = None,
        clamp: float | None = None,
    ):
        super().__init__()
        self.affine = Dense(w_dim, inputs, start=1.0)
        # Demodulation takes away any scale that a weight has.
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise = LayerNoise(resolution)
        self.register_buffer("filter", filter, persistent=False)
        self.up, self.clamp = up, clamp

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None) -> Tensor:
        """``noise`` [N, 1, H·up, W·up] takes the place of the layer's own."""
        style = self.affine(w)
        # Products of large styles overflow float16, unless the demodulation is known with them.
        together = x.dtype == torch.float16
        y = modulated_conv2d(
            x,
            self.weight,
            style,
            demodulate=together,
            up=self.up,
            padding=1,
            filter=self.filter,
            flip_weight=self.up == 1,  # as the authors' weights have it
        )
        scale = None if together else demodulation(self.weight, style)
        return scale_bias_act(y, scale, self.bias, *self.noise(noise), clamp=self.clamp)

    def extra_repr(self) -> str:
        outputs, inputs, _, _ = self.weight.shape
        return f"{inputs}, {outputs}, up={self.up}, clamp={self.clamp}"


class ToRgb(nn.Module):
    """x [N, inputs, H, W] and w [N, w_dim] → [N, image_channels, H, W]: a modulated 1×1 convolution and a bias."""

    def __init__(self, inputs: int, image_channels: int, w_dim: int, *, clamp: float | None = None):
        super().__init__()
        self.affine = Dense(w_dim, inputs, start=1.0)
        self.weight = nn.Parameter(torch.randn(image_channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(image_channels))
        self.scale, self.clamp = 1 / math.sqrt(inputs), clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        y = modulated_conv2d(x, self.weight, self.affine(w) * self.scale, demodulate=False)
        return scale_bias_act(y, bias=self.bias, act="linear", clamp=self.clamp)
