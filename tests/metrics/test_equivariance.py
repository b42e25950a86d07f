"""Images moved and turned for EQ-T and EQ-R, beside waves that are known everywhere."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gan_ops.metrics import SignalToNoise, as_if_turned, rotation, shifted, signal_to_noise, turned
from gan_ops.metrics.equivariance import turning_filter

SIZE = 48


def waves(matrix: Tensor | None = None, shift: tuple[float, float] = (0.0, 0.0), highest: float = 0.3) -> Tensor:
    """[1, 2, SIZE, SIZE]: sums of waves of up to so many cycles per pixel, moved by ``shift`` pixels, then turned."""
    random = torch.Generator().manual_seed(0)
    frequencies = (torch.rand(2, 12, 2, generator=random, dtype=torch.float64) * 2 - 1) * highest
    phases = 2 * math.pi * torch.rand(2, 12, generator=random, dtype=torch.float64)
    places = torch.arange(SIZE, dtype=torch.float64) - (SIZE - 1) / 2
    points = torch.stack(torch.meshgrid(places, places, indexing="xy"), 2) - torch.tensor(shift, dtype=torch.float64)
    if matrix is not None:
        points = points @ matrix  # by the inverse, which is the transposed one
    turns = torch.einsum("ckd,hwd->ckhw", frequencies, points)
    return torch.sin(2 * math.pi * turns + phases[:, :, None, None]).mean(1)[None]


def test_the_ratio_is_of_the_pixels_of_the_mask_alone():
    x = torch.zeros(2, 3, 4, 4)
    y, mask = x.clone(), torch.ones(4, 4)
    y[:, :, 0] = 7
    y[0, :, 1:] = 0.2
    mask[0] = 0
    # Of half the pixels the square is 0.04, so the mean is 0.02.
    assert signal_to_noise(x, y, mask) == pytest.approx(10 * math.log10(4 / 0.02), abs=1e-5)
    assert signal_to_noise(x, x, mask) == math.inf


def test_batches_count_by_their_pixels():
    ratio, x = SignalToNoise(), torch.zeros(1, 1, 4, 4)
    half = torch.ones(4, 4)
    half[2:] = 0
    ratio.update(x, x + 1, torch.ones(4, 4))
    ratio.update(x, x, half)
    assert ratio.compute() == pytest.approx(10 * math.log10(4 / (16 / 24)))
    ratio.reset()
    with pytest.raises(ValueError, match="pixels"):
        ratio.compute()


@pytest.mark.parametrize(("right", "down"), [(3, -2), (0, 5), (-7, 0)])
def test_a_shift_by_whole_pixels_moves_them_unchanged(right, down):
    x = torch.randn(2, 3, 16, 16)
    y, mask = shifted(x, right, down)
    rolled = x.roll((down, right), (2, 3))
    assert torch.equal(y * mask, rolled * mask)
    assert int(mask.sum()) == (16 - abs(right)) * (16 - abs(down))


def test_a_shift_between_pixels_is_that_of_the_waves():
    for right, down in ((2.3, -1.6), (-0.5, 0.5)):
        y, mask = shifted(waves(highest=0.2), right, down)
        assert signal_to_noise(waves(shift=(right, down), highest=0.2), y, mask) > 35
        lost = [math.ceil(abs(s)) + 2 + 2 for s in (right, down)]  # pixels of the border, on both sides together
        assert int(mask.sum()) >= math.prod(SIZE - 1 - some for some in lost)


def test_a_constant_stays_one_however_it_is_moved_or_turned():
    x = torch.full((1, 1, 32, 32), 0.7, dtype=torch.float64)
    for y, mask in (shifted(x, 1.3, -2.7), turned(x, 0.7), as_if_turned(x, 0.7)):
        assert mask.sum() > 100
        torch.testing.assert_close(y * mask, x * mask, rtol=0, atol=1e-7)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_those_of_the_pixels(quarters):
    """But for what the filters, which are no ideal ones, take of the highest frequencies."""
    x = waves()
    y, mask = turned(x, quarters * math.pi / 2)
    assert signal_to_noise(x.rot90(quarters, (2, 3)), y, mask) > 30


@pytest.mark.parametrize("degrees", [10, 45, -100])
def test_a_turned_image_is_that_of_turned_waves_once_both_lack_the_same(degrees):
    angle = math.radians(degrees)
    y, mask = turned(waves(), angle)
    other, valid = as_if_turned(waves(rotation(angle)), angle)
    assert int((mask * valid).sum()) > 400
    assert signal_to_noise(y, other, mask * valid) > 35
    wrong, valid = as_if_turned(waves(rotation(-angle)), angle)
    assert signal_to_noise(y, wrong, mask * valid) < 25


def test_the_mask_of_a_turned_image_excludes_all_that_depends_on_the_outside():
    x = torch.randn(1, 1, 32, 32, dtype=torch.float64)
    wide = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    wide.normal_()
    wide[:, :, 16:48, 16:48] = x
    for change in (turned, as_if_turned):
        (y, mask), (whole, _) = change(x, 0.5), change(wide, 0.5)
        torch.testing.assert_close(y * mask, whole[:, :, 16:48, 16:48] * mask, rtol=0, atol=1e-9)


def test_the_filter_that_turns_by_nothing_is_symmetric_and_separates():
    filter = turning_filter(0.0, 1)
    assert filter.shape == (11, 11)
    torch.testing.assert_close(filter, filter.T)
    torch.testing.assert_close(filter, filter.flip(0))
    assert torch.linalg.svdvals(filter)[1] < 1e-6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: signal_to_noise(x, x[:, :1], torch.ones(16, 16)), r"\[1, 3, 16, 16\] and \[1, 1, 16, 16\]"),
        (lambda x: signal_to_noise(x, x, torch.zeros(16, 16)), "pixels"),
        (lambda x: turned(x[:, :, :12], 0.1), r"x must be \[N, C, R, R\], but its shape is \[1, 3, 12, 16\]"),
        (lambda x: as_if_turned(x[:, :, :12, :12], 0.1), "x must have more than 12 pixels on a side"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(torch.zeros(1, 3, 16, 16))
