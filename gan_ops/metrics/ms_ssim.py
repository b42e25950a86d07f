"""Multi-scale structural similarity: between generated images, how little they vary."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_ops.metrics._features import check_count
from gan_ops.metrics.images import quantised

WINDOW, SIGMA = 11, 1.5
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, the finest first: Wang et al. 2003, section 3.2."""
BRIGHTNESS_FLOOR, CONTRAST_FLOOR = (0.01 * 255) ** 2, (0.03 * 255) ** 2


class MsSsimResult(NamedTuple):
    """Mean over the pairs, its standard error (NaN of one pair), the number of pairs, and the scales used (1 to 5)."""

    mean: float
    standard_error: float
    pairs: int
    scales: int


def ms_ssim(a: Tensor, b: Tensor) -> MsSsimResult:
    """Mean over pairs (a_i, b_i) of Π_s contrast_s^w_s · brightness_S^w_S: Wang et al. 2003, eq. 7.

    Windows are 11×11 Gaussians of σ 1.5, the next scale is a mean of 2×2 pixels, and a mean over channels and pixels
    that is negative counts as 0: the number that torchmetrics gives (``data_range=255``). Images smaller than 176
    pixels have fewer than five scales: as many as leave the coarsest at least one window wide, with the first of the
    weights, made to sum to one. Values with different numbers of scales cannot be compared.

    Between random generated images, 10 000 pairs in PGGAN's protocol, lower is more varied (Odena et al. 2017); the
    value of real images is the target.

    Args:
        a, b: [N, 1 or 3, H, W] of the same shape, uint8 or floating-point in [−1, 1]; computed in float64.

    Raises:
        ValueError: another shape, no pair, or images smaller than 11×11.
        TypeError: another dtype.
    """
    similarity = _Similarity()
    similarity.add(quantised(a, "a"), quantised(b, "b"))
    return similarity.result()


class MsSsim:
    """:func:`ms_ssim` of a stream of generated images, of which the first and second are a pair, the third and fourth…

    Pairs are random where the stream comes in random order, as from a generator; shuffle a folder first. Memory does
    not grow with it. An odd last image is left out.
    """

    def __init__(self) -> None:
        self.reset()

    def update(self, images: Tensor) -> None:
        """Adds a batch [N, 1 or 3, H, W], uint8 or floating-point in [−1, 1]."""
        images = quantised(images)
        if self._single is not None and len(images):
            if self._single.shape[1:] != images.shape[1:]:
                raise ValueError(
                    f"images must be {list(self._single.shape[1:])} like those before, not {list(images.shape[1:])}"
                )
            images = torch.cat([self._single.to(images.device), images])
            self._single = None
        if len(images) % 2:
            self._single = images[-1:].clone()
            images = images[:-1]
        if len(images):
            self._similarity.add(images[0::2], images[1::2])

    def compute(self) -> MsSsimResult:
        return self._similarity.result()

    def reset(self) -> None:
        """Forgets everything."""
        self._single: Tensor | None = None
        self._similarity = _Similarity()

    @property
    def count(self) -> int:
        """Images in pairs so far."""
        return 2 * self._similarity.pairs


class _Similarity:
    """The mean of pairs' similarities and its error, a value a pair."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.size: tuple[int, ...] = ()

    @property
    def pairs(self) -> int:
        return len(self.values)

    def add(self, a: Tensor, b: Tensor) -> None:
        if a.shape != b.shape:
            raise ValueError(f"b must have the shape {list(a.shape)} of a, but has {list(b.shape)}")
        if self.size and self.size != a.shape[1:]:
            raise ValueError(f"images must be {list(self.size)} like those before, not {list(a.shape[1:])}")
        _scales(min(a.shape[2:]))  # refuses small images even where there is no pair
        self.size = tuple(a.shape[1:])
        at_once = max(1, 2**18 // max(1, a[:1].numel()))  # 2 MB of each map, which caches hold
        for x, y in zip(a.split(at_once), b.split(at_once), strict=True):
            self.values += _similarities(x.double(), y.double()).tolist()

    def result(self) -> MsSsimResult:
        check_count("ms_ssim", "images", 2, 2 * self.pairs)
        values = torch.tensor(self.values, dtype=torch.float64)
        error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return MsSsimResult(values.mean().item(), error, len(values), _scales(min(self.size[1:])))


def _scales(side: int) -> int:
    """How many times images of this side can be halved and still hold a window."""
    if side < WINDOW:
        raise ValueError(f"ms_ssim needs images of at least {WINDOW}×{WINDOW}, but their shorter side is {side}")
    return next(scales for scales in range(len(WEIGHTS), 0, -1) if side // 2 ** (scales - 1) >= WINDOW)


def _similarities(a: Tensor, b: Tensor) -> Tensor:
    """[N] for float64 images of values 0 to 255."""
    scales = _scales(min(a.shape[2:]))
    total = 1 if scales == len(WEIGHTS) else sum(WEIGHTS[:scales])  # all five sum to 1.0001
    product = a.new_ones(len(a))
    for scale, weight in enumerate(WEIGHTS[:scales]):
        last = scale == scales - 1
        factor = _full_similarity(a, b) if last else _contrast_similarity(a, b)
        product *= factor.clamp(min=0) ** (weight / total)
        if not last:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return product


def _full_similarity(a: Tensor, b: Tensor) -> Tensor:
    """[N]: similarity of brightness, contrast and structure (Wang et al. 2004, eq. 13), borders mirrored."""
    rows, columns = (_windows(size, a, mirrored=True) for size in a.shape[2:])
    mean_a, mean_b, contrast = _statistics(a, b, rows, columns)
    brightness = (2 * mean_a * mean_b + BRIGHTNESS_FLOOR) / (mean_a.square() + mean_b.square() + BRIGHTNESS_FLOOR)
    return (brightness * contrast).mean((1, 2, 3))


def _contrast_similarity(a: Tensor, b: Tensor) -> Tensor:
    """[N]: that of contrast and structure alone, over windows that lie within the image."""
    rows, columns = (_windows(size, a, mirrored=False) for size in a.shape[2:])
    return _statistics(a, b, rows, columns)[2].mean((1, 2, 3))


def _statistics(a: Tensor, b: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The means of both images and their similarity of contrast and structure, window by window."""

    def smooth(x: Tensor) -> Tensor:
        return rows @ x @ columns.T

    mean_a, mean_b = smooth(a), smooth(b)
    variance_a, variance_b = (
        (smooth(x.square()) - mean.square()).clamp(min=0) for x, mean in ((a, mean_a), (b, mean_b))
    )
    covariance = smooth(a * b) - mean_a * mean_b
    return mean_a, mean_b, (2 * covariance + CONTRAST_FLOOR) / (variance_a + variance_b + CONTRAST_FLOOR)


def _windows(size: int, like: Tensor, *, mirrored: bool) -> Tensor:
    """The Gaussian window at each place along an axis, as a matrix [places, size]: matrix products filter fastest."""
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    weights /= weights.sum()
    places = torch.arange(size) if mirrored else torch.arange(WINDOW // 2, size - WINDOW // 2)
    pixels = (places[:, None] + offsets.long()).abs()  # mirrored at 0: −1 is 1
    pixels = torch.where(pixels >= size, 2 * (size - 1) - pixels, pixels)
    matrix = torch.zeros(len(places), size, dtype=torch.float64)
    return matrix.scatter_add_(1, pixels, weights.expand(len(places), -1)).to(like)
