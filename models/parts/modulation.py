"""Batch norms whose scales and shifts are each sample's own: of its class, of its latent, or of both."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Unmodulated(nn.BatchNorm2d):
    """Batch norm with learnt scales and shifts, where others take the conditions y too."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return super().forward(x)


class Modulated(nn.Module):
    """x [N, C, H, W], y [N, F] → (1 + gain(h))·x̂ + bias(h), x̂ being x in batch norm and h = ReLU(hidden(y)).

    Without ``hidden`` h is y. With y one-hot and ``gain`` and ``bias`` dense layers without biases, this is conditional
    batch norm (Dumoulin et al. 2017, arXiv 1610.07629, equation 5); with y the latent and a hidden layer it is
    self-modulation (Chen et al. 2019, arXiv 1810.01365, equations 1 and 2).

    Args:
        gain, bias: map h [N, F'] to [N, C].
        hidden: maps y to [N, F'].
    """

    def __init__(self, channels: int, gain: nn.Module, bias: nn.Module, hidden: nn.Module | None = None):
        super().__init__()
        self.normal = nn.BatchNorm2d(channels, affine=False)
        self.hidden, self.gain, self.bias = hidden, gain, bias

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = y if self.hidden is None else F.relu(self.hidden(y))
        x = self.normal(x)
        scale, shift = (part.to(x.dtype)[..., None, None] for part in (1 + self.gain(h), self.bias(h)))
        return torch.addcmul(shift, x, scale)


def zero_linear(inputs: int, outputs: int, *, bias: bool) -> nn.Linear:
    """A dense layer whose weights, and biases if any, start at 0: norms modulated by it start unmodulated."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.zeros_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
