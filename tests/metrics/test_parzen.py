"""Parzen windows: densities that are known, and the bandwidth that validation chooses."""

from __future__ import annotations

import math

import pytest
import torch

from gan_ops.metrics import ParzenLogLikelihood, parzen_log_likelihood


def test_around_one_centre_it_is_the_normal_density() -> None:
    centre, test = torch.zeros(1, 3), torch.tensor([[1.0, 2, 2], [0, 0, 0]])
    result = parzen_log_likelihood(centre, test, test, bandwidths=[2.0])
    constant = -3 * math.log(2 * math.sqrt(2 * math.pi))
    assert result.mean == pytest.approx(constant - 0.5 * (9 / 4) / 2)
    assert result.standard_error == pytest.approx(9 / 8 / math.sqrt(2) / math.sqrt(2))  # of two values 9/8 apart


def test_it_is_scikit_learns_kernel_density(draw_features) -> None:
    neighbors = pytest.importorskip("sklearn.neighbors")
    fake, validation, test = (draw_features(60, 5, seed=seed) for seed in range(3))
    result = parzen_log_likelihood(fake, validation, test, bandwidths=[0.7])
    theirs = neighbors.KernelDensity(bandwidth=0.7).fit(fake.numpy()).score_samples(test.numpy())
    assert result.mean == pytest.approx(theirs.mean())
    assert result.standard_error == pytest.approx(theirs.std(ddof=1) / math.sqrt(60))


def test_validation_chooses_the_bandwidth(draw_features) -> None:
    fake, validation, test = (draw_features(200, 4, seed=seed) for seed in range(3))
    best = parzen_log_likelihood(fake, validation, test)
    each = {h: parzen_log_likelihood(fake, test, validation, bandwidths=[h]).mean for h in (0.1, best.bandwidth, 1.0)}
    assert max(each, key=each.get) == best.bandwidth
    assert 0.1 < best.bandwidth < 1


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_batches_do_not_matter(batch: int, draw_features) -> None:
    fake, real = draw_features(50, 4), draw_features(61, 4, seed=1)
    streamed = ParzenLogLikelihood()
    for samples, of_real in ((real, True), (fake, False)):
        for part in samples.split(batch):
            streamed.update(part, real=of_real)
    assert streamed.compute() == parzen_log_likelihood(fake, real[:30], real[30:])


def test_what_does_not_make_sense_is_refused(draw_features) -> None:
    x = draw_features(5, 4)
    with pytest.raises(ValueError, match="needs at least 2 test samples, but there are 1"):
        parzen_log_likelihood(x, x, x[:1])
    with pytest.raises(ValueError, match="bandwidths must be one or more positive numbers"):
        parzen_log_likelihood(x, x, x, bandwidths=[0.1, 0.0])
    with pytest.raises(ValueError, match="needs at least 3 real samples, but there are 0"):
        ParzenLogLikelihood().compute()
