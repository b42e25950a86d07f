"""Frequency bands of images amplified or weakened (ADA, Karras et al. 2020, appendix B)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gan_ops.augmentation.transformation import Dice, Probability, Transformation
from gan_ops.augmentation.wavelets import SYM2

BANDS = 4
POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)
"""Of natural images, whose spectrum falls as 1/f, in each band, from the lowest on."""


class Filtering(Transformation):
    """Four bands of each image's frequencies, [0, π/8], [π/8, π/4], [π/4, π/2], [π/2, π], each multiplied by a number
    of its own, each by itself with the probability p; the power of an image is kept on average.

    The filters are made of the wavelet sym2, act along both axes, and see each image continued by its mirror image.
    With all numbers 1 they are the identity.

    Args:
        strength: standard deviation of the logarithms, to the base 2, of the numbers (the paper: 1).
    """

    name = "filter"

    def __init__(self, share: float = 1.0, *, strength: float = 1.0) -> None:
        super().__init__(share)
        self.strength = strength
        self.register_buffer("taps", torch.from_numpy(band_filters()), persistent=False)
        self.register_buffer("power", torch.tensor(POWER), persistent=False)

    def draw(self, shape: Sequence[int], p: Probability, random: torch.Generator) -> Tensor:
        """What each band is multiplied by, [N, 4]."""
        dice = Dice(shape[0] * BANDS, p * self.share, random)
        factors = dice.or_else((self.strength * dice.normal()).exp2(), 1).view(-1, BANDS)
        # One band after another, each with all others made up for: [N, band that changes, band].
        alone = torch.ones_like(factors)[:, None] + torch.diag_embed(factors - 1)
        return (alone / (alone.square() * self.power).sum(2, keepdim=True).sqrt()).prod(1)

    def forward(self, images: Tensor, drawn: Tensor) -> Tensor:
        # A filter with mirrored borders is a matrix of an axis. As products of matrices, the filters of all images
        # take one call each, and have derivatives of every order.
        across = self._matrices(images.shape[3], drawn.to(images.dtype))
        down = across if images.shape[2] == images.shape[3] else self._matrices(images.shape[2], drawn.to(images.dtype))
        return down[:, None] @ images @ across[:, None].mT

    def _matrices(self, size: int, factors: Tensor) -> Tensor:
        """[N, size, size]: from the pixels of an axis to these filtered with bands times ``factors`` [N, 4]."""
        taps = self.taps.to(factors.dtype)  # [4, K]
        reach = taps.shape[1] // 2
        places = torch.arange(-reach, size + reach, device=taps.device).abs() % (2 * size - 2)
        places = torch.minimum(places, 2 * size - 2 - places)  # [size + K − 1], mirrored as often as it takes
        copies = (places == torch.arange(size, device=taps.device)[:, None]).to(factors.dtype)  # [size, size + K − 1]
        of_bands = F.conv1d(copies[:, None], taps[:, None])  # [from, 4, to]
        return torch.einsum("fbt,nb->ntf", of_bands, factors)


def band_filters() -> np.ndarray:
    """[4, 43], float64: taps of the filters of the bands, from the lowest on; their sum is a single 1 in the middle.

    Of H(z) = sym2 and the half-band filters L(z) = H(z)H(z⁻¹)/2 and L(−z) = 1 − L(z): a band of a signal that is
    sampled half as densely becomes one of the signal by zeros between its taps and L, and the part that L leaves is the
    highest band.
    """
    taps = np.array(SYM2)
    low = np.convolve(taps, taps[::-1]) / 2
    high = -low
    high[len(high) // 2] += 1
    bands = np.ones((1, 1))
    for _ in range(BANDS - 1):
        spread = np.zeros((len(bands), 2 * bands.shape[1] - 1))
        spread[:, ::2] = bands
        lower = np.stack([np.convolve(band, low) for band in spread])
        margin = (lower.shape[1] - len(high)) // 2
        bands = np.concatenate((lower, np.pad(high, margin)[None]))
    return bands
