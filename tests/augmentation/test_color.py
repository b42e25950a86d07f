"""Colours against the changes of single pixels, one after another."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gan_ops.augmentation import Color
from gan_ops.augmentation.color import color_matrix

NEUTRAL = {"added": 0.0, "contrast": 1.0, "flip": 0.0, "angle": 0.0, "saturation": 1.0}


def matrix(**numbers: float) -> Tensor:
    """[1, 3, 4]; what is not given changes nothing."""
    return color_matrix(*(torch.tensor([value]) for value in {**NEUTRAL, **numbers}.values())).double()


def changed(images: Tensor, **numbers: float) -> Tensor:
    return Color()(images, matrix(**numbers).expand(len(images), 3, 4))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def luma(images: Tensor) -> Tensor:
    return images.mean(1, keepdim=True)


def about_luma(images: Tensor, angle: float) -> Tensor:
    """Rodrigues' rotation around (1, 1, 1)/√3."""
    axis = torch.full((3,), 3**-0.5, dtype=torch.float64)
    cross = torch.stack([torch.linalg.cross(axis, pixel) for pixel in images.permute(0, 2, 3, 1).reshape(-1, 3)])
    cross = cross.view(2, 4, 5, 3).permute(0, 3, 1, 2)
    return math.cos(angle) * images + math.sin(angle) * cross + (1 - math.cos(angle)) * luma(images)


CHANGES = {
    "brightness": ({"added": 0.3}, lambda x: x + 0.3),
    "contrast": ({"contrast": 1.7}, lambda x: 1.7 * x),
    "luma flip": ({"flip": 1.0}, lambda x: x - 2 * luma(x)),
    "hue": ({"angle": 0.8}, lambda x: about_luma(x, 0.8)),
    "saturation": ({"saturation": 0.4}, lambda x: luma(x) + 0.4 * (x - luma(x))),
}


@pytest.mark.parametrize(("numbers", "plain"), CHANGES.values(), ids=CHANGES)
def test_each_change_is_that_of_single_pixels(images, numbers, plain) -> None:
    torch.testing.assert_close(changed(images, **numbers), plain(images), rtol=0, atol=1e-6)  # drawn in float32


def test_a_third_of_a_turn_of_the_hue_exchanges_channels(images) -> None:
    turned = changed(images, angle=2 * math.pi / 3)
    torch.testing.assert_close(turned, images[:, [2, 0, 1]], rtol=0, atol=1e-6)


def test_changes_come_in_their_order(images) -> None:
    numbers = {name: value for given, _ in CHANGES.values() for name, value in given.items()}
    expected = images
    for _, plain in CHANGES.values():
        expected = plain(expected)
    torch.testing.assert_close(changed(images, **numbers), expected, rtol=0, atol=1e-6)


def test_a_grey_image_is_the_mean_of_three_equal_channels(images) -> None:
    numbers = {name: value for given, _ in CHANGES.values() for name, value in given.items()}
    grey = images[:, :1]
    expected = luma(changed(grey.expand(-1, 3, -1, -1), **numbers))
    torch.testing.assert_close(changed(grey, **numbers), expected, rtol=0, atol=1e-12)


def test_images_of_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"1 or 3 channels, but their shape is \[1, 4, 2, 2\]"):
        Color()(torch.zeros(1, 4, 2, 2), matrix())


def test_numbers_are_drawn_as_the_paper_has_them() -> None:
    layer, count = Color(), 20_000
    drawn = layer.draw((count, 3, 8, 8), 1.0, torch.Generator().manual_seed(0)).double()
    factors, added = drawn[:, :, :3], drawn[:, :, 3]
    grey = factors.sum(2)  # where (1, 1, 1) goes: its contrast, with the sign of the luma flip
    torch.testing.assert_close(grey, grey[:, :1].expand(-1, 3), rtol=0, atol=2e-5)
    contrast, flipped = grey[:, 0].abs(), grey[:, 0] < 0
    assert float(contrast.log2().std()) == pytest.approx(0.5, rel=0.03)
    assert float(flipped.double().mean()) == pytest.approx(0.5, abs=0.015)
    assert float((added[:, 0] / grey[:, 0]).std()) == pytest.approx(0.2, rel=0.03)
    saturation = torch.linalg.svdvals(factors - grey[:, :1, None] / 3)[:, 0] / contrast
    assert float(saturation.log2().std()) == pytest.approx(1.0, rel=0.03)
