"""Codes among a generator's latents, which InfoGAN makes images depend on (Chen et al. 2016, arXiv 1606.03657)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.parts.labels import one_hot


class Codes:
    """Categorical codes, each uniform over so many values, and continuous ones, uniform over [−1, 1] (section 7.1).

    Latents are normal numbers, whoever draws them, and codes are made of the last ``width`` of them: a category is the
    place of the largest of its numbers, and a number z becomes 2Φ(z) − 1 = erf(z/√2), both of which have these
    distributions exactly.

    Attributes:
        categorical: number of values of each categorical code.
        continuous: number of continuous codes.
        width: values of all codes together, where categories are one-hot vectors; those come first.
    """

    def __init__(self, categorical: Sequence[int] = (), continuous: int = 0) -> None:
        if any(count < 2 for count in categorical) or continuous < 0:
            raise ValueError(f"categorical={list(categorical)}, continuous={continuous}: a code has two values or more")
        self.categorical, self.continuous = tuple(categorical), continuous
        self.width = sum(categorical) + continuous

    def of(self, z: Tensor) -> Tensor:
        """The codes of latents z [N, L]: [N, width]."""
        parts = z[:, z.shape[1] - self.width :].split((*self.categorical, self.continuous), dim=1)
        hot = [one_hot(part.argmax(1), part.shape[1], part) for part in parts[:-1]]
        return torch.cat((*hot, torch.erf(parts[-1] / math.sqrt(2))), dim=1)

    def placed(self, z: Tensor) -> Tensor:
        """Latents [N, L] with their codes in place of the numbers that these are made of."""
        return torch.cat((z[:, : z.shape[1] - self.width], self.of(z)), dim=1) if self.width else z

    def with_category(self, placed: Tensor, code: int, category: Tensor) -> Tensor:
        """What :meth:`placed` gave, [N, L], with another value, int64 [N], of a categorical code."""
        start = placed.shape[1] - self.width + sum(self.categorical[:code])
        end = start + self.categorical[code]
        hot = one_hot(category, self.categorical[code], placed)
        return torch.cat((placed[:, :start], hot, placed[:, end:]), dim=1)

    def with_number(self, placed: Tensor, code: int, number: Tensor) -> Tensor:
        """What :meth:`placed` gave, [N, L], with another value [N] of a continuous code, which may lie beyond 1."""
        at = placed.shape[1] - self.continuous + code
        return torch.cat((placed[:, :at], number[:, None].to(placed), placed[:, at + 1 :]), dim=1)


class OfCodes(nn.Module):
    """A generator of latents [N, L] in which the codes stand themselves, not the numbers that they are made of."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator
        self.resolution, self.latent_dim, self.num_classes = generator.resolution, generator.latent_dim, 0

    def forward(self, z: Tensor) -> Tensor:
        return self.generator(z, placed=True)
