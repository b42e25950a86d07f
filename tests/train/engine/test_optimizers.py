"""The rules by which parameters follow their gradients, against their formulas written out in float64."""

import math

import pytest
import torch
from torch import nn

from train.engine.optimizers import Adam, Optimistic, OptimisticAdam, RMSProp


class OnTensors:
    """Adam with a β₂ on the device."""

    def make(self, parameters, lr, *, betas, **values):
        return Adam().make(parameters, lr, betas=(betas[0], torch.tensor(betas[1])), **values)


CHOICES = (Adam(), RMSProp(alpha=0.9), Optimistic(), OptimisticAdam(), OnTensors())
BETAS, EPS, LR = (0.5, 0.9), 1e-3, 0.05
ALL = pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: type(choice).__name__)


class Rule:
    """An optimizer of two parameters in float64, the second of which may be passed over."""

    def __init__(self, choice, *, pace: float = 1.0, start: tuple[float, ...] = (1.0, -2.0, 3.0), betas=BETAS) -> None:
        self.parameter = nn.Parameter(torch.tensor(start, dtype=torch.float64))
        self.beside = nn.Parameter(torch.tensor([7.0], dtype=torch.float64))
        self.lr = torch.tensor(LR, dtype=torch.float64)
        both = [self.parameter, self.beside]
        self.optimizer = choice.make(both, self.lr, betas=betas, eps=EPS, pace=pace)

    def step(self, gradient: torch.Tensor, *, beside: float | None = None, skip: bool = False, scale: float = 1.0):
        self.parameter.grad = (gradient * scale).clone()
        self.beside.grad = None if beside is None else torch.tensor([beside * scale], dtype=torch.float64)
        self.optimizer.found_inf = torch.tensor(float(skip))
        self.optimizer.grad_scale = None if scale == 1.0 else torch.tensor(scale)
        self.optimizer.step()
        return self.parameter.detach().clone()

    def state(self) -> dict[str, torch.Tensor]:
        return {name: value.clone() for name, value in self.optimizer.state[self.parameter].items()}


def gradients(count: int) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(5)
    return [torch.randn(3, generator=random, dtype=torch.float64) * 3**k for k in range(count)]


def rmsprop(theta: float, gradients: list[float], lr: float, alpha: float) -> float:
    v = 0.0
    for g in gradients:
        v = alpha * v + (1 - alpha) * g**2
        theta -= lr * g / (math.sqrt(v) + EPS)
    return theta


def optimistic(theta: float, gradients: list[float], lr: float) -> float:
    before = 0.0
    for g in gradients:
        theta = theta - 2 * lr * g + lr * before
        before = g
    return theta


def optimistic_adam(theta: float, gradients: list[float], lr: float, betas: tuple[float, float]) -> float:
    m = v = before = 0.0
    for t, g in enumerate(gradients, 1):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        now = m_hat / (math.sqrt(v_hat) + EPS)
        theta = theta - 2 * lr * now + lr * before
        before = now
    return theta


FORMULAS = (
    (RMSProp(alpha=0.9), lambda theta, g, pace: rmsprop(theta, g, LR, 0.9**pace)),
    (Optimistic(), lambda theta, g, pace: optimistic(theta, g, LR)),
    (OptimisticAdam(), lambda theta, g, pace: optimistic_adam(theta, g, LR, (0.5**pace, 0.9**pace))),
)


@pytest.mark.parametrize("pace", [1.0, 0.8])
@pytest.mark.parametrize("skipped", [(), (0,), (2, 3)], ids=["none skipped", "first skipped", "two skipped"])
@pytest.mark.parametrize(("choice", "formula"), FORMULAS, ids=lambda each: type(each).__name__)
def test_steps_are_those_of_the_formula_and_skipped_ones_did_not_happen(choice, formula, skipped, pace):
    rule, start = Rule(choice, pace=pace), (1.0, -2.0, 3.0)
    given = gradients(7)
    for t, gradient in enumerate(given):
        broken = torch.full_like(gradient, float("nan" if t % 2 else "inf"))
        rule.step(broken if t in skipped else gradient, skip=t in skipped)
    taken = [gradient for t, gradient in enumerate(given) if t not in skipped]
    expected = [formula(theta, [float(g[i]) for g in taken], pace) for i, theta in enumerate(start)]
    assert rule.parameter.tolist() == pytest.approx(expected, rel=1e-12)


def adam(theta: float, gradients: list[float], beta1: float, beta2s: list[float]) -> float:
    m = v = 0.0
    for t, (g, beta2) in enumerate(zip(gradients, beta2s, strict=True), 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        theta -= LR * (m / (1 - beta1**t)) / (math.sqrt(v / (1 - beta2**t)) + EPS)
    return theta


@pytest.mark.parametrize("skipped", [(), (0,), (2, 3)], ids=["none skipped", "first skipped", "two skipped"])
@pytest.mark.parametrize("beta1", [0.0, 0.5])
def test_adams_steps_follow_a_beta2_that_changes_on_the_device(beta1, skipped):
    beta2, start = torch.zeros((), dtype=torch.float64), (1.0, -2.0, 3.0)
    rule, given = Rule(Adam(), betas=(beta1, beta2)), gradients(7)
    beta2s = [0.9, 0.99, 0.5, 0.3, 0.0, 0.999, 0.9]
    for t, gradient in enumerate(given):
        beta2.fill_(beta2s[t])
        broken = torch.full_like(gradient, float("nan" if t % 2 else "inf"))
        rule.step(broken if t in skipped else gradient, skip=t in skipped, scale=8.0)
    taken = [t for t in range(7) if t not in skipped]
    expected = [
        adam(theta, [float(given[t][i]) for t in taken], beta1, [beta2s[t] for t in taken])
        for i, theta in enumerate(start)
    ]
    assert rule.parameter.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("beta1", [0.0, 0.5])
def test_adam_with_a_beta2_on_the_device_is_torchs(beta1):
    ours, theirs = (Rule(Adam(), betas=(beta1, beta2)) for beta2 in (torch.tensor(0.9, dtype=torch.float64), 0.9))
    for t, gradient in enumerate(gradients(6)):
        beside = None if t == 2 else float(t)
        torch.testing.assert_close(ours.step(gradient, beside=beside), theirs.step(gradient, beside=beside))
        torch.testing.assert_close(ours.beside, theirs.beside)
    assert ("exp_avg" in ours.state()) == (beta1 > 0)


def test_rmsprop_is_torchs():
    rule = Rule(RMSProp(alpha=0.9))
    theirs = nn.Parameter(torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64))
    optimizer = torch.optim.RMSprop([theirs], lr=LR, alpha=0.9, eps=EPS)
    for gradient in gradients(6):
        rule.step(gradient)
        theirs.grad = gradient.clone()
        optimizer.step()
    torch.testing.assert_close(rule.parameter, theirs, rtol=1e-13, atol=0)


def test_rmsprop_forgets_a_gradient_far_larger_than_the_next():
    """Its kernel carries a mean of gradients that keeps nothing: not even the rounding of what it held."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = RMSProp(alpha=0.0).make([parameter], torch.tensor(1.0), betas=BETAS, eps=0.0, pace=1.0)
    optimizer.found_inf = torch.tensor(0.0)
    for gradient, expected in ((1e9, -1.0), (3.0, -2.0), (-2.0, -1.0)):
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
        assert parameter.item() == pytest.approx(expected, rel=1e-6)


@ALL
def test_a_skipped_step_changes_neither_parameters_nor_state(choice):
    rule = Rule(choice)
    for gradient in gradients(3):
        before = rule.step(gradient)
    state = rule.state()
    for broken in (float("nan"), float("inf"), 1e300):
        after = rule.step(torch.full((3,), broken, dtype=torch.float64), skip=True)
        assert torch.equal(after, before)
        assert all(torch.equal(value, state[name]) for name, value in rule.state().items())


@ALL
def test_gradients_are_divided_by_the_loss_scale(choice):
    scaled, plain = Rule(choice), Rule(choice)
    for gradient in gradients(4):
        a, b = scaled.step(gradient, scale=1024.0), plain.step(gradient)
        assert torch.equal(a, b)


@ALL
def test_parameters_without_a_gradient_are_passed_over_and_begin_when_they_have_one(choice):
    rule, late = Rule(choice), Rule(choice, start=(7.0, 7.0, 7.0))
    first, second = gradients(2)
    rule.step(first)
    assert rule.beside.item() == 7.0 and rule.beside not in rule.optimizer.state
    rule.step(second, beside=0.25)
    late.step(torch.full((3,), 0.25, dtype=torch.float64))
    assert rule.beside.item() == late.parameter[0].item()


@ALL
def test_the_learning_rate_may_change_between_steps(choice):
    rule = Rule(choice)
    rule.step(gradients(1)[0])
    before = rule.parameter.detach().clone()
    rule.lr.fill_(0.0)
    assert torch.equal(rule.step(gradients(2)[1]), before)


def test_the_rate_of_a_step_counts_for_both_of_its_gradients():
    rule = Rule(Optimistic(), start=(0.0,))
    rule.lr.fill_(0.5)
    assert rule.step(torch.ones(1).double()).item() == -1.0  # −2·0.5·1
    rule.lr.fill_(0.1)
    assert rule.step(torch.full((1,), 4.0).double()).item() == pytest.approx(-1.7)  # −1 − 2·0.1·4 + 0.1·1


def test_optimistic_descent_converges_where_gradient_descent_spirals_outwards():
    """min over x, max over y of xy (Daskalakis et al. 2018, section 2): each step of gradient descent multiplies the
    distance from the equilibrium by √(1 + η²)."""
    steps, lr = 1000, 0.1
    optimistic, x, y = Rule(Optimistic(), start=(1.0, 1.0)), 1.0, 1.0
    optimistic.lr.fill_(lr)
    for _ in range(steps):
        mine_x, mine_y = optimistic.parameter.detach().unbind()
        optimistic.step(torch.stack([mine_y, -mine_x]))
        x, y = x - lr * y, y + lr * x
    assert math.hypot(x, y) == pytest.approx(math.sqrt(2) * (1 + lr**2) ** (steps / 2))  # 205
    assert float(optimistic.parameter.detach().norm()) < 0.02


@pytest.mark.parametrize("alpha", [-0.1, 1.0, math.nan])
def test_an_alpha_that_makes_no_average_is_refused(alpha):
    with pytest.raises(ValueError, match=f"alpha={alpha} is not at least 0 and below 1"):
        RMSProp(alpha)
