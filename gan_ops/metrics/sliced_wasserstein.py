"""Sliced Wasserstein distance between the patches of two sets of images, scale by scale."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from gan_ops.metrics._features import check_count
from gan_ops.metrics.images import quantised
from gan_ops.ops.wasserstein_1d import wasserstein_1d

PATCH = 7
COARSEST = 16
AT_ONCE = 2**26
"""Values of projections that are in memory at a time, for each set: 256 MB."""
IMAGES_AT_ONCE = 32
"""Those whose pyramids and patches are computed together: caches hold them."""


def sliced_wasserstein(
    real: Tensor, fake: Tensor, *, patches_per_image: int = 128, directions: int = 512, seed: int = 0
) -> dict[int | str, float]:
    """How differently patches look, for each level of the Laplacian pyramid: Karras et al. 2018, section 5.

    From every level of every image, 7×7 patches are taken at random places; each channel of a set's patches is brought
    to mean 0 and deviation 1; the distance of the two sets is the mean, over random directions, of the 1-D Wasserstein
    distances of their projections. The finest level shows pixel noise and sharpness, the coarsest large structures;
    between two sets of real images it is small but not 0 (:func:`noise_floor`). PGGAN's protocol takes 16384 images.

    The random numbers are numpy's: real patches from ``default_rng((seed, 0, size))``, generated ones from ``(seed, 1,
    size)``, directions from ``(seed, 2, size)``, size being the level's. A channel that does not vary is not scaled.

    Args:
        real, fake: [N, 1 or 3, H, H] of the same shape, uint8 or floating-point in [−1, 1], H a power of two from 16
            up. Memory is twice that of both sets' descriptors at one level: 16·N·patches_per_image·C·49 bytes.
        patches_per_image, directions: how many of each.

    Returns:
        From the level's size, H down to 16, to its distance ×10³, and from ``"average"`` to their mean.

    Raises:
        ValueError: the shapes differ or are others, there are no images, or an option is below 1.
        TypeError: another dtype.
    """
    distance = SlicedWasserstein(patches_per_image=patches_per_image, directions=directions, seed=seed)
    real, fake = quantised(real, "real"), quantised(fake, "fake")
    if real.shape != fake.shape:
        raise ValueError(f"fake must have the shape {list(real.shape)} of real, but has {list(fake.shape)}")
    check_count("sliced_wasserstein", "images of each set", 1, len(real))
    distances = {}
    for size in level_sizes(real, "real"):  # one level at a time: all of them together would not fit in memory
        patches = [_Patches([size], patches_per_image, seed, real=is_real) for is_real in (True, False)]
        for of_set, images in zip(patches, (real, fake), strict=True):
            of_set.add(images)
        distances[size] = distance._of_level(size, *(of_set.descriptors(size) for of_set in patches))
    return _with_average(distances)


def noise_floor(
    real: Tensor, *, patches_per_image: int = 128, directions: int = 512, seed: int = 0
) -> dict[int | str, float]:
    """:func:`sliced_wasserstein` between the two halves of a real set: what no generator gets below.

    Args:
        real: [2·N, 1 or 3, H, H]; give 2·16384 images for the floor of 16384.
    """
    check_count("noise_floor", "images", 2, len(real))
    half = len(real) // 2
    options = {"patches_per_image": patches_per_image, "directions": directions, "seed": seed}
    return sliced_wasserstein(real[:half], real[half : 2 * half], **options)


class SlicedWasserstein:
    """:func:`sliced_wasserstein` of batches.

    How a set is cut into batches does not matter: the places of patches depend on an image's position in its set alone.
    Keeps both sets' descriptors, since they can be normalised only when all are there: patches_per_image·C·196 bytes an
    image and level, 10 GB for the protocol's two sets at 128 pixels. The function needs half of that.
    """

    def __init__(self, *, patches_per_image: int = 128, directions: int = 512, seed: int = 0) -> None:
        for name, value in (("patches_per_image", patches_per_image), ("directions", directions)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, but is {value}")
        self.patches_per_image, self.directions, self.seed = patches_per_image, directions, seed
        self.reset()

    def update(self, images: Tensor, *, real: bool) -> None:
        """Adds a batch [N, 1 or 3, H, H] of real or of generated images, uint8 or floating-point in [−1, 1]."""
        images = quantised(images)
        sizes = level_sizes(images)
        shape = tuple(images.shape[1:])
        if self._shape not in (None, shape):
            raise ValueError(f"images must be {list(self._shape)} like those before, not {list(shape)}")
        self._shape = shape
        if real not in self._sets:
            self._sets[real] = _Patches(sizes, self.patches_per_image, self.seed, real=real)
        self._sets[real].add(images)

    def compute(self) -> dict[int | str, float]:
        counts = {name: self._count(real) for name, real in (("real", True), ("fake", False))}
        for name, count in counts.items():
            check_count("sliced_wasserstein", f"{name} images", 1, count)
        if counts["real"] != counts["fake"]:
            raise ValueError(f"sliced_wasserstein needs as many real as fake images, but there are {counts}")
        real, fake = self._sets[True], self._sets[False]
        return _with_average(
            {size: self._of_level(size, real.descriptors(size), fake.descriptors(size)) for size in real.sizes}
        )

    def reset(self) -> None:
        """Forgets everything."""
        self._sets: dict[bool, _Patches] = {}
        self._shape: tuple[int, ...] | None = None

    def real_statistics(self) -> dict[str, Tensor]:
        """What :meth:`load_real` takes, for a cache: the real set's descriptors by level, and how many images."""
        check_count("SlicedWasserstein", "real images", 1, self.count_real)
        patches = self._sets[True]
        levels = {str(size): patches.descriptors(size) for size in patches.sizes}
        return {"shape": torch.tensor(self._shape), "count": torch.tensor(patches.count), **levels}

    def load_real(self, statistics: dict[str, Tensor]) -> None:
        """Puts a real set's statistics, of the same options and seed, in the place of what has come of it."""
        shape = tuple(statistics["shape"].tolist())
        if self._sets.get(False) is not None and self._shape != shape:
            raise ValueError(f"statistics must be of images {list(self._shape)}, not {list(shape)}")
        self._shape = shape
        sizes = _levels_of(shape[-1])
        self._sets[True] = _Patches(sizes, self.patches_per_image, self.seed, real=True)
        self._sets[True].load(int(statistics["count"]), {size: statistics[str(size)] for size in sizes})

    @property
    def count_real(self) -> int:
        return self._count(True)

    @property
    def count_fake(self) -> int:
        return self._count(False)

    def _count(self, real: bool) -> int:
        return self._sets[real].count if real in self._sets else 0

    def _of_level(self, size: int, real: Tensor, fake: Tensor) -> float:
        """The distance ×10³ of descriptors [M, C·49]."""
        generator = np.random.default_rng((self.seed, 2, size))
        rays = torch.from_numpy(generator.standard_normal((self.directions, real.shape[1]))).to(real.device)
        rays = (rays / rays.norm(dim=1, keepdim=True)).float()
        real, fake = _normalised(real), _normalised(fake)
        distances = []
        for part in rays.split(max(1, AT_ONCE // len(real))):
            distances.append(wasserstein_1d(part @ real.T, part @ fake.T))
        return 1e3 * torch.cat(distances).mean().item()


def level_sizes(images: Tensor, name: str = "images") -> list[int]:
    """The pyramid's levels for [N, C, H, H]: H, H/2, … 16."""
    height, width = images.shape[2:]
    if height != width or height < COARSEST or height & (height - 1):
        raise ValueError(
            f"{name} must be square with a side that is a power of two from {COARSEST} up, but are {height}×{width}"
        )
    return _levels_of(height)


def _levels_of(side: int) -> list[int]:
    return [COARSEST << i for i in reversed(range((side // COARSEST).bit_length()))]


def _with_average(distances: dict[int, float]) -> dict[int | str, float]:
    return {**distances, "average": sum(distances.values()) / len(distances)}


class _Patches:
    """Random patches of a set's images, for each of some levels: [n·patches, C·49] a batch."""

    def __init__(self, sizes: list[int], per_image: int, seed: int, *, real: bool) -> None:
        self.sizes, self.per_image, self.count = sizes, per_image, 0
        self._generators = {size: np.random.default_rng((seed, 0 if real else 1, size)) for size in sizes}
        self._batches: dict[int, list[Tensor]] = {size: [] for size in sizes}

    def add(self, images: Tensor) -> None:
        """uint8 images [n, C, H, H]."""
        self.count += len(images)
        for batch in images.split(IMAGES_AT_ONCE):
            for level in laplacian_pyramid(batch.float(), self.sizes[0], self.sizes[-1]):
                size = level.shape[-1]
                places = self._places(size, len(batch)).to(level.device)
                self._batches[size].append(_cut(level, places, self.per_image))

    def _places(self, size: int, images: int) -> Tensor:
        """[images·per_image, 2]: row and column; the next of their sequence, however many are asked for at a time."""
        return torch.from_numpy(self._generators[size].integers(0, size - PATCH + 1, (images * self.per_image, 2)))

    def descriptors(self, size: int) -> Tensor:
        """[M, C·49], float32."""
        self._batches[size] = [torch.cat(self._batches[size])]
        return self._batches[size][0]

    def load(self, count: int, descriptors: dict[int, Tensor]) -> None:
        """As if ``count`` images had been added."""
        self.count = count
        for size in self.sizes:
            self._places(size, count)
            self._batches[size] = [descriptors[size]]


def laplacian_pyramid(images: Tensor, finest: int, coarsest: int) -> Iterator[Tensor]:
    """[N, C, s, s] for s = finest, … coarsest: what a level has over the next one enlarged; at 16 pixels, all it has.

    Levels shrink by the binomial kernel 1 4 6 4 1 and every second pixel, borders mirrored, and are enlarged by the
    same kernel between zeros (Burt and Adelson 1983).
    """
    while images.shape[-1] >= coarsest:
        size = images.shape[-1]
        smaller = images
        if size > COARSEST:
            shrink, enlarge = (matrix.to(images) for matrix in _pyramid_step(size))
            smaller = shrink @ images @ shrink.T
        if size <= finest:
            yield images if size == COARSEST else images - enlarge @ smaller @ enlarge.T
        if size == COARSEST:
            return
        images = smaller


@lru_cache(maxsize=16)
def _pyramid_step(size: int) -> tuple[Tensor, Tensor]:
    """Shrinking and enlarging along an axis as matrices, [size/2, size] and [size, size/2]."""
    pixels = torch.arange(size)[:, None] + torch.arange(-2, 3)  # [size, 5]
    pixels = torch.where(pixels >= size, 2 * (size - 1) - pixels, pixels).abs()  # mirrored: −1 is 1
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]).expand(size, -1) / 16
    smooth = torch.zeros(size, size).scatter_add_(1, pixels, kernel)
    return smooth[0::2].contiguous(), 2 * smooth[:, 0::2].contiguous()


def _cut(level: Tensor, places: Tensor, per_image: int) -> Tensor:
    """[n·per_image, C·49]: the patches of each image [C, s, s] that begin at its places (row, column)."""
    windows = level.unfold(2, PATCH, 1).unfold(3, PATCH, 1).permute(0, 2, 3, 1, 4, 5)  # [n, s−6, s−6, C, 7, 7]
    image = torch.arange(len(level), device=level.device).repeat_interleave(per_image)
    return windows[image, places[:, 0], places[:, 1]].flatten(1)


def _moments(descriptors: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel of descriptors [M, C·49], [C] in float64; parts do not depend on batches."""
    sums = descriptors.new_zeros(2, channels, dtype=torch.float64)
    for part in descriptors.split(2**14):
        values = part.double().view(len(part), channels, -1)
        sums[0] += values.sum((0, 2))
        sums[1] += values.square().sum((0, 2))
    mean, square = sums / (descriptors.numel() / channels)
    return mean, (square - mean.square()).clamp(min=0).sqrt()


def _normalised(descriptors: Tensor) -> Tensor:
    """A copy with mean 0 and deviation 1 of each channel (0 where it does not vary)."""
    channels = descriptors.shape[1] // PATCH**2
    mean, deviation = (x.float().repeat_interleave(PATCH**2) for x in _moments(descriptors, channels))
    return (descriptors - mean).mul_(torch.where(deviation > 0, 1 / deviation, 0))
