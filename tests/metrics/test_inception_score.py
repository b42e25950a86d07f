"""The inception score: what sure and varied answers give, and torch-fidelity's number with its shuffle."""

from __future__ import annotations

import math

import pytest
import torch

from gan_ops.metrics import InceptionScore, inception_score


def test_it_is_torch_fidelitys_with_its_shuffle(draw_features) -> None:
    fidelity = pytest.importorskip("torch_fidelity.metric_isc")
    logits = draw_features(305, 10, scale=3.0)
    theirs = fidelity.isc_features_to_metric(logits, splits=10, shuffle=True, rng_seed=2020)
    ours = inception_score(logits, seed=2020)
    assert ours.mean == pytest.approx(theirs["inception_score_mean"], rel=1e-6)
    assert ours.deviation == pytest.approx(theirs["inception_score_std"], rel=1e-6)


def test_sure_answers_spread_over_all_classes_give_their_number() -> None:
    logits = 1000 * torch.eye(10).repeat(20, 1)
    assert inception_score(logits) == pytest.approx((10, 0))


def test_the_same_answer_for_all_gives_one() -> None:
    assert inception_score(torch.randn(1, 10).repeat(50, 1)) == pytest.approx((1, 0))


def test_answers_that_are_never_given_count_nothing() -> None:
    logits = torch.tensor([[0.0, -1e4, 0.0], [0.0, -1e4, -1e4]]).repeat(5, 1)
    # The answers are (½, ½) and (1, 0), their mean (¾, ¼).
    divergences = [0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25), math.log(1 / 0.75)]
    assert inception_score(logits, splits=1).mean == pytest.approx(math.exp(sum(divergences) / 2))


def test_splits_are_consecutive_and_nearly_equal(draw_features) -> None:
    logits = draw_features(23, 10)
    parts = [inception_score(logits[i * 23 // 4 : (i + 1) * 23 // 4], splits=1).mean for i in range(4)]
    assert inception_score(logits, splits=4).mean == pytest.approx(sum(parts) / 4)


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_batches_do_not_matter(batch: int, draw_features) -> None:
    logits = draw_features(100)
    streamed = InceptionScore(splits=5, seed=3)
    for part in logits.split(batch):
        streamed.update(part)
    assert streamed.count == 100
    assert streamed.compute() == inception_score(logits, splits=5, seed=3)


def test_too_few_images_are_refused(draw_features) -> None:
    with pytest.raises(ValueError, match="needs at least 10 images for 10 splits, but there are 9"):
        inception_score(draw_features(9))
    with pytest.raises(ValueError, match="splits must be at least 1, but is 0"):
        inception_score(draw_features(9), splits=0)
