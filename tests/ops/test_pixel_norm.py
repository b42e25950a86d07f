"""What is pixel norm's own: values, extremes, shapes."""

from __future__ import annotations

import pytest
import torch
from comparing import seeded

import gan_ops

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one


@EVERYWHERE
def test_value_by_hand() -> None:
    x = torch.tensor([[3.0, 4.0]])
    torch.testing.assert_close(gan_ops.pixel_norm(x, eps=0.0), x / 12.5**0.5)


@EVERYWHERE
def test_every_pixel_has_unit_mean_square() -> None:
    y = gan_ops.pixel_norm(torch.randn(2, 7, 3, 4, dtype=torch.float64), eps=0.0)
    torch.testing.assert_close(y.square().mean(dim=1), torch.ones(2, 3, 4, dtype=torch.float64))


@EVERYWHERE
def test_zero_stays_zero_with_finite_derivatives() -> None:
    x = torch.zeros(2, 5, 3, 3, requires_grad=True)
    y = gan_ops.pixel_norm(x)
    (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), x)
    assert not y.any() and gradient.isfinite().all() and second.isfinite().all()


@pytest.mark.parametrize("scale", [1e-12, 1e-4, 1e8, 1e15])
@EVERYWHERE
def test_gradients_of_extreme_inputs_do_not_leave_float32(scale: float) -> None:
    """r³ and r⁵ would overflow or vanish on their own; the result does neither."""
    generator = seeded(0)
    wide = (torch.randn(2, 16, 3, dtype=torch.float64, generator=generator) * scale).requires_grad_()
    narrow = wide.detach().float().requires_grad_()
    for function, x in ((gan_ops.reference.pixel_norm, wide), (gan_ops.pixel_norm, narrow)):
        g = torch.linspace(-1, 1, x.numel(), dtype=x.dtype).view_as(x)
        (first,) = torch.autograd.grad(function(x), x, g, create_graph=True)
        (second,) = torch.autograd.grad(first, x, g)
        results = (first, second)
        if x is wide:
            expected = results
    for actual, exact in zip(results, expected, strict=True):
        exact = exact.detach()
        tiny = exact.abs().max() < torch.finfo(torch.float32).tiny  # below float32: zero is right
        torch.testing.assert_close(actual.double(), exact * (~tiny), rtol=1e-4, atol=1e-5 * exact.abs().max().item())


@pytest.mark.parametrize("wrapped", [gan_ops.pixel_norm, gan_ops.reference.pixel_norm], ids=["kernel", "reference"])
@pytest.mark.parametrize(
    ("x", "eps", "error", "message"),
    [
        (torch.ones(3), 1e-8, ValueError, r"x must be \[N, C, \*\].*its shape is \[3\]"),
        (torch.ones(3, 0, 2), 1e-8, ValueError, r"at least one channel.*\[3, 0, 2\]"),
        (torch.ones(3, 2, dtype=torch.int64), 1e-8, TypeError, r"x must be float64.*but is .*(Long|int64)"),
        (torch.ones(3, 2), -1.0, ValueError, r"eps must not be negative, but is -1"),
        (torch.ones(3, 2), float("nan"), ValueError, r"eps must not be negative, but is nan"),
    ],
)
def test_bad_arguments_are_named(wrapped, x, eps, error, message) -> None:
    with pytest.raises(error, match=message):
        wrapped(x, eps)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"grad": torch.ones(2, 4)}, r"grad must have the shape \[2, 3\]"),
        ({"grad": torch.ones(2, 3, dtype=torch.float64)}, r"grad must be Float"),
        ({"r": torch.ones(2)}, r"r must have the shape \[2, 1\]"),
        ({"r": torch.ones(2, 1, requires_grad=True)}, r"r must be the value that pixel_norm returned"),
    ],
)
def test_the_backward_op_refuses_what_does_not_belong_together(changed, message) -> None:
    arguments = {"grad": torch.ones(2, 3), "x": torch.ones(2, 3), "r": torch.ones(2, 1)} | changed
    with pytest.raises((ValueError, TypeError), match=message):
        torch.ops.gan_ops.pixel_norm_backward(*arguments.values(), 1e-8)
