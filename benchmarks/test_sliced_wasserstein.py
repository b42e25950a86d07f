"""The sliced Wasserstein distance, PGGAN's protocol at 128 px, against plain torch and numpy.

All take the same random numbers and compute in float32, all that the protocol asks for: pyramids, patches, projections,
sorted differences. Of the protocol's 16384 images a thirty-second: the work is linear in their number. For one run of
any number: ``python -m benchmarks.test_sliced_wasserstein 16384 numpy ours``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.race import race
from gan_ops.metrics import sliced_wasserstein

IMAGES, SIZE, PATCHES, DIRECTIONS = 512, 128, 128, 512
AT_ONCE = 64
"""Directions, and batches of images, that the plain versions deal with together."""


def images_like_photographs(n: int, size: int, seed: int) -> Tensor:
    """uint8, with detail of all sizes."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(n, 3, size, size)
    for cells in (4, 16, size):
        total += F.interpolate(torch.randn(n, 3, cells, cells, generator=generator), size=(size, size))
    return (128 + 30 * total).clamp(0, 255).to(torch.uint8)


def random_numbers(images: int, size: int, patches: int, directions: int) -> tuple[list[np.ndarray], np.ndarray]:
    """The places of real and of generated patches at a level, and its rays."""
    places = [
        np.random.default_rng((0, of_set, size)).integers(0, size - 6, (images * patches, 2)) for of_set in (0, 1)
    ]
    rays = np.random.default_rng((0, 2, size)).standard_normal((directions, 147))
    return places, (rays / np.linalg.norm(rays, axis=1, keepdims=True)).astype(np.float32)


# ---- In numpy ----


def numpy_filtered(images: np.ndarray, scale: float) -> np.ndarray:
    kernel = (np.array([1, 4, 6, 4, 1], np.float32) / 16 * scale).tolist()
    size = images.shape[-1]
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect")
    rows = sum(kernel[i] * padded[:, :, i : i + size] for i in range(5))
    return sum(kernel[i] * rows[..., i : i + size] for i in range(5))


def numpy_level(images: np.ndarray, wanted: int) -> np.ndarray:
    current = images.astype(np.float32)
    while True:
        size = current.shape[-1]
        if size == 16:
            return current
        smaller = numpy_filtered(current, 1)[:, :, ::2, ::2]
        if size == wanted:
            enlarged = np.zeros_like(current)
            enlarged[:, :, ::2, ::2] = smaller
            return current - numpy_filtered(enlarged, 2)
        current = smaller


def numpy_descriptors(images: np.ndarray, places: np.ndarray, size: int, patches: int) -> np.ndarray:
    parts = []
    for first in range(0, len(images), AT_ONCE):
        level = numpy_level(images[first : first + AT_ONCE], size)
        windows = np.lib.stride_tricks.sliding_window_view(level, (7, 7), axis=(2, 3)).transpose(0, 2, 3, 1, 4, 5)
        y, x = places[first * patches : (first + len(level)) * patches].T
        parts.append(windows[np.repeat(np.arange(len(level)), patches), y, x].reshape(-1, 3, 49))
    cut = np.concatenate(parts)
    cut -= cut.mean((0, 2), keepdims=True, dtype=np.float64).astype(np.float32)
    cut /= np.sqrt(np.square(cut).mean((0, 2), keepdims=True, dtype=np.float64)).astype(np.float32)
    return cut.reshape(len(cut), -1)


def in_numpy(real: np.ndarray, fake: np.ndarray, patches: int, directions: int) -> dict[int, float]:
    distances, size = {}, real.shape[-1]
    while size >= 16:
        places, rays = random_numbers(len(real), size, patches, directions)
        sets = [numpy_descriptors(images, p, size, patches) for images, p in zip((real, fake), places, strict=True)]
        total = 0.0
        for first in range(0, directions, AT_ONCE):
            a, b = (np.sort(rays[first : first + AT_ONCE] @ descriptors.T, axis=1) for descriptors in sets)
            total += np.abs(a - b).mean(1, dtype=np.float64).sum()
        distances[size] = 1e3 * total / directions
        size //= 2
    return distances


# ---- In torch ----


def torch_filtered(images: Tensor, scale: float) -> Tensor:
    kernel = torch.tensor([1.0, 4, 6, 4, 1]) / 16
    kernel = (kernel[:, None] * kernel * scale**2).expand(3, 1, 5, 5)
    return F.conv2d(F.pad(images, (2, 2, 2, 2), mode="reflect"), kernel, groups=3)


def torch_level(images: Tensor, wanted: int) -> Tensor:
    current = images.float()
    while True:
        size = current.shape[-1]
        if size == 16:
            return current
        smaller = torch_filtered(current, 1)[:, :, ::2, ::2]
        if size == wanted:
            enlarged = torch.zeros_like(current)
            enlarged[:, :, ::2, ::2] = smaller
            return current - torch_filtered(enlarged, 2)
        current = smaller


def torch_descriptors(images: Tensor, places: Tensor, size: int, patches: int) -> Tensor:
    parts = []
    for batch, where in zip(images.split(AT_ONCE), places.split(AT_ONCE * patches), strict=True):
        windows = torch_level(batch, size).unfold(2, 7, 1).unfold(3, 7, 1).permute(0, 2, 3, 1, 4, 5)
        image = torch.arange(len(batch)).repeat_interleave(patches)
        parts.append(windows[image, where[:, 0], where[:, 1]].flatten(2))
    cut = torch.cat(parts)
    deviation, mean = torch.std_mean(cut, dim=(0, 2), keepdim=True, correction=0)
    return ((cut - mean) / deviation).flatten(1)


def in_torch(real: Tensor, fake: Tensor, patches: int, directions: int) -> dict[int, float]:
    distances, size = {}, real.shape[-1]
    while size >= 16:
        places, rays = random_numbers(len(real), size, patches, directions)
        sets = [
            torch_descriptors(images, torch.from_numpy(p), size, patches)
            for images, p in zip((real, fake), places, strict=True)
        ]
        total = 0.0
        for part in torch.from_numpy(rays).split(AT_ONCE):
            a, b = (torch.sort(part @ descriptors.T, dim=1).values for descriptors in sets)
            total += (a - b).abs().mean(1, dtype=torch.float64).sum().item()
        distances[size] = 1e3 * total / directions
        size //= 2
    return distances


def versions(images: int, size: int, patches: int, directions: int) -> dict[str, Callable[[], dict]]:
    """The three of them on the same images."""
    real, fake = (torch.empty(images, 3, size, size, dtype=torch.uint8) for _ in range(2))
    for seed, part in enumerate([*real.split(512), *fake.split(512)]):
        part.copy_(images_like_photographs(len(part), size, seed))
    return {
        "numpy": lambda: in_numpy(real.numpy(), fake.numpy(), patches, directions),
        "torch": lambda: in_torch(real, fake, patches, directions),
        "ours": lambda: sliced_wasserstein(real, fake, patches_per_image=patches, directions=directions),
    }


def test_sliced_wasserstein(benchmark: BenchmarkFixture) -> None:
    race(
        benchmark,
        "ours",
        versions(IMAGES, SIZE, PATCHES, DIRECTIONS),
        params={"images": IMAGES, "size": SIZE, "patches": PATCHES, "directions": DIRECTIONS},
        budget=60.0,
        rounds=(1, 3),
        units={"images": IMAGES},
    )


def main(images: int, names: list[str]) -> None:
    """One run each, in seconds."""
    alternatives = versions(images, SIZE, PATCHES, DIRECTIONS)
    for name in names:
        start = time.perf_counter()
        distances = alternatives[name]()
        average = sum(distances[size] for size in (128, 64, 32, 16)) / 4
        print(
            f"{images} images, {name}: {time.perf_counter() - start:.1f} s, average distance {average:.4f}", flush=True
        )


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
