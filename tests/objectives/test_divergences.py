"""Divergences from their duals: against the paper's table, Fenchel's conjugate, and values worked out by hand."""

from __future__ import annotations

import math
from math import exp, log, sqrt, tanh
from typing import get_args, get_type_hints

import pytest
import torch
from torch import Tensor, tensor

from gan_ops.objectives import (
    DIVERGENCES,
    FAMILIES,
    BoundarySeeking,
    FGan,
    LikelihoodRatio,
    Minimax,
    Objective,
    Scores,
)

REAL, FAKE = [0.5, -1.0], [-0.3, 2.0, 0.7]
PI = 0.3


def alpha_rows(a: float):
    """The paper's table 6 for α."""
    output = (lambda v: v) if a > 1 else (lambda v: 1 / (1 - a) - log(1 + exp(-v)))
    return output, lambda t: max(t * (a - 1) + 1, 0) ** (a / (a - 1)) / a - 1 / a


PAPER = {  # (g, f*) of numbers, as printed but for the signs
    FGan("kl"): (lambda v: v, lambda t: exp(t - 1)),
    FGan("reverse-kl"): (lambda v: -exp(-v), lambda t: -1 - log(-t)),
    FGan("pearson"): (lambda v: v, lambda t: t**2 / 4 + t),
    FGan("neyman"): (lambda v: 1 - exp(-v), lambda t: 2 - 2 * sqrt(1 - t)),
    FGan("hellinger"): (lambda v: 1 - exp(-v), lambda t: t / (1 - t)),
    FGan("js"): (lambda v: log(2) - log(1 + exp(-v)), lambda t: -log(2 - exp(t))),
    FGan("weighted-js", weight=PI): (
        lambda v: -PI * log(PI) - log(1 + exp(-v)),
        lambda t: (1 - PI) * log((1 - PI) / (1 - PI * exp(t / PI))),
    ),
    FGan("gan"): (lambda v: -log(1 + exp(-v)), lambda t: -log(1 - exp(t))),
    FGan("tv"): (lambda v: tanh(v) / 2, lambda t: t),
    FGan("alpha", alpha=0.5): alpha_rows(0.5),
    FGan("alpha", alpha=-1.0): alpha_rows(-1.0),
    FGan("alpha", alpha=1.5): alpha_rows(1.5),
    FGan("alpha", alpha=3.0): alpha_rows(3.0),
}
DUALS = [*PAPER, FGan("weighted-js", weight=0.8)]
RATIOS = [
    LikelihoodRatio("cross-entropy"),
    LikelihoodRatio("exponential"),
    LikelihoodRatio("exponential", 0.5),
    LikelihoodRatio("mean-square"),
    LikelihoodRatio("mean-square", 0.5),
    LikelihoodRatio("log-likelihood"),
    LikelihoodRatio("log-likelihood", 2.0),
    LikelihoodRatio("hinge"),
]
SMOOTH = [*(o for o in DUALS if o.divergence != "tv"), *(o for o in RATIOS if o.family != "hinge")]
ALL = [*DUALS, *(FGan(o.divergence, True, o.alpha, o.weight) for o in DUALS), *RATIOS, BoundarySeeking()]


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def mean(function, values) -> float:
    return sum(map(function, values)) / len(values)


def derivative(function, at: Tensor) -> Tensor:
    """Elementwise, of an elementwise function."""
    at = at.clone().requires_grad_()
    return torch.autograd.grad(function(at).sum(), at)[0]


def best_score(objective, ratio: float) -> Tensor:
    """Where r·a' = b', which the critic's loss grows away from on both sides; by bisection."""
    a, b = objective.functions
    low, high = doubles(-60.0), doubles(60.0)
    for _ in range(100):
        middle = (low + high) / 2
        below = derivative(b, middle) < ratio * derivative(a, middle)
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


@pytest.mark.parametrize("objective", PAPER, ids=str)
def test_losses_are_those_of_the_papers_table(objective):
    g, conjugate = PAPER[objective]
    dual = mean(lambda v: conjugate(g(v)), FAKE)
    assert objective.d(doubles(*REAL), doubles(*FAKE)).item() == pytest.approx(-mean(g, REAL) + dual)
    assert objective.g(doubles(*FAKE)).item() == pytest.approx(-dual)
    tricky = FGan(objective.divergence, True, objective.alpha, objective.weight)
    assert tricky.d(doubles(*REAL), doubles(*FAKE)).item() == pytest.approx(-mean(g, REAL) + dual)
    assert tricky.g(doubles(*FAKE)).item() == pytest.approx(-mean(g, FAKE))


def test_some_losses_in_numbers():
    assert FGan("kl").d(tensor([2.0]), tensor([1.0])).item() == pytest.approx(-2 + 1)
    assert FGan("reverse-kl").d(tensor([0.0]), tensor([3.0])).item() == pytest.approx(1 + 2)
    assert FGan("pearson").d(tensor([1.0]), tensor([2.0])).item() == pytest.approx(-1 + 3)
    assert FGan("neyman").g(tensor([2 * log(3)])).item() == pytest.approx(-2 + 2 / 3)
    assert FGan("hellinger", trick=True).g(tensor([log(4)])).item() == pytest.approx(-3 / 4)
    assert FGan("gan").g(tensor([0.0])).item() == pytest.approx(-log(2))
    assert FGan("tv").d(tensor([0.0]), tensor([1.0])).item() == pytest.approx(tanh(1) / 2)


@pytest.mark.parametrize("objective", DUALS, ids=str)
def test_the_conjugate_is_that_of_f(objective):
    measure, scores = objective.measure, torch.linspace(-1.9, 4.0, 13, dtype=torch.float64)
    u = torch.cat((doubles(1e-30, 1.0), torch.logspace(-8, 6, 140_001, dtype=torch.float64)))
    largest = torch.stack([(t * u - measure.f(u)).max() for t in measure.g(scores)])
    torch.testing.assert_close(measure.conjugate(scores), largest, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("objective", DUALS, ids=str)
def test_the_optimum_is_the_derivative_of_f(objective):
    ratios = doubles(0.03, 0.5, 1.5, 20.0)
    torch.testing.assert_close(objective.measure.optimum(ratios.log()), derivative(objective.measure.f, ratios))


@pytest.mark.parametrize("objective", SMOOTH, ids=str)
@pytest.mark.parametrize("ratio", [0.2, 1.0, 5.0])
def test_the_best_critic_measures_f(objective, ratio):
    a, b = objective.functions
    score, measure = best_score(objective, ratio), objective.measure
    best = ratio * a(score) - b(score)
    torch.testing.assert_close(best, measure.f(doubles(ratio)))
    for step in (-1.0, -0.1, 0.1, 1.0):
        assert ratio * a(score + step) - b(score + step) < best
    if isinstance(objective, FGan):
        torch.testing.assert_close(measure.g(score), measure.optimum(doubles(ratio).log()))
    else:
        torch.testing.assert_close(measure.output(score), measure.omega(doubles(ratio)))


@pytest.mark.parametrize("objective", [FGan("tv"), LikelihoodRatio("hinge")], ids=str)
@pytest.mark.parametrize("ratio", [0.2, 5.0])
def test_where_the_best_critic_jumps(objective, ratio):
    a, b = objective.functions
    scores = torch.linspace(-20, 20, 4001, dtype=torch.float64)
    values = ratio * a(scores) - b(scores)
    torch.testing.assert_close(values.max(), objective.measure.f(doubles(ratio))[0])
    best, sign = scores[values.argmax()], doubles(math.copysign(1.0, ratio - 1))[0]
    if objective == FGan("tv"):
        torch.testing.assert_close(objective.measure.g(best), objective.measure.optimum(doubles(ratio).log())[0])
    else:
        torch.testing.assert_close(objective.measure.output(best), sign)
        assert objective.measure.omega(doubles(ratio)) == sign


P, Q = [0.8, 0.2], [0.5, 0.5]  # two distributions on two points
M = [0.65, 0.35]  # halfway
KL_P = 0.8 * log(0.8 / 0.65) + 0.2 * log(0.2 / 0.35)
KL_Q = 0.5 * log(0.5 / 0.65) + 0.5 * log(0.5 / 0.35)
KL, REVERSE = 0.8 * log(1.6) + 0.2 * log(0.4), 0.5 * log(1 / 1.6) + 0.5 * log(1 / 0.4)
HELLINGER = (sqrt(0.8) - sqrt(0.5)) ** 2 + (sqrt(0.2) - sqrt(0.5)) ** 2


@pytest.mark.parametrize(
    ("objective", "value"),
    [
        (FGan("kl"), KL),
        (FGan("reverse-kl"), REVERSE),
        (FGan("pearson"), 0.09 / 0.5 + 0.09 / 0.5),
        (FGan("neyman"), 0.09 / 0.8 + 0.09 / 0.2),
        (FGan("hellinger"), HELLINGER),
        (FGan("js"), KL_P + KL_Q),
        (FGan("gan"), KL_P + KL_Q - log(4)),
        (FGan("weighted-js", weight=0.5), (KL_P + KL_Q) / 2),
        (FGan("tv"), 0.3),
        (FGan("alpha", alpha=0.5), 2 * HELLINGER),
        (FGan("alpha", alpha=2.0), 0.18),
        (FGan("alpha", alpha=-1.0), (0.09 / 0.8 + 0.09 / 0.2) / 2),
        (LikelihoodRatio("cross-entropy"), KL_P + KL_Q - log(4)),
        (LikelihoodRatio("exponential"), -4 * (1 - HELLINGER / 2)),
        (LikelihoodRatio("mean-square"), (0.36 + 1) / 2),
        (LikelihoodRatio("log-likelihood"), KL - 1),
        (LikelihoodRatio("hinge"), -2 * (1 - 0.3)),
    ],
    ids=str,
)
def test_what_is_measured_and_in_which_scale(objective, value):
    ratio = doubles(P[0] / Q[0], P[1] / Q[1])
    assert objective.measure.f(ratio).mean().item() == pytest.approx(value)


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.9])
def test_weighted_js_is_a_mean_of_two_kullback_leiblers(weight):
    m = [weight * p + (1 - weight) * q for p, q in zip(P, Q, strict=True)]
    value = sum(weight * p * log(p / w) + (1 - weight) * q * log(q / w) for p, q, w in zip(P, Q, m, strict=True))
    assert FGan("weighted-js", weight=weight).measure.f(doubles(1.6, 0.4)).mean().item() == pytest.approx(value)


@pytest.mark.parametrize("objective", RATIOS, ids=str)
def test_the_derivatives_of_phi_and_psi_are_rho_and_minus_the_inverse_of_omega_times_rho(objective):
    family, scores = objective.measure, doubles(-0.9, -0.3, 0.4, 0.8)
    d, slope = family.output(scores), derivative(family.output, scores)
    torch.testing.assert_close(derivative(family.phi, scores), family.rho(d) * slope)
    torch.testing.assert_close(derivative(family.psi, scores), -family.inverse(d) * family.rho(d) * slope)


@pytest.mark.parametrize("objective", [o for o in RATIOS if o.family != "hinge"], ids=str)
def test_omega_grows_and_has_its_inverse(objective):
    ratios = doubles(0.1, 1.0, 3.0)
    outputs = objective.measure.omega(ratios)
    assert (outputs.diff() > 0).all()
    torch.testing.assert_close(objective.measure.inverse(outputs), ratios)


@pytest.mark.parametrize(
    ("objective", "discriminator", "generator"),
    [
        (LikelihoodRatio("cross-entropy"), log(1 + exp(-1)) + log(1 + exp(2)), -log(1 + exp(2))),
        (LikelihoodRatio("exponential"), 2 * exp(-0.5) + 2 * exp(1), -2 * exp(1)),
        (LikelihoodRatio("exponential", 0.5), exp(-1) + exp(2), -exp(2)),
        (LikelihoodRatio("mean-square"), -log(1 + exp(1)) + log(1 + exp(2)) ** 2 / 2, -(log(1 + exp(2)) ** 2) / 2),
        (LikelihoodRatio("mean-square", 0.5), -log(1 + exp(1)) + log(1 + exp(2)) ** 3 / 3, -(log(1 + exp(2)) ** 3) / 3),
        (LikelihoodRatio("log-likelihood"), -log(log(1 + exp(1))) + log(1 + exp(2)), -log(1 + exp(2))),
        (
            LikelihoodRatio("log-likelihood", 2.0),
            -log(log(1 + exp(1))) + 2 * sqrt(log(1 + exp(2))),
            -2 * sqrt(log(1 + exp(2))),
        ),
        (LikelihoodRatio("hinge"), 0.0 + 3.0, -3.0),
        (BoundarySeeking(), log(1 + exp(-1)) + log(1 + exp(2)), 2.0),
    ],
    ids=str,
)
def test_losses_of_likelihood_ratios_and_boundary_seeking(objective, discriminator, generator):
    assert objective.d(doubles(1.0), doubles(2.0)).item() == pytest.approx(discriminator)
    assert objective.g(doubles(2.0)).item() == pytest.approx(generator)


def test_boundary_seeking_leads_to_the_boundary_from_both_sides():
    torch.testing.assert_close(derivative(BoundarySeeking().g, tensor([-3.0, 3.0])), tensor([-1.5, 1.5]))
    smoothed = BoundarySeeking(label_smoothing=0.1), Minimax(label_smoothing=0.1)
    assert smoothed[0].d(tensor(REAL), tensor(FAKE)) == smoothed[1].d(tensor(REAL), tensor(FAKE))


def lowest(objective: Objective) -> float:
    """The score below which f* is flat or falls."""
    if isinstance(objective, LikelihoodRatio) and objective.family == "hinge":
        return -1.0
    if isinstance(objective, FGan) and objective.divergence == "pearson":
        return -2.0
    if isinstance(objective, FGan) and objective.divergence == "alpha" and objective.alpha > 1:
        return -1 / (objective.alpha - 1)
    return -math.inf


@pytest.mark.parametrize("size", [30.0, 80.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("objective", ALL, ids=str)
def test_extreme_scores_give_finite_losses_and_gradients(objective: Objective, dtype, size):
    real, fake = (torch.tensor([-size, 0.1, size], dtype=dtype, requires_grad=True) for _ in range(2))
    losses = objective.d(real, fake), objective.g(fake)
    gradients = *torch.autograd.grad(losses[0], (real, fake)), *torch.autograd.grad(losses[1], (fake,))
    assert all(loss.isfinite() and loss.dtype == torch.float32 for loss in losses)
    assert all(gradient.isfinite().all() for gradient in gradients)
    if lowest(objective) == -math.inf and not isinstance(objective, BoundarySeeking):
        d_real, d_fake, g_fake = gradients
        assert (d_real <= 0).all() and (d_fake >= 0).all() and (g_fake <= 0).all()


@pytest.mark.parametrize("objective", [o for o in ALL if not isinstance(o, BoundarySeeking)], ids=str)
def test_gradients_lead_the_right_way(objective):
    """Reals up, fakes down, and the generator up, wherever f* isn't flat."""
    end = 8.0 if objective in (FGan("tv"), FGan("tv", trick=True)) else 15.0
    scores = torch.linspace(max(lowest(objective) + 0.01, -end), end, 41, dtype=torch.float64)
    real, fake = (derivative(f, scores) for f in objective.functions)
    if objective != LikelihoodRatio("hinge"):  # flat for reals above 1 too
        assert (real > 0).all()
    assert (fake > 0).all() and (derivative(objective.g, scores) < 0).all()


@pytest.mark.parametrize("alpha", [1.5, 3.0])
def test_alpha_above_1_is_flat_where_its_base_would_be_negative(alpha):
    below = doubles(-1 / (alpha - 1) - 0.5, -100.0)
    torch.testing.assert_close(FGan("alpha", alpha=alpha).measure.conjugate(below), doubles(-1 / alpha, -1 / alpha))
    assert not derivative(FGan("alpha", alpha=alpha).g, below).any()
    assert (derivative(FGan("alpha", True, alpha).g, below) == -0.5).all()


def test_exponentials_go_on_by_their_tangents():
    scores = tensor([79.0, 80.0, 85.0, 100.0])
    expected = tensor([1.0, exp(1), 6 * exp(1), 21 * exp(1)]) * exp(79)
    torch.testing.assert_close(FGan("reverse-kl", trick=True).g(-scores), expected.mean())
    gradient = derivative(FGan("reverse-kl", trick=True).g, -scores)
    torch.testing.assert_close(gradient, -tensor([1.0, exp(1), exp(1), exp(1)]) * exp(79) / 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weighted_js_is_exact_far_from_0(dtype):
    pi = 0.3
    scores = torch.tensor([-100.0, 50.0, 100.0], dtype=dtype)
    far = [(1 - pi) * (log(1 - pi) + v + log(pi)) for v in (50, 100)]  # 1 − σ(v)^(1/π) → e^−v/π
    expected = torch.tensor([(1 - pi) * log(1 - pi), *far], dtype=dtype)
    torch.testing.assert_close(FGan("weighted-js", weight=pi).measure.conjugate(scores), expected)


@pytest.mark.parametrize("objective", SMOOTH, ids=str)
def test_derivatives_of_both_orders(objective):
    real, fake = doubles(*REAL).requires_grad_(), doubles(*FAKE).requires_grad_()
    for function, inputs in ((objective.d, (real, fake)), (objective.g, (fake,))):
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("objective", ALL, ids=str)
def test_losses_are_means_of_scores_of_any_kind(objective):
    real, fake = torch.randn(4, 3, 2), torch.randn(4, 3, 2)
    once = objective.d(real, fake), objective.g(fake)
    torch.testing.assert_close((objective.d(real.flatten(), fake.flatten()), objective.g(fake.flatten())), once)
    torch.testing.assert_close((objective.d(Scores(real), Scores(fake), {}), objective.g(Scores(fake), None, {})), once)
    assert not objective.compares and not objective.shown


@pytest.mark.parametrize("objective", ALL, ids=str)
def test_bfloat16_scores_are_widened_first(objective):
    real, fake = torch.randn(8).bfloat16(), torch.randn(8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        losses = objective.d(real, fake), objective.g(fake)
    torch.testing.assert_close(losses, (objective.d(real.float(), fake.float()), objective.g(fake.float())))


@pytest.mark.parametrize("objective", [*DUALS, *RATIOS], ids=str)
def test_each_compiles_as_one_graph(objective, no_compiled_code):
    real, fake = torch.randn(8), torch.randn(8)
    losses = torch.compile(lambda r, f: (objective.d(r, f), objective.g(f)), fullgraph=True, backend="eager")
    torch.testing.assert_close(losses(real, fake), (objective.d(real, fake), objective.g(fake)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FGan("chi"), "divergence='chi' is not one of kl, reverse-kl, pearson"),
        (lambda: FGan("alpha", alpha=1.0), "alpha=1.0 must be a finite number but 0 and 1"),
        (lambda: FGan("alpha", alpha=0.0), "alpha=0.0"),
        (lambda: FGan("alpha", alpha=math.nan), "alpha=nan"),
        (lambda: FGan("weighted-js", weight=1.0), "weight=1.0 is not between 0 and 1"),
        (lambda: FGan("weighted-js", weight=math.nan), "weight=nan"),
        (lambda: LikelihoodRatio("kl"), "family='kl' is not one of cross-entropy, exponential"),
        (lambda: LikelihoodRatio(alpha=0.0), "alpha=0.0 is not a finite number above 0"),
    ],
)
def test_impossible_values_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_tables_are_the_choices():
    assert get_args(get_type_hints(FGan)["divergence"]) == tuple(DIVERGENCES)
    assert get_args(get_type_hints(LikelihoodRatio)["family"]) == tuple(FAMILIES)
