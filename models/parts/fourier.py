"""A picture of sine waves as the input of a network, which can be moved and turned exactly."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.parts.equalized import Dense


class FourierInput(nn.Module):
    """w [N, w_dim] → maps [N, channels, size, size] of waves sin(2π(f·p + φ)), mixed by a learnt matrix (Karras et al.
    2021, section 3.2 and appendix F).

    Frequencies f are normal with deviations that make them cover a disk of radius ``band`` evenly, phases φ uniform in
    a turn; both stay as they are. Points p are in sides of the picture from its middle. A dense layer makes of w a
    rotation and a shift of the plane, none at the start.

    Args:
        size: height and width, of which those beyond ``rate`` lie around the picture.
        rate: samples per side of the picture.
        band: the highest frequency, in cycles per side. Waves above it, which transformations may make, fade out
            linearly up to rate/2.

    Attributes:
        transform: what stands for one that is not given; None for the identity.
    """

    frequencies: Tensor
    phases: Tensor
    transform: Tensor | None

    def __init__(self, w_dim: int, channels: int, size: int, rate: int, band: float):
        super().__init__()
        self.size, self.rate, self.band = size, rate, band
        normal = torch.randn(channels, 2)
        square = normal.square().sum(1, keepdim=True)  # → [channels, 1]
        self.register_buffer("frequencies", normal * (band / (square * square.exp().sqrt()).sqrt()))
        self.register_buffer("phases", torch.rand(channels) - 0.5)
        self.register_buffer("transform", None, persistent=False)
        self.weight = nn.Parameter(torch.randn(channels, channels))
        self.affine = Dense(w_dim, 4)
        with torch.no_grad():
            self.affine.weight.zero_()
            self.affine.bias[0] = 1.0

    def forward(self, w: Tensor, transform: Tensor | None = None) -> Tensor:
        """In float32 or wider, under autocast too.

        Args:
            transform: [3, 3] or [N, 3, 3], maps points (x, y, 1) of the picture that is made to points of the plane,
                x to the right and y down.
        """
        transform = self.transform if transform is None else transform
        with torch.autocast(w.device.type, enabled=False):
            frequencies, phases = self._transformed(self.affine(w), transform)  # [N, C, 2], [N, C]
            room = self.rate / 2 - self.band
            amplitudes = (1 - (frequencies.norm(dim=2) - self.band) / room).clamp(0, 1)  # [N, C]
            places = torch.arange(self.size, device=w.device, dtype=frequencies.dtype)
            places = (places + (0.5 - self.size / 2)) / self.rate
            turns = places[:, None, None] * frequencies[:, None]  # [size, 1, 1] · [N, 1, C, 2] → [N, size, C, 2]
            x, y = turns.unbind(3)
            waves = torch.sin(2 * math.pi * (x[:, None] + (y + phases[:, None])[:, :, None]))  # [N, y, x, C]
            waves = waves * amplitudes[:, None, None]
            return F.linear(waves, self.weight / math.sqrt(len(self.weight))).permute(0, 3, 1, 2)

    def _transformed(self, t: Tensor, transform: Tensor | None) -> tuple[Tensor, Tensor]:
        """Frequencies and phases of points that are first transformed, then shifted, and then turned by t [N, 4]."""
        t = t / t[:, :2].norm(dim=1, keepdim=True)
        cos, sin, *_ = t.unbind(1)
        turn = torch.stack((cos, -sin, sin, cos), 1).view(-1, 2, 2)
        frequencies = self.frequencies.to(t.dtype) @ turn  # [C, 2] @ [N, 2, 2] → [N, C, 2]
        offset = -t[:, 2:]  # [N, 2]
        if transform is not None:
            transform = transform.to(t.dtype).expand(len(t), 3, 3)
            offset = offset + transform[:, :2, 2]
        phases = self.phases.to(t.dtype) + (frequencies @ offset[:, :, None])[:, :, 0]
        if transform is not None:
            frequencies = frequencies @ transform[:, :2, :2]
        return frequencies, phases
