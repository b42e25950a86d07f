"""Warps: against a formulation with nothing but sums, and of pictures that are known everywhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gan_ops.augmentation import Geometry
from gan_ops.augmentation.affine import moving, scaling, turning
from gan_ops.augmentation.geometry import with_mirrored_margins
from gan_ops.augmentation.wavelets import SYM6


def one(value: float) -> Tensor:
    return torch.tensor([float(value)], dtype=torch.float64)


def warp(images: Tensor, matrix: Tensor) -> Tensor:
    return Geometry()(images, matrix.expand(len(images), 3, 3))


# ---- the definition


def mirror(place: float, size: int) -> float:
    """A place on a line of pixels, mirrored once at the outermost pixel beyond which it lies."""
    return -place if place < 0 else 2 * (size - 1) - place if place > size - 1 else place


def enlarged(line: np.ndarray, places: range) -> np.ndarray:
    """Values of a line between its pixels, at (place + ½)/2 − ½ pixels: zeros between the pixels of the line and of its
    mirror image, and sym6."""
    taps = np.array(SYM6) / 2**0.5 * 2
    values = []
    for place in places:
        # A pixel spreads over 12 places around its own two.
        near = [(tap, place - tap + 5) for tap in range(12) if (place - tap + 5) % 2 == 0]
        values.append(sum(taps[tap] * line[folded(double // 2, len(line))] for tap, double in near))
    return np.array(values)


def folded(place: int, size: int) -> int:
    """A pixel of the endlessly mirrored line."""
    place = abs(place) % (2 * size - 2)
    return min(place, 2 * size - 2 - place)


def plain(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """A channel [S, S] warped. Points beyond what the filters reach are mirrored."""
    size = len(image)
    places = range(-8, 2 * size + 8)
    fine = np.apply_along_axis(enlarged, 1, np.apply_along_axis(enlarged, 0, image, places), places)

    def value(x: float, y: float) -> float:
        """Of the enlarged image, at a place in pixels."""
        at = [2 * v + 0.5 - places[0] for v in (y, x)]
        first = [math.floor(v) for v in at]
        total = 0.0
        for i in (0, 1):
            for j in (0, 1):
                weight = (1 - abs(at[0] - first[0] - i)) * (1 - abs(at[1] - first[1] - j))
                if all(0 <= start + k < len(places) for start, k in zip(first, (i, j), strict=True)):
                    total += weight * fine[first[0] + i, first[1] + j]
        return total

    half = (size - 1) / 2
    warped = np.empty((2 * size + 12, 2 * size + 12))  # 3 pixels more to each side
    for row in range(len(warped)):
        for column in range(len(warped)):
            x, y = ((place - 6 + 0.5) / 2 - 0.5 - half for place in (column, row))
            source = matrix @ np.array([x, y, 1.0])
            there = [float(v) + half for v in source[:2]]
            beyond = [abs(v) > size / 2 + 3 for v in source[:2]]
            there = [mirror(v, size) if far else v for v, far in zip(there, beyond, strict=True)]
            warped[row, column] = value(*there)
    taps = np.array(SYM6) / 2**0.5

    def reduced(line: np.ndarray) -> np.ndarray:
        # Place 2·n + 6 of the line is the first of pixel n's two.
        return np.array([line[2 * n + 1 : 2 * n + 13] @ taps for n in range(size)])

    return np.apply_along_axis(reduced, 1, np.apply_along_axis(reduced, 0, warped))


MATRICES = {
    "nothing": moving(one(0), one(0)),
    "a turn": turning(one(0.5)),
    "smaller": scaling(one(1.9), one(1.9)),
    "stretched, turned and moved": turning(one(2.0)) @ scaling(one(0.6), one(1.5)) @ moving(one(1.3), one(-2.6)),
    "moved far": moving(one(6.2), one(-9.4)),
}


@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES)
def test_a_warp_is_sampled_from_the_enlarged_image_and_reduced(matrix) -> None:
    images = torch.randn(1, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = np.stack([plain(channel.numpy(), matrix[0].numpy()) for channel in images[0]])
    torch.testing.assert_close(warp(images, matrix)[0], torch.from_numpy(expected), rtol=0, atol=1e-10)


# ---- what follows from it


@pytest.mark.parametrize("shape", [(2, 3, 16, 16), (1, 1, 8, 12), (1, 3, 4, 4)])
def test_without_a_change_images_stay_as_they_are(shape) -> None:
    images = torch.rand(shape, dtype=torch.float64)
    # The published taps of sym6 have twelve digits.
    torch.testing.assert_close(warp(images, MATRICES["nothing"]), images, rtol=0, atol=1e-11)
    images = images.float()
    torch.testing.assert_close(warp(images, MATRICES["nothing"]), images, rtol=0, atol=1e-5)


def test_a_move_by_whole_pixels_copies_them() -> None:
    images = torch.rand(1, 2, 16, 16, dtype=torch.float64)
    moved = warp(images, moving(one(-3), one(2)))[:, :, 4:-4, 4:-4]
    torch.testing.assert_close(moved, images[:, :, 6:-2, 1:-7], rtol=0, atol=1e-10)


def wave(x: Tensor, y: Tensor) -> Tensor:
    """A picture without detail, of places in pixels around the centre."""
    return (0.15 * x + 0.4).sin() * (0.1 * y - 0.3).cos() + 0.02 * x


def picture(matrix: Tensor, size: int) -> Tensor:
    """The wave at the places to where a matrix takes pixels, [1, 1, S, S]."""
    places = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    y, x = torch.meshgrid(places, places, indexing="ij")
    there = matrix[0] @ torch.stack((x, y, torch.ones_like(x))).flatten(1)
    return wave(there[0], there[1]).view(1, 1, size, size)


@pytest.mark.parametrize(
    "matrix",
    [
        turning(one(0.7)),
        turning(one(math.pi / 2)),
        scaling(one(0.7), one(0.7)),
        scaling(one(0.8), one(1.1)) @ turning(one(-0.4)),
        moving(one(1.37), one(-0.55)),
    ],
    ids=["turned", "a quarter turn", "larger", "stretched", "moved"],
)
def test_a_smooth_picture_is_warped_as_a_function_is(matrix) -> None:
    size = 32
    images = picture(MATRICES["nothing"], size)
    inside = slice(9, -9)  # from where nothing outside of the image is seen
    warped = warp(images, matrix)[:, :, inside, inside]
    # sym6 is not symmetric: along both axes an enlarged image lies 0.4 of its pixels off, which only an image that is
    # not turned loses when it is reduced. That is at most 0.4·√2 of the reduced pixels; the wave rises by 0.17 on one.
    torch.testing.assert_close(warped, picture(matrix, size)[:, :, inside, inside], rtol=0, atol=0.1)


def test_images_that_are_not_square_turn_as_they_are() -> None:
    matrix = turning(one(0.4)) @ moving(one(2.0), one(1.0))
    square = picture(MATRICES["nothing"], 48)
    part = warp(square[:, :, 8:-8], matrix)
    torch.testing.assert_close(
        part[:, :, 12:-12, 18:-18], warp(square, matrix)[:, :, 20:-20, 18:-18], rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("margin", [1, 3, 4, 9])
def test_margins_are_mirrored_as_often_as_it_takes(margin) -> None:
    x = torch.rand(1, 1, 4, 6)
    expected = np.pad(x[0, 0].numpy(), margin, mode="reflect")
    assert torch.equal(with_mirrored_margins(x, margin)[0, 0], torch.from_numpy(expected))


# ---- what is drawn


def test_the_matrix_is_the_way_back_through_all_changes() -> None:
    drawn = Geometry(step=0.0).draw((4000, 3, 16, 16), 1.0, torch.Generator().manual_seed(0)).double()
    area = torch.linalg.det(drawn[:, :2, :2])
    # Stretches and turns keep the area; its logarithm to the base 2 is that of the scale, −2·0.2·N(0, 1).
    assert float((area.log2() / 2).std()) == pytest.approx(0.2, rel=0.04)
    singular = torch.linalg.svdvals(drawn[:, :2, :2])
    stretch = (singular[:, 0] / singular[:, 1]).log2() / 2
    assert float(stretch.square().mean().sqrt()) == pytest.approx(0.2, rel=0.04)
    assert not drawn[:, :2, 2].any() and torch.equal(drawn[:, 2], torch.tensor([0.0, 0, 1]).double().expand(4000, 3))


def test_moves_are_the_last_change_and_in_parts_of_the_size() -> None:
    drawn = Geometry(scale=0.0, stretch=0.0).draw((4000, 3, 16, 32), 1.0, torch.Generator().manual_seed(0)).double()
    # Back: first the move, then the turn.
    moves = torch.linalg.solve(drawn[:, :2, :2], drawn[:, :2, 2:])[:, :, 0]
    assert (moves.std(0) / torch.tensor([32.0, 16.0])).tolist() == pytest.approx([0.125, 0.125], rel=0.05)


@pytest.mark.parametrize("p", [0.3, 1.0])
def test_some_turn_happens_with_the_probability_that_is_asked_for(p) -> None:
    layer = Geometry(scale=0.0, stretch=0.0, step=0.0)
    drawn = layer.draw((20_000, 3, 16, 16), p, torch.Generator().manual_seed(0))
    turned = (drawn[:, 0, 1].abs() > 1e-6).float().mean()
    assert float(turned) == pytest.approx(p, abs=0.015)
