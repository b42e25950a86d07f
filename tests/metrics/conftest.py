from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor


@pytest.fixture(scope="session")
def draw_features() -> Callable[..., Tensor]:
    """``draw_features(n, width=…, seed=…)``: correlated Gaussian features in float64."""

    def draw(n: int, width: int = 32, seed: int = 0, shift: float = 0.0, scale: float = 1.0) -> Tensor:
        mix = torch.randn(width, width, generator=torch.Generator().manual_seed(100), dtype=torch.float64)
        x = torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return scale * (x @ mix) / width**0.5 + shift

    return draw


@pytest.fixture(scope="session")
def draw_images() -> Callable[..., Tensor]:
    """``draw_images(n, size, seed=…)``: uint8 images with detail of all sizes, each with colours of its own."""

    def draw(n: int, size: int = 64, channels: int = 3, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        total = torch.zeros(n, channels, size, size)
        cells = 1
        while cells <= size:
            noise = torch.randn(n, channels, cells, cells, generator=generator)
            total += F.interpolate(noise, size=(size, size), mode="nearest")
            cells *= 2
        return (128 + 25 * total).clamp(0, 255).round().to(torch.uint8)

    return draw
