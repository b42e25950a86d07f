"""Samples of a generator of styles: truncated, and mixed of two latents' styles (Karras et al. 2019, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.parts.styles import styles_of
from train.base.errors import UsageError
from train.measure.pictures import latents

MOST = 2**20
"""Numbers in a list."""


def parse_numbers(text: str, option: str) -> list[int]:
    """``"0-3,7"`` → [0, 1, 2, 3, 7]; UsageError if it is no such list."""
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = [first, last if dash else first]
        if not all(end.isascii() and end.isdecimal() and len(end) < 19 for end in ends):
            raise UsageError(f"{option}={text!r} is not a list of whole numbers such as 0-3,7")
        start, stop = map(int, ends)
        if not 0 <= stop - start < MOST - len(numbers):
            raise UsageError(f"{option}={text!r}: {part.strip()} is not from a number to a later one, or too many")
        numbers += range(start, stop + 1)
    return numbers


def seeded(seeds: Sequence[int], length: int, truncation: float = 0.0) -> Tensor:
    """The first latent of each seed, as :func:`train.measure.pictures.latents` draws it: [len(seeds), length]."""
    return torch.cat([latents(1, length, seed, truncation) for seed in seeds])


class Truncated(nn.Module):
    """A generator whose first ``cutoff`` layers' styles are drawn towards their mean (0: all layers')."""

    def __init__(self, generator: nn.Module, psi: float, cutoff: int = 0) -> None:
        super().__init__()
        self.generator, self.psi, self.cutoff = generator, psi, cutoff or None
        self.resolution, self.latent_dim = generator.resolution, generator.latent_dim
        self.num_classes = generator.num_classes

    def styles(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Of latents z [N, latent_dim]: [N, layers, w_dim]."""
        of = self.generator
        return styles_of(of.mapping, z, labels, of.layers, psi=self.psi, cutoff=self.cutoff)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.generator.synthesis(self.styles(z, labels))


class OfStyles(nn.Module):
    """A generator of styles [N, layers, w_dim] themselves."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, styles: Tensor) -> Tensor:
        return self.generator.synthesis(styles)


def mixing_matrix(rows: Tensor, columns: Tensor, layers: Sequence[int]) -> Tensor:
    """Styles of rows [R, L, W] and of columns [C, L, W], and of each row with some layers' styles of each column.

    Returns:
        [C + R · (1 + C), L, W]: the columns' own, and then of each row its own and those with the columns'.
    """
    mixed = rows[:, None].repeat(1, len(columns), 1, 1)  # [R, C, L, W]
    mixed[:, :, list(layers)] = columns[None, :, list(layers)]
    return torch.cat((columns, torch.cat((rows[:, None], mixed), 1).flatten(0, 1)))
