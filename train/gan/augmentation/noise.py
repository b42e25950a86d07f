"""Noise on all images that D sees."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from train.engine.game import Batch
from train.engine.schedule import Position
from train.gan.augmentation.base import Augmentation


@dataclass(frozen=True)
class InstanceNoise(Augmentation):
    """Normal noise on real and generated images (Sønderby et al. 2017)."""

    start: float = 0.0  # standard deviation at the start; 0 for no noise at all
    images: float = 1.0  # shown until it has fallen linearly to 0

    def draw(self, like: dict[str, Tensor], at: Position, random: torch.Generator) -> Batch:
        """Columns "<name> noise"."""
        if not self.start:
            return {}
        deviation = self.start * max(0.0, 1 - at.images / self.images)
        return {
            f"{name} noise": torch.empty_like(images).normal_(generator=random).mul_(deviation)
            for name, images in like.items()
        }

    def __call__(self, images: Tensor, batch: Batch, name: str) -> Tensor:
        noise = batch.get(f"{name} noise")
        return images if noise is None else images + noise
