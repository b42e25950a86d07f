"""What stands before the discriminator: it sees all images through it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from train.engine.game import Batch
from train.engine.schedule import Position


@dataclass(frozen=True)
class InstanceNoise:
    """Normal noise on real and generated images (Sønderby et al. 2017)."""

    start: float = 0.0  # standard deviation at the start; 0 for no noise at all
    images: float = 1.0  # shown until it has fallen linearly to 0

    def draw(self, like: dict[str, Tensor], at: Position, random: torch.Generator) -> Batch:
        """Noise for images of the shapes [N, C, H, W] that ``like`` has by name: columns "<name> noise"."""
        if not self.start:
            return {}
        deviation = self.start * max(0.0, 1 - at.images / self.images)
        return {
            f"{name} noise": torch.empty_like(images).normal_(generator=random).mul_(deviation)
            for name, images in like.items()
        }

    def __call__(self, images: Tensor, batch: Batch, name: str) -> Tensor:
        """The images [N, C, H, W] that a column or a network gave, as the discriminator sees them."""
        noise = batch.get(f"{name} noise")
        return images if noise is None else images + noise
