"""Modes found, and how far the histograms of classes are apart."""

from __future__ import annotations

import math

import pytest
import torch

from gan_ops.metrics import ModeCoverage, mode_coverage


def test_equal_histograms_are_at_no_distance() -> None:
    real = torch.arange(10).repeat(3)
    assert mode_coverage(real, real.repeat(2), modes=10) == (10, 10, pytest.approx(0, abs=1e-15))


def test_disjoint_histograms_are_at_the_logarithm_of_two() -> None:
    assert mode_coverage(torch.tensor([0, 1]), torch.tensor([2]), modes=3) == (0, 2, pytest.approx(math.log(2)))


def test_one_of_two_modes_found() -> None:
    """p = (½, ½), q = (1, 0), m = (¾, ¼)."""
    expected = 0.5 * (0.5 * math.log(2 / 3) + 0.5 * math.log(2)) + 0.5 * math.log(4 / 3)
    assert mode_coverage(torch.tensor([0, 1]), torch.tensor([0]), modes=2) == (1, 2, pytest.approx(expected))


def test_modes_without_real_samples_do_not_count() -> None:
    result = mode_coverage(torch.tensor([0, 1]), torch.tensor([0, 1, 2]), modes=1000)
    assert (result.found, result.modes) == (2, 2)


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_batches_do_not_matter(batch: int) -> None:
    real, fake = torch.arange(50) % 7, torch.arange(40) % 5
    streamed = ModeCoverage(modes=7)
    for labels, of_real in ((real, True), (fake, False)):
        for part in labels.split(batch):
            streamed.update(part, real=of_real)
    assert streamed.compute() == mode_coverage(real, fake, modes=7)
    loaded = ModeCoverage(modes=7)
    loaded.load_real(streamed.real_statistics())
    loaded.update(fake, real=False)
    assert loaded.compute() == streamed.compute()


def test_what_does_not_make_sense_is_refused() -> None:
    labels = torch.tensor([0, 1])
    with pytest.raises(ValueError, match="labels must lie between 0 and 0, but reach from 0 to 1"):
        mode_coverage(labels, labels, modes=1)
    with pytest.raises(ValueError, match="needs at least 1 fake labels, but there are 0"):
        mode_coverage(labels, labels[:0], modes=2)
    with pytest.raises(TypeError, match="labels must be integers, but are torch"):
        mode_coverage(labels.float(), labels, modes=2)
