"""Dense layers and convolutions of StyleGANs: equalised learning rates with a multiplier, and an activation."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ops import bias_act, resample_conv2d, scale_bias_act

Act = Literal["linear", "lrelu"]
GAINS = {"linear": 1.0, "lrelu": math.sqrt(2)}
SLOPE = 0.2
"""Of the leaky ReLU, below zero."""


class Dense(nn.Module):
    """act(W·x·m/√inputs + m·b)·gain, W ~ N(0, 1/m²) at the start: x [N, inputs] → [N, outputs].

    m is ``lr_multiplier``: the layer learns so much more slowly than its neighbours (Karras et al. 2019, appendix B).
    Computed in the weight's type under autocast too.

    Args:
        start: what is added at the start.
        act: the gain of "lrelu" is √2.
    """

    def __init__(
        self, inputs: int, outputs: int, *, lr_multiplier: float = 1.0, start: float = 0.0, act: Act = "linear"
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((outputs,), start / lr_multiplier))
        self.lr_multiplier, self.act = lr_multiplier, act
        self.scale = lr_multiplier / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x, bias = x.to(self.weight.dtype), self.bias
            if self.lr_multiplier != 1:
                bias = bias * self.lr_multiplier
            if self.act == "linear":
                return F.linear(x, self.weight * self.scale, bias)
            return bias_act(F.linear(x, self.weight), bias, SLOPE, GAINS["lrelu"], self.scale)

    def extra_repr(self) -> str:
        outputs, inputs = self.weight.shape
        return f"{inputs}, {outputs}, lr_multiplier={self.lr_multiplier}, act={self.act!r}"


class Conv(nn.Module):
    """act(W·x/√fan-in + b)·gain, W ~ N(0, 1): x [N, inputs, H, W] → [N, outputs, H·up/down, W·up/down].

    Args:
        size: height and width of the kernel, odd.
        filter: for ``up`` and ``down``, as :func:`gan_ops.resample_conv2d` takes it.
        clamp: the largest magnitude of a result, for a gain of 1; None for no bound.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        bias: bool = True,
        act: Act = "lrelu",
        up: int = 1,
        down: int = 1,
        filter: Tensor | None = None,
        clamp: float | None = None,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.register_buffer("filter", filter, persistent=False)
        self.act, self.up, self.down, self.clamp = act, up, down, clamp
        self.scale = 1 / math.sqrt(inputs * size**2)

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """``gain`` comes on top of the activation's, and the bound grows with it."""
        plain = self.act == "linear" and self.bias is None and self.clamp is None
        weight = self.weight * (self.scale * gain if plain else self.scale)
        y = resample_conv2d(x, weight.to(x.dtype), self.filter, self.up, self.down, self.weight.shape[-1] // 2)
        if plain:
            return y
        if self.clamp is None and self.act == "lrelu":
            return bias_act(y, self.bias, SLOPE, GAINS["lrelu"] * gain)  # keeps y alone for the backward pass
        clamp = None if self.clamp is None else self.clamp * gain
        return scale_bias_act(y, bias=self.bias, act=self.act, gain=GAINS[self.act] * gain, clamp=clamp)

    def extra_repr(self) -> str:
        outputs, inputs, size, _ = self.weight.shape
        return f"{inputs}, {outputs}, {size}, act={self.act!r}, up={self.up}, down={self.down}, clamp={self.clamp}"
