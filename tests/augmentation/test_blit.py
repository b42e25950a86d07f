"""Copies of pixels: every value is one of the image's own, to the bit."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gan_ops.augmentation import Blit
from gan_ops.augmentation.affine import moving, scaling, turning


def one(value: float) -> Tensor:
    return torch.tensor([float(value)])


def blit(images: Tensor, matrix: Tensor) -> Tensor:
    return Blit()(images, matrix.expand(len(images), 3, 3))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 1, 6, 9)])
def test_a_mirror_image_is_a_flip(shape) -> None:
    images = torch.randn(shape)
    assert torch.equal(blit(images, scaling(one(-1), one(1))), images.flip(3))


@pytest.mark.parametrize("turns", range(4))
def test_a_quarter_turn_goes_clockwise(images, turns) -> None:
    assert torch.equal(blit(images, turning(one(-math.pi / 2 * turns)).round()), torch.rot90(images, -turns, (2, 3)))


@pytest.mark.parametrize(("right", "down"), [(2, 0), (0, -3), (-1, 4)])
def test_what_a_move_brings_in_is_the_mirror_image(images, right, down) -> None:
    margin = 4
    mirrored = F.pad(images, (margin,) * 4, mode="reflect")
    moved = mirrored[:, :, margin - down : margin - down + 8, margin - right : margin - right + 8]
    assert torch.equal(blit(images, moving(one(-right), one(-down))), moved)


def test_changes_come_in_their_order(images) -> None:
    """First the mirror image, then the turn, then the move."""
    layer, random = Blit(step=0.25), torch.Generator().manual_seed(1)
    images = images[:1].expand(64, 3, 8, 8)
    drawn = layer.draw(images.shape, 1.0, random)
    results = layer(images, drawn)
    expected = [
        F.pad(turned, (2,) * 4, mode="reflect")[0, :, 2 - down : 10 - down, 2 - right : 10 - right]
        for mirrored in (images[:1], images[:1].flip(3))
        for turned in (torch.rot90(mirrored, turns, (2, 3)) for turns in range(4))
        for right in range(-2, 3)
        for down in range(-2, 3)
    ]
    found = (results[:, None] == torch.stack(expected)).flatten(2).all(2)
    assert found.any(1).all()
    assert len(found.nonzero()[:, 1].unique()) > 30  # of 200, whatever order: all kinds of change happen


def test_each_change_has_the_probability_that_is_asked_for() -> None:
    count, p = 20_000, 0.4
    drawn = Blit().draw((count, 3, 16, 16), p, torch.Generator().manual_seed(0))
    mirror_or_turn, moved = drawn[:, :2, :2], (drawn[:, :2, 2] != 0).any(1)
    mirrored = torch.linalg.det(mirror_or_turn) < 0
    straight = (mirror_or_turn[:, 0, 1] == 0) & (mirror_or_turn[:, 1, 1] == 1)
    # A change to what the image is already is one too: half of the mirror images, a quarter of the turns. Of moves by
    # whole pixels from −2 to 2 drawn uniformly in between, one in 16 is by none.
    for share, expected in ((mirrored, p / 2), (~straight, p * 3 / 4), (moved, p * (1 - 1 / 16))):
        assert float(share.float().mean()) == pytest.approx(expected, abs=0.015)  # 4 standard deviations
    assert drawn[:, :2, 2].abs().amax() == 2
