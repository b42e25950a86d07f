"""Integral probability metrics: losses by hand, what their optima measure, and what is remembered."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor, tensor

from gan_ops.objectives import (
    CTransform,
    Dragan,
    Fisher,
    McGanCovariance,
    McGanMean,
    NonSaturating,
    NonSaturatingDragan,
    Scores,
    Wasserstein,
    WassersteinDiv,
    WganDiv,
)
from gan_ops.objectives.scores import vectors_of

REAL, FAKE = tensor([1.0, 3.0]), tensor([-1.0, 0.0])


def test_scores_count_as_vectors():
    assert vectors_of(REAL).shape == (2, 1) and vectors_of(Scores(torch.zeros(3, 4, 2, 2))).shape == (3, 16)
    assert vectors_of(REAL.half()).dtype == torch.float32 and vectors_of(REAL.double()).dtype == torch.float64


# WGAN-div and DRAGAN


def test_wgan_div_is_wgan_with_its_penalty():
    objective = WassersteinDiv(drift=0.1)
    assert objective.d(REAL, FAKE).item() == pytest.approx(-0.5 - 2.0 + 0.1 * 5.0)
    assert torch.equal(objective.d(REAL, FAKE), Wasserstein(drift=0.1).d(REAL, FAKE))
    assert torch.equal(objective.g(FAKE), Wasserstein().g(FAKE))
    assert objective.penalties == (WganDiv(2.0, 6.0),)
    assert WassersteinDiv(3.0, 4.0).penalties == (WganDiv(3.0, 4.0),) and WassersteinDiv(0.0).penalties == ()


def test_wgan_divs_best_linear_critic():
    # Of D(x) = a·x with means 1 apart, −a + 2a⁶ is least at a = (1/12)^(1/5): the divergence is 5/6·a.
    a, x = tensor(12 ** (-1 / 5), requires_grad=True), tensor([0.0, 2.0])
    objective = WassersteinDiv()
    loss = objective.d(a * (x + 1), a * x) + objective.penalties[0].loss(a.expand(2, 1))
    loss.backward()
    assert -loss.item() == pytest.approx(5 / 6 * 12 ** (-1 / 5)) and a.grad.item() == pytest.approx(0, abs=1e-6)


def test_dragan_is_the_non_saturating_loss_with_its_penalty():
    objective = NonSaturatingDragan(label_smoothing=0.1)
    assert torch.equal(objective.d(REAL, FAKE), NonSaturating(0.1).d(REAL, FAKE))
    assert torch.equal(objective.g(FAKE), NonSaturating().g(FAKE))
    assert objective.penalties == (Dragan(10.0, 1.0, 0.5),)
    assert NonSaturatingDragan(weight=1.0, target=2.0, noise=0.1).penalties == (Dragan(1.0, 2.0, 0.1),)
    assert NonSaturatingDragan(weight=0.0).penalties == ()


# Fisher


def test_fishers_loss_by_hand():
    objective, stats = Fisher(rho=0.5), {}
    objective.multiplier.fill_(2.0)
    # Ê = 2 + ½, Ω̂ = ½(10/2 + 1/2) = 2.75.
    assert objective.d(REAL, FAKE, stats).item() == pytest.approx(-(2.5 + 2 * (1 - 2.75) - 0.25 * 1.75**2))
    assert objective.g(FAKE).item() == 0.5
    assert {name: value.item() for name, value in stats.items()} == {
        "fisher_multiplier": 2.0,
        "fisher_second_moment": 2.75,
    }
    objective.after(stats)
    assert objective.multiplier.item() == 2.0 - 0.5 * (1 - 2.75)


def test_fishers_derivatives_by_hand():
    objective = Fisher(rho=0.5)
    objective.multiplier.fill_(2.0)
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    objective.d(real, fake).backward()
    # ∂L/∂s = ∓1/N + (Λ + ρ(Ω̂ − 1))·s/N.
    slope = 2 + 0.5 * 1.75
    torch.testing.assert_close(real.grad, (-1 + slope * REAL) / 2)
    torch.testing.assert_close(fake.grad, (1 + slope * FAKE) / 2)


def play(objective: Fisher, a: Tensor, steps: int) -> dict[str, Tensor]:
    """The game of a critic D(x) = a·x, by gradient descent, with reals 1 and 3 and fakes −1 and −1."""
    stats: dict[str, Tensor] = {}
    for _ in range(steps):
        (slope,) = torch.autograd.grad(objective.d(a * tensor([1.0, 3.0]), a * tensor([-1.0, -1.0]), stats), a)
        with torch.no_grad():
            a -= 0.05 * slope
        objective.after(stats)
    return stats


def test_fishers_multiplier_moves_the_second_moment_to_1():
    for start in (0.1, 2.0):
        a, objective = tensor(start).requires_grad_(), Fisher(rho=0.2)
        stats = play(objective, a, 250)
        # Ω = a²·½(5 + 1) = 1, and Λ is half of Ê = 3a there.
        assert stats["fisher_second_moment"].item() == pytest.approx(1, abs=1e-3)
        assert a.item() == pytest.approx(1 / math.sqrt(3), abs=1e-3)
        assert objective.multiplier.item() == pytest.approx(3 / math.sqrt(3) / 2, abs=1e-3)


def test_fishers_multiplier_survives_a_resume_to_the_bit():
    a, objective = tensor(0.1).requires_grad_(), Fisher(rho=0.05)
    play(objective, a, 10)
    again, resumed = a.detach().clone().requires_grad_(), Fisher(rho=0.05)
    resumed.load_state_dict(objective.state_dict())
    play(objective, a, 10), play(resumed, again, 10)
    assert torch.equal(a, again) and torch.equal(objective.multiplier, resumed.multiplier)
    assert objective.multiplier != 0


def test_small_steps_of_fishers_multiplier_are_not_lost():
    objective = Fisher()
    objective.multiplier.fill_(0.7)
    for _ in range(100):
        objective.after({"fisher_second_moment": tensor(1.01)})  # float32 would round 0.7 + 1e-8 to 0.7
    assert objective.multiplier.item() == pytest.approx(0.7 + 100 * 1e-8, abs=1e-10)


# The c-transform


def shown(x: Tensor, score: Tensor) -> Scores:
    return Scores(score, x=x)


X, Y = tensor([[0.0, 0.0], [4.0, 0.0]]), tensor([[0.0, 1.0], [3.0, 1.0], [4.0, 0.0]])


@pytest.mark.parametrize(
    ("options", "transform"),
    [
        # s = 1, 2: min over the two reals of the cost less the score.
        ({}, [0.0, math.sqrt(2) - 2, -2.0]),
        ({"metric": "l1"}, [0.0, 0.0, -2.0]),
        ({"power": 2.0}, [0.0, 0.0, -2.0]),
        ({"metric": "l1", "power": 2.0}, [0.0, 2.0, -2.0]),
    ],
    ids=str,
)
def test_c_transforms_by_hand(options, transform):
    real, fake, stats = shown(X, tensor([1.0, 2.0])), shown(Y, torch.zeros(3)), {}
    objective = CTransform(**options)
    expected = sum(transform) / 3
    assert objective.g(fake, real).item() == pytest.approx(expected)
    assert objective.d(real, fake, stats).item() == pytest.approx(-(1.5 + expected))
    assert stats["transport_cost"].item() == pytest.approx(1.5 + expected)


def test_generated_samples_are_pulled_to_the_reals_that_attain_the_minimum():
    y = Y.clone().requires_grad_()
    CTransform().g(shown(y, torch.zeros(3)), shown(X, tensor([1.0, 2.0]))).backward()
    r = 1 / math.sqrt(2)
    torch.testing.assert_close(y.grad, tensor([[0.0, 1.0], [-r, r], [0.0, 0.0]]) / 3)


def test_the_critic_learns_from_its_scores_of_reals():
    score = tensor([1.0, 2.0]).requires_grad_()
    CTransform().d(shown(X, score), shown(Y, torch.zeros(3))).backward()
    torch.testing.assert_close(score.grad, tensor([-1 / 2 + 1 / 3, -1 / 2 + 2 / 3]))


def test_admissibility_asks_for_scores_of_fakes_that_agree_with_the_transform():
    real, fake = shown(X, tensor([1.0, 2.0])), shown(Y, tensor([0.5, 0.0, 3.0]).requires_grad_())
    transform = CTransform()._transform(real, Y).tolist()
    distance = [[math.dist(a, b) for b in Y.tolist()] for a in Y.tolist()]
    scores = fake.score.tolist()
    excess = [scores[i] + transform[j] - distance[i][j] for i in range(3) for j in range(3)]
    expected = 7.0 * sum(max(0.0, e) ** 2 for e in excess) / 9
    loss = CTransform(admissibility=7.0).d(real, fake)
    assert loss.item() == pytest.approx(CTransform().d(real, fake).item() + expected) and expected > 1
    loss.backward()
    assert fake.score.grad[2] > 0  # the score that is too high falls


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_at_the_best_scores_it_is_the_cost_of_transport(power, metric):
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 16, generator=random, dtype=torch.float64).sort().values  # in order they go together
    y = 1 + 0.5 * y

    def cost(x: Tensor, y: Tensor) -> Tensor:
        return (x - y).abs() ** power

    # Where yᵢ must not prefer xᵢ₊₁ to xᵢ, and that only just: on a line no other pair is tempted then.
    score = torch.cat([torch.zeros(1), (cost(x[1:], y[:-1]) - cost(x[:-1], y[:-1])).cumsum(0)]).requires_grad_()
    real, fake = shown(x[:, None], score), shown(y[torch.randperm(16, generator=random), None], torch.zeros(16))
    objective = CTransform(metric, power)
    assert -objective.d(real, fake).item() == pytest.approx(cost(x, y).mean().item(), rel=1e-9)
    for _ in range(8):  # other scores give less
        other = real._replace(score=score.detach() + 0.1 * torch.randn(16, generator=random))
        assert -objective.d(other, fake).item() < cost(x, y).mean().item()


def test_images_are_compared_without_their_pairs():
    torch.manual_seed(0)
    real, fake = torch.randn(4, 3, 8, 8), torch.randn(5, 3, 8, 8).requires_grad_()
    seen = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: seen.append(t.numel()) or t, lambda t: t):
        value = CTransform().g(shown(fake, torch.zeros(5)), shown(real, torch.zeros(4)))
    expected = torch.cdist(real.flatten(1), fake.flatten(1)).min(0).values.mean()
    torch.testing.assert_close(value, expected)
    assert max(seen) <= 5 * 3 * 8 * 8


# McGAN

PHI_REAL, PHI_FAKE = tensor([[1.0, 2.0], [3.0, 4.0]]), tensor([[0.0, 8.0], [-2.0, 4.0]])


@pytest.mark.parametrize(("norm", "value"), [("1", 7.0), ("2", 5.0), ("inf", 4.0)])
def test_mcgan_of_means_by_hand(norm, value):
    real = PHI_REAL - tensor([0.0, 1.0])  # means differ by (3, −4)
    objective = McGanMean(norm, outputs=2)
    assert objective.d(real, PHI_FAKE).item() == pytest.approx(-value)
    assert objective.g(PHI_FAKE, real).item() == pytest.approx(value)
    assert objective.compares and objective.clip == 0.01
    # The witness integrates to the same value.
    witness = objective.witness(torch.cat([real, PHI_FAKE]), real, PHI_FAKE)
    assert (witness[:2].mean() - witness[2:].mean()).item() == pytest.approx(value)


@pytest.mark.parametrize("norm", ["1", "2", "inf"])
def test_equal_means_give_no_nan(norm):
    fake = PHI_REAL.clone().requires_grad_()
    objective = McGanMean(norm, outputs=2)
    loss = objective.g(fake, PHI_REAL)
    loss.backward()
    assert loss.item() == 0 and not fake.grad.any() and not objective.witness(fake, PHI_REAL, fake).any()


def covariance(u: list, v: list) -> McGanCovariance:
    objective = McGanCovariance(outputs=2, components=len(u[0]))
    with torch.no_grad():
        objective.u.copy_(tensor(u)), objective.v.copy_(tensor(v))
    return objective


def test_mcgan_of_covariances_by_hand():
    # f = ⟨(1, 0), Φ⟩⟨(0, 1), Φ⟩: 2, 12 of reals and 0, −8 of fakes.
    objective = covariance([[1.0], [0.0]], [[0.0], [1.0]])
    assert objective.d(PHI_REAL, PHI_FAKE).item() == -4.0 - 7.0
    assert objective.g(PHI_FAKE).item() == 4.0
    assert objective.witness(PHI_FAKE, PHI_REAL, PHI_FAKE).tolist() == [0.0, -8.0]
    assert {name for name, _ in objective.named_parameters()} == {"u", "v"}


def test_its_best_directions_give_the_largest_singular_values():
    torch.manual_seed(0)
    real, fake = torch.randn(64, 6), torch.randn(64, 6) * tensor([0.1, 2.0, 1.0, 1.0, 1.5, 0.5])
    objective = McGanCovariance(outputs=6, components=2)
    for _ in range(50):
        slopes = torch.autograd.grad(objective.d(real, fake), (objective.u, objective.v))
        with torch.no_grad():
            objective.u -= 0.3 * slopes[0]
            objective.v -= 0.3 * slopes[1]
        objective.retract_()
    difference = real.T @ real / 64 - fake.T @ fake / 64
    best = torch.linalg.svdvals(difference)[:2].sum().item()
    assert -objective.d(real, fake).item() == pytest.approx(best, rel=1e-3)


def test_retraction_gives_orthonormal_directions_and_leaves_those_where_they_are():
    objective = McGanCovariance(outputs=8, components=3)
    eye = torch.eye(3)
    torch.testing.assert_close(objective.u.T @ objective.u, eye, atol=1e-6, rtol=0)
    before = objective.u.detach().clone()
    objective.retract_()
    torch.testing.assert_close(objective.u.detach(), before, atol=1e-6, rtol=0)
    with torch.no_grad():
        objective.u += 1e-3 * torch.randn(8, 3)
    objective.retract_()
    torch.testing.assert_close(objective.u.T @ objective.u, eye, atol=1e-6, rtol=0)
    assert 1e-5 < (objective.u - before).abs().max() < 1e-2  # no column has changed its sign


def test_its_directions_survive_a_resume_and_start_alike():
    assert torch.equal(McGanCovariance().u, McGanCovariance().u) and not torch.equal(
        McGanCovariance().u, McGanCovariance().v
    )
    objective = covariance([[1.0], [0.0]], [[0.0], [1.0]])
    resumed = dataclasses.replace(objective)
    assert resumed.u.shape == (2, 1)
    resumed.load_state_dict(objective.state_dict())
    assert torch.equal(resumed.d(PHI_REAL, PHI_FAKE), objective.d(PHI_REAL, PHI_FAKE))


# All


VECTORS = [McGanMean("1"), McGanMean("2"), McGanMean("inf"), McGanCovariance(2, 2)]
OBJECTIVES = [WassersteinDiv(), NonSaturatingDragan(), Fisher(), CTransform(), CTransform("l1", 2.0, 1.0), *VECTORS]


def batch(objective, values: Tensor) -> Scores:
    score = torch.stack([values, values.flip(0)], 1) if objective in VECTORS else values
    return Scores(score.detach().requires_grad_(), x=values.detach()[:, None].clone().requires_grad_())


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_of_extreme_scores_losses_and_gradients_are_finite(objective, dtype):
    real, fake = (batch(objective, tensor(v, dtype=dtype)) for v in ([100.0, -100.0], [-100.0, 100.0]))
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        losses = objective.d(real, fake), objective.g(fake, Scores(real.score.detach(), x=real.x.detach()))
    for loss in losses:
        assert loss.isfinite() and loss.dim() == 0
        loss.backward()
    gradients = [real.score.grad, fake.score.grad, fake.x.grad]
    assert all(g is None or g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_losses_are_means_and_not_sums(objective):
    real, fake = batch(objective, REAL), batch(objective, FAKE)
    real2, fake2 = (Scores(s.score.repeat(2, *[1] * (s.score.dim() - 1)), x=s.x.repeat(2, 1)) for s in (real, fake))
    torch.testing.assert_close(objective.d(real2, fake2), objective.d(real, fake))
    torch.testing.assert_close(objective.g(fake2, real2), objective.g(fake, real))


@pytest.mark.parametrize(
    "objective",
    [Fisher(rho=0.5), CTransform(power=1.5, admissibility=1.0), McGanMean("2"), McGanCovariance(2, 2).double()],
    ids=str,
)
def test_derivatives(objective):
    torch.manual_seed(0)
    shape = (4,) if isinstance(objective, Fisher | CTransform) else (4, 2)
    real, fake = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(2))
    x, y = (torch.randn(4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def d(real: Tensor, fake: Tensor) -> Tensor:
        return objective.d(Scores(real, x=x.detach()), Scores(fake, x=y.detach()))

    def g(real: Tensor, fake: Tensor, y: Tensor) -> Tensor:
        return objective.g(Scores(fake, x=y), Scores(real.detach(), x=x.detach())) + 0 * (real.sum() + y.sum())

    assert torch.autograd.gradcheck(d, (real, fake)) and torch.autograd.gradgradcheck(d, (real, fake))
    assert torch.autograd.gradcheck(lambda fake, y: g(real, fake, y), (fake, y))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WassersteinDiv(weight=-1.0), "weight=-1.0 is not a finite number of at least 0"),
        (lambda: WassersteinDiv(power=1.5), "power=1.5 is not a finite number of at least 2"),
        (lambda: WassersteinDiv(drift=-1.0), "drift=-1.0"),
        (lambda: NonSaturatingDragan(noise=-1.0), "noise=-1.0"),
        (lambda: NonSaturatingDragan(label_smoothing=2.0), "label_smoothing=2.0"),
        (lambda: Fisher(rho=0.0), "rho=0.0 is not a finite number above 0"),
        (lambda: CTransform("l3"), "metric='l3' is not one of l1, l2"),
        (lambda: CTransform(power=0.5), "power=0.5 is not a finite number of at least 1"),
        (lambda: CTransform(admissibility=math.nan), "admissibility=nan"),
        (lambda: CTransform().d(REAL, FAKE), "this loss reads the samples too: it takes Scores with x"),
        (lambda: CTransform().g(shown(Y, FAKE), Scores(REAL)), "Scores with x"),
        (lambda: McGanMean("3"), "norm='3' is not one of 1, 2, inf"),
        (lambda: McGanMean(outputs=0), "outputs=0 is not a whole number of at least 1"),
        (lambda: McGanMean(clip=-1.0), "clip=-1.0"),
        (lambda: McGanCovariance(components=0), "components=0 is not a whole number of at least 1"),
        (lambda: McGanCovariance(2, 3), "components=3 must not be above outputs=2"),
    ],
)
def test_impossible_values_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
