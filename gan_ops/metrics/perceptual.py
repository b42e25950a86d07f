"""Distances between images in all maps of a network that sees what people see (Zhang et al. 2018, arXiv 1801.03924)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def unit_features(maps: Sequence[Tensor]) -> Tensor:
    """Features [N, Σ C·H·W] of maps [N, C, H, W], such that the squared distance of two images' features is

        Σ_layers mean_pixels ‖m̂ − m̂'‖²,

    with m̂ the vector of a pixel's channels, divided by its length: equation 1 of LPIPS, all of whose weights are 1.
    A vector of zeros stays one.
    """
    parts = []
    for each in maps:
        length = torch.linalg.vector_norm(each, dim=1, keepdim=True)  # [N, C, H, W] → [N, 1, H, W]
        height, width = each.shape[2:]
        parts.append((each / (length + 1e-10) / math.sqrt(height * width)).flatten(1))
    return torch.cat(parts, 1)
