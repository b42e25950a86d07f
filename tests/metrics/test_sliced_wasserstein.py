"""The sliced Wasserstein distance: the paper's protocol in plain numpy, and what it says of blur, colour and noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gan_ops.metrics import SlicedWasserstein, noise_floor, sliced_wasserstein

FEW = {"patches_per_image": 16, "directions": 32}


# ---- The protocol once more, a pixel and a patch at a time, in float64 ----


def filtered(images: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Both axes of [N, C, s, s], borders mirrored."""
    size = images.shape[-1]
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect")
    rows = sum(kernel[i] * padded[:, :, i : i + size, :] for i in range(5))
    return sum(kernel[i] * rows[:, :, :, i : i + size] for i in range(5))


def numpy_pyramid(images: np.ndarray) -> dict[int, np.ndarray]:
    binomial = np.array([1, 4, 6, 4, 1]) / 16
    levels, current = {}, images.astype(np.float64)
    while current.shape[-1] > 16:
        smaller = filtered(current, binomial)[:, :, ::2, ::2]
        enlarged = np.zeros_like(current)
        enlarged[:, :, ::2, ::2] = smaller
        levels[current.shape[-1]] = current - filtered(enlarged, 2 * binomial)
        current = smaller
    return {**levels, 16: current}


def numpy_distance(real: np.ndarray, fake: np.ndarray, patches: int, directions: int, seed: int) -> dict:
    pyramids, distances = [numpy_pyramid(images) for images in (real, fake)], {}
    for size in pyramids[0]:
        projections = []
        rays = np.random.default_rng((seed, 2, size)).standard_normal((directions, 49 * real.shape[1]))
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        for number, pyramid in enumerate(pyramids):
            places = np.random.default_rng((seed, number, size)).integers(0, size - 6, (len(real) * patches, 2))
            cut = np.stack([pyramid[size][i // patches, :, y : y + 7, x : x + 7] for i, (y, x) in enumerate(places)])
            cut -= cut.mean((0, 2, 3), keepdims=True)
            cut /= cut.std((0, 2, 3), keepdims=True)
            projections.append(np.sort(cut.reshape(len(cut), -1) @ rays.T, axis=0))
        distances[size] = 1e3 * np.abs(projections[0] - projections[1]).mean()
    return {**distances, "average": np.mean(list(distances.values()))}


@pytest.mark.parametrize(("size", "channels", "n"), [(64, 3, 300), (32, 1, 20), (16, 3, 20)])
def test_it_is_the_protocol_in_numpy(size: int, channels: int, n: int, draw_images) -> None:
    """With 300 images a projection has enough values for the kernel not to sort them."""
    real, fake = draw_images(n, size, channels), draw_images(n, size, channels, seed=1) // 2 + 50
    ours = sliced_wasserstein(real, fake, **FEW, seed=5)
    theirs = numpy_distance(real.numpy(), fake.numpy(), 16, 32, seed=5)
    assert list(ours) == list(theirs)
    # Projections here are float32, of unit size and with errors of 1e-6; distances are some hundredths of that size.
    assert ours == pytest.approx(theirs, rel=1e-4)


# ---- What it reacts to ----

MORE = {"patches_per_image": 64, "directions": 32}


@pytest.fixture(scope="module")
def real(draw_images) -> Tensor:
    return draw_images(300, seed=0)


@pytest.fixture(scope="module")
def other(draw_images) -> Tensor:
    """As good as real."""
    return draw_images(300, seed=1)


@pytest.fixture(scope="module")
def floor(real: Tensor, other: Tensor) -> dict[int | str, float]:
    return sliced_wasserstein(real, other, **MORE)


def test_blur_moves_the_fine_levels(real: Tensor, other: Tensor, floor: dict[int | str, float]) -> None:
    small = F.avg_pool2d(other.float(), 4)
    blurred = F.interpolate(small, scale_factor=4, mode="bilinear").round().to(torch.uint8)
    distance = sliced_wasserstein(real, blurred, **MORE)
    assert distance[64] > 5 * floor[64]
    assert distance[32] > 2 * floor[32]
    assert distance[16] < 1.2 * floor[16]


def test_a_shift_of_colour_moves_the_coarse_levels(real: Tensor, other: Tensor, floor: dict[int | str, float]) -> None:
    """Every second image grows redder. (If all did, normalisation would take it out.)"""
    redder = other.clone()
    redder[::2, 0] = (redder[::2, 0].int() + 120).clamp(max=255).to(torch.uint8)
    distance = sliced_wasserstein(real, redder, **MORE)
    assert distance[16] > 2 * floor[16]
    assert distance[32] < 1.2 * floor[32]
    assert distance[64] < 1.2 * floor[64]


def test_noise_floor_is_the_distance_of_the_two_halves(draw_images) -> None:
    images = draw_images(21, 32)
    assert noise_floor(images, **FEW) == sliced_wasserstein(images[:10], images[10:20], **FEW)


def test_more_images_lower_the_floor(draw_images) -> None:
    assert noise_floor(draw_images(400, 16), **FEW)[16] < 0.5 * noise_floor(draw_images(20, 16), **FEW)[16]


def test_equal_sets_differ_by_their_random_patches_alone(draw_images) -> None:
    images = draw_images(400, 16)
    assert 0 < sliced_wasserstein(images, images, **FEW)[16] < noise_floor(images, **FEW)[16]


# ---- Streams ----


@pytest.mark.parametrize("batch", [1, 7, 33, 100])
def test_batches_do_not_matter(batch: int, draw_images) -> None:
    real, fake = draw_images(40, 32), draw_images(40, 32, seed=1)
    streamed = SlicedWasserstein(**FEW, seed=3)
    for images, of_real in ((real, True), (fake, False)):
        for part in images.split(batch):
            streamed.update(part, real=of_real)
    assert streamed.compute() == sliced_wasserstein(real, fake, **FEW, seed=3)


def test_the_seed_chooses_patches_and_directions(draw_images) -> None:
    real, fake = draw_images(10, 32), draw_images(10, 32, seed=1)
    values = [sliced_wasserstein(real, fake, **FEW, seed=seed)["average"] for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_floats_count_as_the_bytes_that_would_be_saved(draw_images) -> None:
    real, fake = draw_images(10, 16), draw_images(10, 16, seed=1)
    assert sliced_wasserstein((real.float() - 127.5) / 127.5, fake, **FEW) == sliced_wasserstein(real, fake, **FEW)


def test_a_set_of_one_colour_has_a_distance(draw_images) -> None:
    black = torch.zeros(10, 3, 32, 32, dtype=torch.uint8)
    assert all(np.isfinite(value) for value in sliced_wasserstein(draw_images(10, 32), black, **FEW).values())
    assert sliced_wasserstein(black, black, **FEW)["average"] == pytest.approx(0, abs=1e-6)


def test_real_statistics_can_be_kept_and_loaded(draw_images) -> None:
    real, more, fake = draw_images(10, 32), draw_images(4, 32, seed=2), draw_images(14, 32, seed=1)
    first, second = SlicedWasserstein(**FEW), SlicedWasserstein(**FEW)
    first.update(real, real=True)
    second.load_real(first.real_statistics())
    second.update(more, real=True)
    second.update(fake, real=False)
    assert (second.count_real, second.count_fake) == (14, 14)
    assert second.compute() == sliced_wasserstein(torch.cat([real, more]), fake, **FEW)


def test_what_does_not_make_sense_is_refused(draw_images) -> None:
    images = draw_images(4, 32)
    for size in (24, 8):
        wrong = images[:, :, :size, :size]
        with pytest.raises(ValueError, match=f"a power of two from 16 up, but are {size}×{size}"):
            sliced_wasserstein(wrong, wrong)
    with pytest.raises(ValueError, match="power of two from 16 up, but are 32×16"):
        sliced_wasserstein(images[..., :16], images[..., :16])
    with pytest.raises(ValueError, match=r"fake must have the shape \[4, 3, 32, 32\] of real"):
        sliced_wasserstein(images, images[:2])
    with pytest.raises(ValueError, match="needs at least 1 images of each set, but there are 0"):
        sliced_wasserstein(images[:0], images[:0])
    with pytest.raises(ValueError, match="directions must be at least 1, but is 0"):
        sliced_wasserstein(images, images, directions=0)
    streamed = SlicedWasserstein(**FEW)
    streamed.update(images, real=True)
    with pytest.raises(ValueError, match="needs at least 1 fake images, but there are 0"):
        streamed.compute()
    streamed.update(images[:3], real=False)
    with pytest.raises(ValueError, match="as many real as fake images, but there are "):
        streamed.compute()
    with pytest.raises(ValueError, match=r"must be \[3, 32, 32\] like those before, not \[3, 16, 16\]"):
        streamed.update(images[..., :16, :16], real=True)
