"""Noise and holes."""

from __future__ import annotations

import pytest
import torch

from gan_ops.augmentation import Cutout, Noise


def test_noise_is_added() -> None:
    images, drawn = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    assert torch.equal(Noise()(images, drawn), images + drawn)


def test_the_strength_of_noise_differs_from_image_to_image() -> None:
    drawn = Noise().draw((4000, 3, 8, 8), 0.5, torch.Generator().manual_seed(0))
    deviation = drawn.flatten(1).std(1)
    noisy = deviation > 0
    assert float(noisy.float().mean()) == pytest.approx(0.5, abs=0.04)
    # Absolute values of N(0, 0.1²): their mean square is 0.1², their mean 0.1·√(2/π).
    assert float(deviation[noisy].square().mean().sqrt()) == pytest.approx(0.1, rel=0.06)
    assert float(deviation[noisy].mean()) == pytest.approx(0.0798, rel=0.06)


@pytest.mark.parametrize(("x", "y"), [(0.5, 0.5), (0.0, 1.0), (0.31, 0.7)])
def test_the_hole_has_half_the_size_around_its_centre(x, y) -> None:
    images, height, width = torch.rand(1, 2, 8, 12) + 1, 8, 12
    holed = Cutout()(images, torch.tensor([[x, y, 0.5]]))
    for row in range(height):
        for column in range(width):
            inside = abs((column + 0.5) / width - x) < 0.25 and abs((row + 0.5) / height - y) < 0.25
            expected = torch.zeros(2) if inside else images[0, :, row, column]
            assert torch.equal(holed[0, :, row, column], expected)


def test_holes_are_anywhere_and_as_frequent_as_is_asked_for() -> None:
    drawn = Cutout().draw((4000, 3, 8, 8), 0.25, torch.Generator().manual_seed(0))
    assert drawn[:, 2].unique().tolist() == [0.0, 0.5]
    assert float((drawn[:, 2] > 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert drawn[:, :2].mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.02)
    assert drawn[:, :2].amin() < 0.01 and drawn[:, :2].amax() > 0.99
