"""Penalties on weights, against plain formulations in float64."""

from __future__ import annotations

import pytest
import torch

from gan_ops.objectives import orthogonal_penalty, singular_value, singular_value_penalty


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_the_orthogonal_penalty_is_that_of_products_of_different_filters():
    """Brock et al. 2019, equation 3, filter by filter."""
    dense, convolution = torch.randn(3, 5, dtype=torch.float64), torch.randn(4, 2, 3, 3, dtype=torch.float64)
    expected = 0.0
    for weight in (dense, convolution):
        for i, one in enumerate(weight):
            for j, other in enumerate(weight):
                expected += float((one * other).sum() ** 2) * (i != j)
    assert orthogonal_penalty([dense, convolution]).item() == pytest.approx(expected, rel=1e-12)


def test_orthogonal_filters_of_any_length_have_no_penalty_and_no_gradient():
    q = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q[:4]
    weight = (q * torch.tensor([[1.0], [2.0], [0.0], [5.0]])).requires_grad_()
    value = orthogonal_penalty([weight])
    (gradient,) = torch.autograd.grad(value, weight)
    assert value.abs() < 1e-20 and gradient.abs().max() < 1e-12


def test_a_step_along_the_penaltys_gradient_clamps_the_first_singular_value():
    """Brock et al. 2019, equation 2."""
    weight = torch.randn(5, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    u, values, vh = torch.linalg.svd(weight.detach().flatten(1))
    bound = float(values[0] + values[1]) / 2
    value = singular_value(weight, u[:, 0], vh[0])
    assert value.item() == pytest.approx(float(values[0]))
    (gradient,) = torch.autograd.grad(singular_value_penalty(value[None], bound), weight)
    clamped = torch.linalg.svdvals((weight - gradient).detach().flatten(1))
    torch.testing.assert_close(clamped, torch.tensor([bound, *values[1:]], dtype=torch.float64))


def test_values_below_the_bound_have_no_penalty():
    values = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64, requires_grad=True)
    value = singular_value_penalty(values, 1.0)
    assert value.item() == 2.0
    (gradient,) = torch.autograd.grad(value, values)
    assert gradient.tolist() == [0.0, 0.0, 2.0]
