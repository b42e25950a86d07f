"""Adversarial losses against values worked out by hand."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import tensor

from gan_ops.objectives import (
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Objective,
    Wasserstein,
    classification_loss,
)

REAL, FAKE = tensor([1.0, 3.0]), tensor([-1.0, 0.0])
OBJECTIVES = [Wasserstein(), LeastSquares(), Minimax(), NonSaturating(), Hinge()]


def mean_log(*probabilities: float) -> float:
    return sum(map(math.log, probabilities)) / len(probabilities)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


D_CROSS_ENTROPY = -mean_log(sigmoid(1), sigmoid(3)) - mean_log(1 - sigmoid(-1), 1 - sigmoid(0))
D_SMOOTHED = (
    -0.9 * mean_log(sigmoid(1), sigmoid(3))
    - 0.1 * mean_log(1 - sigmoid(1), 1 - sigmoid(3))
    - mean_log(1 - sigmoid(-1), 1 - sigmoid(0))
)
G_MINIMAX, G_NON_SATURATING = mean_log(1 - sigmoid(-1), 1 - sigmoid(0)), -mean_log(sigmoid(-1), sigmoid(0))


@pytest.mark.parametrize(
    ("objective", "discriminator", "generator"),
    [
        (Wasserstein(), -0.5 - 2.0, 0.5),
        (Wasserstein(drift=0.001), -0.5 - 2.0 + 0.001 * 5.0, 0.5),
        (Wasserstein(drift=0.1), -0.5 - 2.0 + 0.1 * 5.0, 0.5),
        (LeastSquares(), 0.5 * 2.0 + 0.5 * 0.5, 0.5 * 2.5),
        (LeastSquares(label_smoothing=0.5), 0.5 * 3.25 + 0.5 * 0.5, 0.5 * 2.5),
        (Minimax(), D_CROSS_ENTROPY, G_MINIMAX),
        (Minimax(label_smoothing=0.1), D_SMOOTHED, G_MINIMAX),
        (NonSaturating(), D_CROSS_ENTROPY, G_NON_SATURATING),
        (NonSaturating(label_smoothing=0.1), D_SMOOTHED, G_NON_SATURATING),
        (Hinge(), 0.0 + 0.5, 0.5),
    ],
    ids=str,
)
def test_losses(objective: Objective, discriminator, generator):
    assert objective.d(REAL, FAKE).item() == pytest.approx(discriminator)
    assert objective.g(FAKE).item() == pytest.approx(generator)
    assert objective.g(FAKE, REAL).item() == pytest.approx(generator)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_losses_are_means_and_not_sums(objective):
    once = objective.d(REAL, FAKE), objective.g(FAKE)
    twice = objective.d(REAL.repeat(2), FAKE.repeat(2)), objective.g(FAKE.repeat(2))
    torch.testing.assert_close(twice, once)


def test_drift_acts_on_real_scores_alone():
    fake = FAKE.clone().requires_grad_()
    Wasserstein(drift=7.0).d(REAL, fake).backward()
    torch.testing.assert_close(fake.grad, tensor([0.5, 0.5]))


def test_drift_must_not_be_negative():
    with pytest.raises(ValueError, match=r"drift=-1\.0"):
        Wasserstein(drift=-1.0)


@pytest.mark.parametrize("objective", [Minimax(), NonSaturating()], ids=str)
def test_losses_of_extreme_scores_stay_finite(objective):
    scores = tensor([-1e4, 1e4])
    assert objective.d(scores, scores).isfinite() and objective.g(scores).isfinite()


def test_smoothing_moves_the_best_score_of_real_samples_to_the_logit_of_its_target():
    real = tensor([math.log(9.0)]).requires_grad_()
    NonSaturating(label_smoothing=0.1).d(real, FAKE).backward()
    torch.testing.assert_close(real.grad, tensor([0.0]))


@pytest.mark.parametrize("kind", [Minimax, NonSaturating, LeastSquares])
@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_smoothing_is_a_share(kind, smoothing):
    with pytest.raises(ValueError, match=f"label_smoothing={smoothing}"):
        kind(label_smoothing=smoothing)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_objectives_are_frozen(objective):
    with pytest.raises(dataclasses.FrozenInstanceError):
        objective.drift = 1.0


LOGITS = tensor([[math.log(3.0), 0.0], [0.0, 0.0]])  # P(class 0) = 3/4, 1/2


def test_class_term_of_the_generator_is_the_cross_entropy_of_fakes():
    loss = classification_loss(LOGITS, tensor([0, 1]))
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)


def test_class_term_of_the_discriminator_adds_that_of_reals():
    loss = classification_loss(LOGITS, tensor([0, 1]), LOGITS[:1], tensor([1]))
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2 + math.log(4))


def test_class_term_wants_real_labels_with_real_logits():
    with pytest.raises(ValueError, match="real_logits and real_labels"):
        classification_loss(LOGITS, tensor([0, 1]), LOGITS)
