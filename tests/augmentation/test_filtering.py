"""Bands of frequencies: what the filters are, and that a product of matrices is filtering."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from gan_ops.augmentation import Filtering
from gan_ops.augmentation.filtering import POWER, band_filters


def test_the_bands_add_up_to_everything() -> None:
    total = band_filters().sum(0)
    middle = np.zeros_like(total)
    middle[len(total) // 2] = 1
    np.testing.assert_allclose(total, middle, atol=1e-12)


def test_each_band_has_its_frequencies() -> None:
    power = np.abs(np.fft.rfft(band_filters(), 4096)) ** 2  # [4, 2049]
    edges = (0, 256, 512, 1024, 2048)  # of the bands
    for band, (low, high) in enumerate(pairwise(edges)):
        own = power[band, low:high].sum()
        assert own > 3 * (power[band].sum() - own)  # so short a wavelet does not part them sharply
    assert power[0, 0] == pytest.approx(1) and power[3, -1] == pytest.approx(1)


def plain(image: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """A channel filtered along both axes, continued by its mirror image."""
    taps = gains @ band_filters()
    reach = len(taps) // 2
    for axis in (0, 1):
        padding = [(reach, reach) if a == axis else (0, 0) for a in (0, 1)]
        padded = np.pad(image, padding, mode="reflect")
        image = np.apply_along_axis(lambda line: np.correlate(line, taps, "valid"), axis, padded)
    return image


@pytest.mark.parametrize("shape", [(48, 48), (8, 8), (4, 30)])
def test_images_of_any_size_are_filtered(shape) -> None:
    images = torch.randn(2, 3, *shape, dtype=torch.float64)
    gains = torch.rand(2, 4, dtype=torch.float64) * 2
    expected = [[plain(c.numpy(), g.numpy()) for c in image] for image, g in zip(images, gains, strict=True)]
    torch.testing.assert_close(Filtering()(images, gains), torch.from_numpy(np.array(expected)), rtol=0, atol=1e-12)


def gains_of(p: float, count: int = 20_000) -> Tensor:
    return Filtering().draw((count, 3, 8, 8), p, torch.Generator().manual_seed(0))


def test_a_changed_band_is_made_up_for_by_all() -> None:
    gains = gains_of(0.1)
    alone = gains[(gains != gains[:, :1]).sum(1) == 1]  # only one of the higher bands is changed
    assert len(alone) > 2000
    power = (alone.square() * torch.tensor(POWER)).sum(1)
    torch.testing.assert_close(power, torch.ones_like(power), rtol=0, atol=1e-5)


def test_each_band_changes_by_itself_with_the_probability_that_is_asked_for() -> None:
    p = 0.3
    gains = gains_of(p)
    same = (gains - 1).abs().amax(1) < 1e-6
    assert float(same.float().mean()) == pytest.approx((1 - p) ** 4, abs=0.015)
    # The ratio of two bands has the logarithm of each that is changed, N(0, 1), in it.
    ratio = (gains[:, 3] / gains[:, 2]).log2()
    assert float(ratio.square().mean()) == pytest.approx(2 * p, rel=0.05)
    assert float((ratio == 0).float().mean()) == pytest.approx((1 - p) ** 2, abs=0.015)
