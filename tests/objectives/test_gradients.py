"""The critic's gradient, and the penalty of its norm: values, derivatives, zero, the ends of float32."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from gan_ops.objectives import GradientPenalty, Scores, gradient_of, score_gradient

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_loss_is_the_mean_over_samples_of_the_norm_over_all_other_axes():
    gradient = torch.zeros(2, 1, 2, 2)
    gradient[0, 0] = torch.tensor([[1.0, 2.0], [2.0, 4.0]])  # norm 5
    gradient[1, 0, 1, 1] = 3.0  # norm 3
    assert GradientPenalty().loss(gradient).item() == pytest.approx(10 * (16 + 4) / 2)


def test_target_is_divided_out():
    gradient = torch.tensor([[3.0, 4.0]])
    assert GradientPenalty(weight=2.0, target=4.0).loss(gradient).item() == pytest.approx(2 * 1 / 16)


def test_first_and_second_derivatives_are_right():
    gradient = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    loss = GradientPenalty(weight=3.0, target=2.0).loss
    assert gradcheck(loss, gradient)
    assert gradgradcheck(loss, gradient)


def test_first_and_second_derivatives_are_zero_where_the_gradient_is():
    gradient = torch.randn(3, 2, 2, 2)
    gradient[1] = 0
    gradient.requires_grad_()
    (first,) = torch.autograd.grad(GradientPenalty().loss(gradient), gradient, create_graph=True)
    (second,) = torch.autograd.grad((first * torch.randn_like(first)).sum(), gradient)
    for derivative in (first, second):
        assert not derivative[1].any()
        assert derivative.isfinite().all()
        assert derivative[[0, 2]].all()


def test_a_zero_gradient_is_penalised_as_a_norm_of_zero():
    assert GradientPenalty(weight=3.0).loss(torch.zeros(2, 3)).item() == pytest.approx(3.0)


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_derivative_is_that_of_unit_vectors_for_tiny_and_huge_gradients(scale):
    unit = torch.nn.functional.normalize(torch.randn(2, 12, dtype=torch.float64))
    gradient = (unit * scale).float().requires_grad_()
    GradientPenalty(weight=1.0).loss(gradient).backward()
    torch.testing.assert_close(gradient.grad, (unit * (scale - 1)).float())  # 2/N·(‖g‖ − 1)·g/‖g‖ with N = 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_loss_is_float32_also_under_autocast(dtype):
    gradient = torch.randn(4, 3, 2, 2).to(dtype)
    expected = GradientPenalty().loss(gradient.double())
    with torch.autocast(torch.get_default_device().type, torch.bfloat16):
        loss = GradientPenalty().loss(gradient)
    assert loss.dtype == torch.float32
    assert expected.dtype == torch.float64
    torch.testing.assert_close(loss, expected.float())


def test_one_sided_counts_what_exceeds_the_target():
    gradient = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    assert GradientPenalty(weight=2.0, target=4.0, one_sided=True).loss(gradient).item() == pytest.approx(1 / 16)


def test_target_zero_is_the_squared_norm():
    assert GradientPenalty(weight=2.0, target=0.0).loss(torch.tensor([[3.0, 4.0]])).item() == pytest.approx(50)


def test_points_take_one_weight_a_sample():
    real, fake = torch.zeros(64, 3, 2, 2), torch.ones(64, 3, 2, 2)
    weights = GradientPenalty().points(real, fake).flatten(1)
    assert torch.equal(weights, weights[:, :1].expand_as(weights))
    assert weights[:, 0].unique().numel() == 64
    assert (weights >= 0).all()
    assert (weights < 1).all()


@EVERYWHERE
def test_points_lie_between_real_and_fake():
    real, fake = torch.randn(2, 8, 3, 4, 4)
    x = GradientPenalty().points(real, fake)
    u = (x - real) / (fake - real)
    torch.testing.assert_close(u, u[:, :1, :1, :1].expand_as(u), rtol=1e-2, atol=1e-3)


def test_points_repeat_with_the_generator():
    real, fake = torch.randn(2, 8, 3, 4, 4)
    draws = [GradientPenalty().points(real, fake, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_points_want_equal_shapes():
    with pytest.raises(ValueError, match=r"real is \[2, 3\] but fake is \[1, 3\]"):
        GradientPenalty().points(torch.zeros(2, 3), torch.zeros(1, 3))


@pytest.mark.parametrize("bad", [{"weight": -1.0}, {"target": -1.0}, {"target": float("nan")}])
def test_bad_settings_are_named(bad):
    (name,) = bad
    with pytest.raises(ValueError, match=f"{name}="):
        GradientPenalty(**bad)


def small_critic() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(16, 1), nn.Flatten(0))


@EVERYWHERE
def test_the_score_gradient_is_each_sample_s_own_and_differentiable():
    critic, x = small_critic().double(), torch.randn(5, 3, 4, 4, dtype=torch.float64)
    gradient = score_gradient(critic, x)
    for i in range(5):
        alone = torch.autograd.functional.jacobian(lambda x: critic(x).squeeze(), x[i : i + 1])
        torch.testing.assert_close(gradient[i : i + 1], alone)
    gradient.sum().backward()
    assert critic[0].weight.grad.any()


@EVERYWHERE
@pytest.mark.parametrize("scale", [None, 64.0])
def test_the_gradient_of_a_pass_that_has_been_made_is_the_same(scale):
    critic, x = small_critic(), torch.randn(5, 3, 4, 4)
    points = x + torch.zeros_like(x).requires_grad_()
    scores = critic(points)
    expected = score_gradient(critic, x, scale)
    for given in (scores, Scores(scores)):
        gradient = gradient_of(given, points, scale)
        assert torch.equal(gradient, expected)
    gradient.square().sum().backward()
    assert critic[0].weight.grad.any()


def test_points_must_have_required_a_gradient():
    critic, x = small_critic(), torch.randn(5, 3, 4, 4)
    with pytest.raises(ValueError, match="points must require a gradient before scores are computed from them"):
        gradient_of(critic(x), x)


def test_scores_may_be_an_attribute():
    critic, x = small_critic(), torch.randn(5, 3, 4, 4)
    assert torch.equal(score_gradient(lambda x: Scores(critic(x)), x), score_gradient(critic, x))


def test_the_points_are_left_alone():
    x = torch.randn(5, 3, 4, 4, requires_grad=True) * 2
    score_gradient(small_critic(), x).sum().backward()
    assert x.requires_grad and x.grad_fn is not None


@EVERYWHERE
def test_channels_last_points_give_a_channels_last_gradient():
    critic = small_critic().to(memory_format=torch.channels_last)
    x = torch.randn(5, 3, 4, 4).to(memory_format=torch.channels_last)
    assert score_gradient(critic, x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("scale", [2.0**14, torch.tensor(2.0**14)])
def test_a_loss_scale_carries_small_gradients_through_float16_and_is_taken_out(scale):
    def critic(x):
        return (x.half() * 1e-5).half().sum(1) * 1e-3  # 1e-8 is nothing in float16

    x = torch.randn(4, 3)
    assert not score_gradient(critic, x).any()
    torch.testing.assert_close(score_gradient(critic, x, scale), torch.full((4, 3), 1e-8), rtol=2e-2, atol=0)


@EVERYWHERE
def test_only_the_critic_runs_under_autocast():
    critic, x = nn.Sequential(nn.Linear(6, 8), nn.Softplus(), nn.Linear(8, 1), nn.Flatten(0)), torch.randn(5, 6)
    seen = []
    critic.register_forward_hook(lambda _, __, scores: seen.append(scores.dtype))
    with torch.autocast(torch.get_default_device().type, torch.bfloat16):
        gradient = score_gradient(critic, x)
        loss = GradientPenalty().loss(gradient)
    assert seen == [torch.bfloat16]
    assert gradient.dtype == loss.dtype == torch.float32
    torch.testing.assert_close(gradient, score_gradient(critic, x), rtol=5e-2, atol=5e-3)  # bfloat16 has 8 bits
