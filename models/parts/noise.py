"""Noise that a layer adds to its maps, where nothing of an image but its texture depends on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn


class LayerNoise(nn.Module):
    """One map for all channels, times a learnt strength that starts at 0 (Karras et al. 2019, section 3.2, with the
    single strength of Karras et al. 2020).

    Attributes:
        strength: 0-d.
        constant: [R, R], what is added where no noise is given, so that an image is its latent's alone.
    """

    constant: Tensor

    def __init__(self, resolution: int):
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("constant", torch.randn(resolution, resolution))

    def forward(self, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Noise [N, 1, R, R] or [R, R], and what to multiply it by: the arguments of :func:`gan_ops.scale_bias_act`."""
        return cast(Tensor, self.constant) if given is None else given, self.strength


def noise_maps(noise: Tensor, resolutions: Sequence[int]) -> list[Tensor]:
    """All layers' noise as one column, [N, Σ R²] → [N, 1, R, R] of each layer."""
    sizes = [r * r for r in resolutions]
    if noise.dim() != 2 or noise.shape[1] != sum(sizes):
        raise ValueError(f"noise is {list(noise.shape)}, not [N, {sum(sizes)}]")
    parts = noise.split(sizes, 1)
    return [part.unflatten(1, (1, r, r)) for part, r in zip(parts, resolutions, strict=True)]
