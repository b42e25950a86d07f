"""Gradient normalisation: values by hand, bounds, and the Lipschitz constants that the papers promise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn, tensor

from gan_ops.objectives import gradient_normalized, score_gradient

FORMS = pytest.mark.parametrize("form", ["gradient", "gradient-v2"])
SCORE, GRADIENT = tensor([2.0, -15.0]), tensor([[3.0, 4.0], [0.0, -5.0]])  # norms 5 and 5


def piecewise_linear(scale: float = 1.0) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 16), nn.LeakyReLU(0.2), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
    with torch.no_grad():
        net[-1].weight *= scale
    return nn.Sequential(*net, nn.Flatten(0)).double()


def normalized(net: nn.Module, x: Tensor, form: str, **options: float) -> Tensor:
    points = x if x.requires_grad else x.clone().requires_grad_()
    score = net(points)
    (gradient,) = torch.autograd.grad(score.sum(), points, create_graph=True)
    return gradient_normalized(score, gradient, form, **options)


def test_values():
    torch.testing.assert_close(gradient_normalized(SCORE, GRADIENT), tensor([2 / 7, -15 / 20]))
    torch.testing.assert_close(gradient_normalized(SCORE, GRADIENT, "gradient", lipschitz=3.0), tensor([6 / 7, -2.25]))
    expected = tensor([2 * 5 / 25.1, -15 * 5 / 25.1])
    torch.testing.assert_close(gradient_normalized(SCORE, GRADIENT, "gradient-v2"), expected)
    expected = tensor([2 * 2 * 5 / 26, -2 * 15 * 5 / 26])
    actual = gradient_normalized(SCORE, GRADIENT, "gradient-v2", lipschitz=2.0, epsilon=1.0)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_first_form_is_bounded_by_1(scale):
    values = normalized(piecewise_linear(scale), 100 * torch.randn(256, 3, dtype=torch.float64), "gradient")
    assert values.abs().max() <= 1 and values.unique().numel() > 200


@FORMS
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("lipschitz", [1.0, 0.5])
def test_its_gradient_is_at_most_k_where_the_critic_is_linear_in_pieces(form, scale, lipschitz):
    net, x = piecewise_linear(scale), torch.randn(256, 3, dtype=torch.float64)
    gradient = score_gradient(lambda points: normalized(net, points, form, lipschitz=lipschitz), x)
    assert gradient.norm(dim=1).max() <= lipschitz * (1 + 1e-12)
    # What it is exactly, in the pieces: the formulas of the docstring.
    f, g = net(x), score_gradient(net, x).norm(dim=1)
    expected = (g / (g + f.abs())) ** 2 if form == "gradient" else g**2 / (g**2 + 0.1)
    torch.testing.assert_close(gradient.norm(dim=1), lipschitz * expected)


def test_the_second_form_has_gradients_of_norm_1_as_epsilon_vanishes():
    net, x = piecewise_linear(), torch.randn(256, 3, dtype=torch.float64)
    gradient = score_gradient(lambda points: normalized(net, points, "gradient-v2", epsilon=1e-12), x)
    torch.testing.assert_close(gradient.norm(dim=1), torch.ones(256, dtype=torch.float64), rtol=1e-6, atol=0)


def test_two_points_of_one_piece_are_as_far_apart_as_1_lipschitz_allows():
    net = piecewise_linear()
    x = torch.randn(512, 3, dtype=torch.float64)
    y = x + 1e-3 * torch.randn_like(x)
    one_piece = (score_gradient(net, x) == score_gradient(net, y)).all(1)
    assert one_piece.sum() > 400
    slope = (normalized(net, x, "gradient") - normalized(net, y, "gradient")).abs() / (x - y).norm(dim=1)
    assert slope[one_piece].max() <= 1


@FORMS
def test_values_and_derivatives_are_finite_at_0(form):
    score = tensor([0.0, 0.0, 2.0, 0.0, 1e-30]).requires_grad_()
    gradient = tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0], [1e-25, 0.0], [1e-30, 0.0]]).requires_grad_()
    value = gradient_normalized(score, gradient, form)
    assert value[:2].tolist() == [0.0, 0.0] and value[2] == (1.0 if form == "gradient" else 0.0)
    first = torch.autograd.grad(value.sum(), (score, gradient), create_graph=True)
    second = torch.autograd.grad(sum(f.square().sum() for f in first), (score, gradient))
    assert all(t.isfinite().all() for t in (value, *first, *second))


@FORMS
@pytest.mark.parametrize("size", [100.0, 1e15])
def test_values_and_gradients_are_finite_when_large(form, size):
    score, gradient = (size * SCORE).requires_grad_(), (size * GRADIENT).requires_grad_()
    value = gradient_normalized(score, gradient, form)
    value.sum().backward()
    assert value.isfinite().all() and score.grad.isfinite().all() and gradient.grad.isfinite().all()


@FORMS
def test_first_and_second_derivatives(form):
    score, gradient = SCORE.double().requires_grad_(), GRADIENT.double().reshape(2, 1, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda f, g: gradient_normalized(f, g, form), (score, gradient))
    assert torch.autograd.gradgradcheck(lambda f, g: gradient_normalized(f, g, form), (score, gradient))


@FORMS
def test_half_precision_is_taken_in_float32(form):
    actual = gradient_normalized(SCORE.bfloat16(), GRADIENT.bfloat16(), form)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, gradient_normalized(SCORE, GRADIENT, form))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((SCORE[:, None], GRADIENT), {}, r"score must be \[N\] and gradient \[N, \*\], but are \[2, 1\], \[2, 2\]"),
        ((SCORE, GRADIENT[0]), {}, r"but are \[2\], \[2\]"),
        ((SCORE, GRADIENT[:1]), {}, r"but are \[2\], \[1, 2\]"),
        ((SCORE, GRADIENT, "gradient-v3"), {}, "form=gradient-v3 is not gradient or gradient-v2"),
        ((SCORE, GRADIENT), {"lipschitz": 0.0}, "lipschitz=0.0 and epsilon=0.1 must be above 0"),
        ((SCORE, GRADIENT), {"epsilon": float("nan")}, "epsilon=nan"),
    ],
)
def test_impossible_arguments_are_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        gradient_normalized(*arguments, **options)
