"""Sliced Wasserstein distance between the patches of two sets of images, scale by scale."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gan_ops.metrics._features import check_count
from gan_ops.metrics.images import quantised
from gan_ops.ops import laplacian_patches, projected_wasserstein

PATCH = 7
COARSEST = 16


def sliced_wasserstein(
    real: Tensor, fake: Tensor, *, patches_per_image: int = 128, directions: int = 512, seed: int = 0
) -> dict[int | str, float]:
    """How differently patches look, for each level of the Laplacian pyramid: Karras et al. 2018, section 5.

    From every level of every image, 7×7 patches are taken at random places; each channel of a set's patches is brought
    to mean 0 and deviation 1; the distance of the two sets is the mean, over random directions, of the 1-D Wasserstein
    distances of their projections. The finest level shows pixel noise and sharpness, the coarsest large structures;
    between two sets of real images it is small but not 0 (:func:`noise_floor`). PGGAN's protocol takes 16384 images.

    The random numbers are numpy's: real patches from ``default_rng((seed, 0, size))``, generated ones from ``(seed, 1,
    size)``, directions from ``(seed, 2, size)``, size being the level's. A channel that does not vary is set to 0.

    Args:
        real, fake: [N, 1 or 3, H, H] of the same shape, uint8 or floating-point in [−1, 1], H a power of two from 16
            up. Memory is twice that of both sets' descriptors at one level, 16·N·patches_per_image·C·49 bytes; while
            projecting 512·N·patches_per_image more; and the next level of both sets, as much as they take in uint8.
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
        patches = [_Patches(size, patches_per_image, seed, real=is_real) for is_real in (True, False)]
        real, fake = (of_set.add(images) for of_set, images in zip(patches, (real, fake), strict=True))
        distances[size] = distance._of_level(size, *(of_set.descriptors() for of_set in patches))
    return _with_average(distances)


def noise_floor(
    real: Tensor, *, patches_per_image: int = 128, directions: int = 512, seed: int = 0
) -> dict[int | str, float]:
    """:func:`sliced_wasserstein` between the two halves of a real set: no generator can be expected to get below it.

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
    image and level, 10 GB for the protocol's two sets at 128 pixels, and computes with half as much again.
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
            self._sets[real] = self._levels(sizes, real)
        for patches in self._sets[real]:
            images = patches.add(images)

    def compute(self) -> dict[int | str, float]:
        counts = {name: self._count(real) for name, real in (("real", True), ("fake", False))}
        for name, count in counts.items():
            check_count("sliced_wasserstein", f"{name} images", 1, count)
        if counts["real"] != counts["fake"]:
            raise ValueError(f"sliced_wasserstein needs as many real as fake images, but there are {counts}")
        real, fake = self._sets[True], self._sets[False]
        return _with_average(
            {a.size: self._of_level(a.size, a.descriptors(), b.descriptors()) for a, b in zip(real, fake, strict=True)}
        )

    def reset(self) -> None:
        """Forgets everything."""
        self._sets: dict[bool, list[_Patches]] = {}
        self._shape: tuple[int, ...] | None = None

    def real_statistics(self) -> dict[str, Tensor]:
        """What :meth:`load_real` takes, for a cache: the real set's descriptors by level, and how many images."""
        check_count("SlicedWasserstein", "real images", 1, self.count_real)
        levels = {str(patches.size): patches.descriptors() for patches in self._sets[True]}
        return {"shape": torch.tensor(self._shape), "count": torch.tensor(self.count_real), **levels}

    def load_real(self, statistics: dict[str, Tensor]) -> None:
        """Puts a real set's statistics, of the same options and seed, in place of all that was added of it."""
        shape = tuple(statistics["shape"].tolist())
        if self._sets.get(False) is not None and self._shape != shape:
            raise ValueError(f"statistics must be of images {list(self._shape)}, not {list(shape)}")
        self._shape = shape
        self._sets[True] = self._levels(_levels_of(shape[-1]), real=True)
        for patches in self._sets[True]:
            patches.load(int(statistics["count"]), statistics[str(patches.size)])

    @property
    def count_real(self) -> int:
        return self._count(True)

    @property
    def count_fake(self) -> int:
        return self._count(False)

    def _count(self, real: bool) -> int:
        return self._sets[real][0].count if real in self._sets else 0

    def _levels(self, sizes: list[int], real: bool) -> list[_Patches]:
        return [_Patches(size, self.patches_per_image, self.seed, real=real) for size in sizes]

    def _of_level(self, size: int, real: Tensor, fake: Tensor) -> float:
        """The distance ×10³ of descriptors [M, C·49]."""
        generator = np.random.default_rng((self.seed, 2, size))
        rays = torch.from_numpy(generator.standard_normal((self.directions, real.shape[1]))).to(real.device)
        rays = (rays / rays.norm(dim=1, keepdim=True)).float()
        distances = projected_wasserstein(real, fake, rays, channels=real.shape[1] // PATCH**2)
        return 1e3 * distances.mean().item()


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
    """Random patches of a set's images at one level of their pyramids."""

    def __init__(self, size: int, per_image: int, seed: int, *, real: bool) -> None:
        self.size, self.per_image, self.count = size, per_image, 0
        self._generator = np.random.default_rng((seed, 0 if real else 1, size))
        self._batches: list[Tensor] = []  # [n·per_image, C·49] each

    def add(self, images: Tensor) -> Tensor:
        """Images [n, C, size, size], uint8 or float32; returns the next level's."""
        self.count += len(images)
        places = self._places(len(images)).to(images.device)
        patches, smaller = laplacian_patches(images, places, differences=self.size > COARSEST)
        self._batches.append(patches)
        return smaller

    def _places(self, images: int) -> Tensor:
        """[images, per_image, 2]: row and column; the next of their sequence, however many are asked for at a time."""
        places = self._generator.integers(0, self.size - PATCH + 1, (images, self.per_image, 2))
        return torch.from_numpy(places)

    def descriptors(self) -> Tensor:
        """[M, C·49], float32."""
        if len(self._batches) > 1:
            self._batches = [torch.cat(self._batches)]
        return self._batches[0]

    def load(self, count: int, descriptors: Tensor) -> None:
        """As if ``count`` images had been added."""
        self.count = count
        self._places(count)
        self._batches = [descriptors]
