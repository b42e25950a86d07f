"""Adversarial losses against values worked out by hand."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import tensor

from gan_ops.objectives import (
    ClippedWasserstein,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Objective,
    Scores,
    Wasserstein,
    WassersteinGP,
    WganGP,
)

REAL, FAKE = tensor([1.0, 3.0]), tensor([-1.0, 0.0])
OBJECTIVES = [
    Wasserstein(drift=0.1),
    ClippedWasserstein(),
    WassersteinGP(),
    LeastSquares(),
    LeastSquares(a=-1.0, b=1.0, c=0.0),
    Minimax(),
    NonSaturating(label_smoothing=0.1),
    Hinge(),
]


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
        (ClippedWasserstein(drift=0.1), -0.5 - 2.0 + 0.1 * 5.0, 0.5),
        (WassersteinGP(drift=0.1), -0.5 - 2.0 + 0.1 * 5.0, 0.5),
        (LeastSquares(), 0.5 * 2.0 + 0.5 * 0.5, 0.5 * 2.5),
        (LeastSquares(label_smoothing=0.5), 0.5 * 3.25 + 0.5 * 0.5, 0.5 * 2.5),
        (LeastSquares(a=-1.0, b=1.0, c=0.0), 0.5 * 2.0 + 0.5 * 0.5, 0.5 * 0.5),
        (LeastSquares(0.5, a=-1.0, b=2.0, c=0.25), 0.5 * 1.25 + 0.5 * 0.5, 0.5 * 0.8125),
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


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_scores_and_plain_tensors_give_the_same(objective):
    real, fake = Scores(REAL, logits=REAL[:, None], maps=(REAL,), x=REAL), Scores(FAKE)
    assert torch.equal(objective.d(real, fake, {}), objective.d(REAL, FAKE))
    assert torch.equal(objective.g(fake, real, {}), objective.g(FAKE))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_each_sample_is_judged_alone_and_nothing_is_remembered(objective):
    stats: dict = {}
    before = objective.d(REAL, FAKE, stats)
    objective.after(stats)
    assert not objective.compares and not stats and torch.equal(objective.d(REAL, FAKE), before)


def test_derivatives_of_least_squares():
    objective, real, fake = (
        LeastSquares(0.1, -1.0, 1.0, 0.0),
        REAL.clone().requires_grad_(),
        FAKE.clone().requires_grad_(),
    )
    objective.d(real, fake).backward()
    torch.testing.assert_close(real.grad, tensor([0.1, 2.1]) / 2)
    torch.testing.assert_close(fake.grad, tensor([0.0, 1.0]) / 2)
    (of_g,) = torch.autograd.grad(objective.g(fake), fake)
    torch.testing.assert_close(of_g, tensor([-1.0, 0.0]) / 2)


@pytest.mark.parametrize("targets", [(-1.0, 1.0, 0.0), (0.0, 2.0, 1.0)])
def test_least_squares_measure_a_pearson_divergence(targets):
    """∫(p − q)²/(p + q) of p = (0.8, 0.2) and q = (0.5, 0.5) is twice G's loss and the same of reals."""
    a, b, _ = targets
    objective, p, q = LeastSquares(0.0, *targets), tensor([0.8, 0.2]), tensor([0.5, 0.5])
    best = ((b * p + a * q) / (p + q)).requires_grad_()
    loss = sum(objective.d(best[i : i + 1], best[j : j + 1]) * p[i] * q[j] for i in range(2) for j in range(2))
    torch.testing.assert_close(torch.autograd.grad(loss, best)[0], torch.zeros(2))
    of_g = sum((p[i] + q[i]) * objective.g(best[i : i + 1]) for i in range(2))
    assert 2 * of_g.item() == pytest.approx(0.09 / 1.3 + 0.09 / 0.7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LeastSquares(a=1.0), "b=1.0 is not above a=1.0"),
        (lambda: LeastSquares(c=math.inf), "c=inf is not a finite number"),
        (lambda: LeastSquares(b=math.nan), "b=nan is not a finite number"),
    ],
)
def test_impossible_targets_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_bfloat16_scores_are_widened_first(objective):
    real, fake = torch.randn(8).bfloat16(), torch.randn(8).bfloat16()
    assert torch.equal(objective.d(real, fake), objective.d(real.float(), fake.float()))
    assert torch.equal(objective.g(fake), objective.g(fake.float()))


def test_drift_acts_on_real_scores_alone():
    fake = FAKE.clone().requires_grad_()
    Wasserstein(drift=7.0).d(REAL, fake).backward()
    torch.testing.assert_close(fake.grad, tensor([0.5, 0.5]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Wasserstein(drift=-1.0), "drift=-1.0 is not a finite number of at least 0"),
        (lambda: WassersteinGP(drift=math.nan), "drift=nan"),
        (lambda: WassersteinGP(weight=math.inf), "weight=inf"),
        (lambda: WassersteinGP(target=-2.0), "target=-2.0"),
        (lambda: ClippedWasserstein(drift=-1.0), "drift=-1.0"),
        (lambda: ClippedWasserstein(0.0), "clip=0.0 is not a finite number above 0"),
        (lambda: ClippedWasserstein(math.inf), "clip=inf"),
    ],
)
def test_impossible_values_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_penalty_of_wgan_gp_has_its_weight_and_target():
    assert WassersteinGP(2.0, 750.0, drift=0.001).penalties == (WganGP(2.0, 750.0),)


@pytest.mark.parametrize("objective", [Minimax(), NonSaturating()], ids=str)
def test_losses_of_extreme_scores_stay_finite(objective):
    scores = tensor([-1e4, 1e4])
    assert objective.d(scores, scores).isfinite() and objective.g(scores).isfinite()


def test_smoothing_moves_the_best_score_of_real_samples_to_the_logit_of_its_target():
    real = tensor([math.log(9.0)]).requires_grad_()
    NonSaturating(label_smoothing=0.1).d(real, FAKE).backward()
    torch.testing.assert_close(real.grad, tensor([0.0]))


@pytest.mark.parametrize("kind", [Minimax, NonSaturating, LeastSquares])
@pytest.mark.parametrize("smoothing", [-0.1, 1.0, math.nan])
def test_smoothing_is_a_share(kind, smoothing):
    with pytest.raises(ValueError, match=f"label_smoothing={smoothing}"):
        kind(label_smoothing=smoothing)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_objectives_are_frozen(objective):
    with pytest.raises(dataclasses.FrozenInstanceError):
        objective.drift = 1.0
