"""What a run shows in its grids: the same latents every time, and some of the real images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.base.seeds import stream_seed
from train.data import ImageSet
from train.measure.pictures import grid, latents, row_labels
from train.run.cadence import Cadence


def fixed_inputs(generator: nn.Module, cadence: Cadence, seed: int) -> tuple[Tensor, Tensor | None]:
    """Latents [N, latent] and, with classes, labels [N] of a run's grids."""
    z = latents(cadence.rows * cadence.columns, generator.latent_dim, stream_seed(seed, "grid"))
    classes = list(range(generator.num_classes))
    return z, row_labels(cadence.rows, cadence.columns, classes) if classes else None


def real_grid(images: ImageSet, cadence: Cadence, seed: int) -> Tensor:
    """Some of the images, uint8 [C, H, W]."""
    random = torch.Generator().manual_seed(stream_seed(seed, "reals"))
    chosen = torch.randint(len(images), (cadence.rows * cadence.columns,), generator=random)
    return grid(images.batch(chosen, images.resolution), cadence.columns)
