"""DiffAugment's changes, step by step as the paper has them."""

from __future__ import annotations

import pytest
import torch

from gan_ops.augmentation import DiffColor, DiffCutout, Translation


def test_colours_are_brightness_then_saturation_then_contrast() -> None:
    images = torch.rand(2, 3, 4, 5, dtype=torch.float64) * 2 - 1
    drawn = torch.tensor([[0.3, 1.6, 0.7], [-0.4, 0.2, 1.4]])
    for image, numbers, result in zip(images, drawn.double(), DiffColor()(images, drawn), strict=True):
        added, saturation, contrast = numbers
        x = image + added
        grey = x.mean(0, keepdim=True)
        x = (x - grey) * saturation + grey
        x = (x - x.mean()) * contrast + x.mean()
        torch.testing.assert_close(result, x, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("right", "down"), [(0, 0), (2, -1), (-3, 4)])
def test_a_move_leaves_grey_behind(right, down) -> None:
    images = torch.rand(1, 2, 8, 9) + 1
    expected = torch.zeros_like(images)
    for row in range(8):
        for column in range(9):
            if 0 <= row + down < 8 and 0 <= column + right < 9:
                expected[:, :, row + down, column + right] = images[:, :, row, column]
    assert torch.equal(Translation()(images, torch.tensor([[float(right), float(down)]])), expected)


def test_moves_reach_an_eighth_of_the_size() -> None:
    drawn = Translation().draw((4000, 3, 16, 32), 1.0, torch.Generator().manual_seed(0))
    assert sorted(drawn[:, 0].unique().tolist()) == list(range(-4, 5))
    assert sorted(drawn[:, 1].unique().tolist()) == list(range(-2, 3))


@pytest.mark.parametrize("size", [8, 10])  # of the square: 4 and 5
def test_the_hole_is_half_as_large_and_its_centre_in_the_image(size) -> None:
    layer = DiffCutout()
    drawn = layer.draw((2000, 3, size, size), 1.0, torch.Generator().manual_seed(0))
    images = layer(torch.ones(2000, 3, size, size), drawn)
    half = (size // 2) // 2
    starts = range(-half, size + (size // 2 + 1) % 2 - half)
    assert sorted(drawn[:, 0].unique().tolist()) == sorted(drawn[:, 1].unique().tolist()) == list(starts)
    for image, (left, top, right, bottom) in zip(images[:50], drawn[:50].long().tolist(), strict=True):
        assert right - left == bottom - top == size // 2
        rows = range(max(top, 0), min(bottom, size))
        columns = range(max(left, 0), min(right, size))
        expected = torch.ones(3, size, size)
        for row in rows:
            for column in columns:
                expected[:, row, column] = 0
        assert torch.equal(image, expected)


def test_colours_change_together() -> None:
    drawn = DiffColor().draw((4000, 3, 8, 8), 0.5, torch.Generator().manual_seed(0))
    same = drawn == torch.tensor([0.0, 1.0, 1.0])
    assert torch.equal(same.all(1), same.any(1))
    assert float(same.all(1).float().mean()) == pytest.approx(0.5, abs=0.04)
    changed = drawn[~same.all(1)]
    for numbers, low, high in zip(changed.unbind(1), (-0.5, 0, 0.5), (0.5, 2, 1.5), strict=True):
        assert float(numbers.min()) == pytest.approx(low, abs=0.01)
        assert float(numbers.max()) == pytest.approx(high, abs=0.01)
