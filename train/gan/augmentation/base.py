"""What a game asks of an augmentation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.engine.game import Batch, Stats
from train.engine.schedule import Position


class Augmentation:
    """Leaves images as they are.

    Attributes:
        state: what it remembers between steps, equal in all processes; None for nothing.
    """

    state: nn.Module | None = None

    def draw(self, like: dict[str, Tensor], at: Position, random: torch.Generator) -> Batch:
        """Columns for images of the shapes [N, C, H, W] that ``like`` has by name: their names begin with that of the
        images, and a space. They do not depend on how a batch is parted later."""
        return {}

    def __call__(self, images: Tensor, batch: Batch, name: str) -> Tensor:
        """The images [N, C, H, W] that a column or a network gave, as the discriminator sees them."""
        return images

    def arrange(self, shown: int) -> None:
        """When a phase begins, whose steps show D so many images in all processes together."""

    def after(self, stats: Stats) -> None:
        """Once a step, with what the losses reported: changes the buffers of ``state`` in place, on the device."""


def renamed(columns: Batch, old: str, new: str) -> Batch:
    """Those columns whose names begin so, by other names."""
    return {new + name.removeprefix(old): column for name, column in columns.items() if name.startswith(old)}
