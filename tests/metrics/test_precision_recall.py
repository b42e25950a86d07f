"""Precision and recall, density and coverage: known arrangements of points, torch-fidelity's numbers, any order."""

from __future__ import annotations

import pytest
import torch

from gan_ops.metrics import PrecisionRecall, precision_recall

LINE = torch.arange(10.0)[:, None]
"""Neighbours at distance 1: with k = 1, balls of radius 1."""


def test_they_are_torch_fidelitys(draw_features) -> None:
    fidelity = pytest.importorskip("torch_fidelity.metric_prc")
    real, fake = draw_features(300, 8), draw_features(250, 8, seed=1, scale=0.8, shift=0.3)
    theirs = fidelity.prc_features_to_metric(fake, real, verbose=False)
    ours = precision_recall(real, fake)
    assert 0.1 < ours.recall < ours.precision < 0.99
    assert ours.precision == pytest.approx(theirs["precision"], rel=1e-6)
    assert ours.recall == pytest.approx(theirs["recall"], rel=1e-6)


def test_equal_sets_are_precise_and_recalled() -> None:
    result = precision_recall(LINE, LINE, k=1)
    assert (result.precision, result.recall, result.coverage) == (1, 1, 1)
    assert result.density == pytest.approx((8 * 3 + 2 * 2) / 10)  # borders count: each point in its neighbours' balls


def test_a_border_belongs_to_its_ball_however_distances_are_rounded(draw_features) -> None:
    # More equal samples than neighbours: radii of 0, which sums of products do not give exactly.
    repeated = draw_features(10, 8).repeat(20, 1)
    result = precision_recall(repeated, repeated)
    assert (result.precision, result.recall, result.coverage) == (1, 1, 1)


def test_far_sets_have_nothing_in_common() -> None:
    assert precision_recall(LINE, LINE + 100) == (0, 0, 0, 0)


def test_one_mode_is_precise_and_not_recalled() -> None:
    fake = 4.5 + torch.linspace(-0.1, 0.1, 10)[:, None]
    result = precision_recall(LINE, fake, k=1)
    assert (result.precision, result.recall) == (1, 0)
    assert result.density == 2  # each lies in the balls of 4 and 5
    assert result.coverage == pytest.approx(0.2)


def test_density_of_equal_distributions_is_one_on_average(draw_features) -> None:
    result = precision_recall(draw_features(2000, 4), draw_features(2000, 4, seed=1), k=5)
    assert result.density == pytest.approx(1, abs=0.05)
    assert result.coverage > 0.95  # 1 − 2^-5 in expectation (Naeem et al. 2020, lemma 2)


def test_an_outlier_does_not_raise_density() -> None:
    """What Naeem et al. hold against precision: one far real sample's ball contains everything."""
    real = torch.cat([LINE, torch.tensor([[1000.0]])])
    fake = 500 + LINE
    result = precision_recall(real, fake, k=1)
    assert result.precision == 1 and result.density == 1


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_batches_and_order_do_not_matter(batch: int, draw_features) -> None:
    real, fake = draw_features(100, 8), draw_features(90, 8, seed=1)
    streamed = PrecisionRecall()
    for features, of_real in ((real, True), (fake, False)):
        for part in features.flip(0).split(batch):
            streamed.update(part, real=of_real)
    assert streamed.compute() == precision_recall(real, fake)


def test_they_are_the_definition_in_distances(draw_features) -> None:
    real, fake = draw_features(60, 8), draw_features(50, 8, seed=1)
    between, within = torch.cdist(fake, real), torch.cdist(real, real)
    radii = within.sort(1).values[:, 3]
    assert precision_recall(real, fake).precision == (between <= radii).any(1).double().mean()
    assert precision_recall(real, fake).coverage == (between <= radii).any(0).double().mean()


def test_too_few_samples_are_refused(draw_features) -> None:
    with pytest.raises(ValueError, match="k=3 needs at least 4 fake samples, but there are 3"):
        precision_recall(draw_features(10), draw_features(3))
    with pytest.raises(ValueError, match="k must be at least 1, but is 0"):
        precision_recall(draw_features(10), draw_features(10), k=0)
