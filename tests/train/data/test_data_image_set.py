"""Resolutions of a set of images."""

import math

import numpy as np
import pytest
import torch

from train.data import DataError, ImageSet
from train.data.pyramid import check_resolution, pyramid_bytes

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8))


@pytest.fixture(scope="module")
def images():
    return ImageSet.from_images(IMAGES, labels=torch.tensor([0, 2, 1, 1, 0]))


@pytest.mark.parametrize("resolution", [4, 8, 16])
def test_level_is_the_rounded_mean_of_full_resolution_pixels(images, resolution):
    side = 32 // resolution
    blocks = IMAGES.double().unfold(2, side, side).unfold(3, side, side)  # [N, C, r, r, side, side]
    means = blocks.mean((-2, -1))
    assert torch.equal(images.level(resolution), (means + 0.5).floor().to(torch.uint8))


def test_halves_are_rounded_up():
    image = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    image[..., ::2] = 1  # every square of 2 x 2 has the mean ½
    assert ImageSet.from_images(image).level(4).unique().tolist() == [1]


def test_levels_do_not_round_twice():
    image = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    image[..., ::4, :] = 1  # means: ½ or 0 at 8 px; ¼ at 4 px, but ½ (so 1) if 8 px had been rounded first
    assert ImageSet.from_images(image).level(4).unique().tolist() == [0]


def test_white_stays_white_at_every_level():
    white = ImageSet.from_images(torch.full((1, 3, 256, 256), 255, dtype=torch.uint8))
    assert white.level(4).unique().tolist() == [255]


def test_full_level_is_the_images(images):
    assert torch.equal(images.level(32), IMAGES)


def test_batch_picks_images(images):
    indices = torch.tensor([3, 0, 3])
    assert torch.equal(images.batch(indices, 8), images.level(8)[indices])


def test_batch_is_a_copy(images):
    images.batch(torch.tensor([0]), 32).zero_()
    assert torch.equal(images.level(32), IMAGES)


def test_what_a_set_says_of_itself(images):
    assert (len(images), images.channels, images.resolution, images.num_classes) == (5, 3, 32, 3)


@pytest.mark.parametrize("resolution", [64, 2, 12])
def test_resolution_that_is_not_stored_is_named(images, resolution):
    with pytest.raises(ValueError, match=f"resolution={resolution}.* 4, 8, 16, 32"):
        images.level(resolution)


@pytest.mark.parametrize("resolution", [0, -8, 1, 2, 3, 20, 36, 1000, 8.0, True, "8"])
def test_resolution_must_be_a_power_of_two_or_three_times_one(resolution):
    with pytest.raises(DataError, match=f"resolution={resolution} "):
        check_resolution(resolution)


def test_size_of_a_pyramid():
    assert pyramid_bytes(5, 3, 32) == 5 * 3 * (32**2 + 16**2 + 8**2 + 4**2)
    assert math.isclose(pyramid_bytes(30_000, 3, 1024) / (30_000 * 3 * 1024**2), 4 / 3, rel_tol=1e-4)
