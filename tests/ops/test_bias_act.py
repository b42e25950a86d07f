"""What is bias_act's own: the kink, mixed types, what it does not compute, its errors."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile

import gan_ops

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one


@pytest.mark.parametrize("negative_slope", [0.0, 0.2, 1.0, 3.0])
@EVERYWHERE
def test_is_torch_s_leaky_relu_with_a_bias_and_a_gain(negative_slope: float) -> None:
    x, b = torch.randn(3, 5, 4, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    expected = 1.5 * F.leaky_relu(x + b[:, None], negative_slope)
    torch.testing.assert_close(gan_ops.bias_act(x, b, negative_slope, 1.5), expected)
    torch.testing.assert_close(gan_ops.bias_act(x / 0.3, b, negative_slope, 1.5, scale=0.3), expected)


@pytest.mark.parametrize("negative_slope", [0.0, 0.2])
@EVERYWHERE
def test_the_slope_at_zero_is_torch_s(negative_slope: float) -> None:
    gradients = []
    for function in (gan_ops.bias_act, gan_ops.reference.bias_act):
        x = torch.tensor([[-1.0, -0.0, 0.0, 1.0]], requires_grad=True)
        function(x, None, negative_slope).sum().backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients)


@EVERYWHERE
def test_narrow_features_take_a_wide_bias_and_give_it_a_wide_gradient() -> None:
    x, b = torch.randn(64, 3, 8, 8, dtype=torch.bfloat16), torch.randn(3, requires_grad=True)
    y = gan_ops.bias_act(x, b)
    y.backward(torch.ones_like(y))
    assert y.dtype == torch.bfloat16 and b.grad.dtype == torch.float32
    slopes = torch.where(y > 0, 1.0, 0.2)
    torch.testing.assert_close(b.grad, slopes.sum((0, 2, 3)))  # a sum in bfloat16 would stop at 256


@pytest.mark.parametrize("gain", [1.0, 2.0**-11, 1.0 / 3.0, 1.5])
def test_every_float16_number_is_read_and_rounded_as_torch_does(gain: float) -> None:
    # Gains that keep them, that move them among the subnormal numbers with ties, and that overflow some.
    x = torch.arange(-(2**15), 2**15).to(torch.int16).view(torch.float16).view(256, 256)
    expected = (x.float() * gain).half()
    y = gan_ops.bias_act(x, None, 1.0, gain)
    assert torch.equal(y.isnan(), expected.isnan())
    assert torch.equal(y[~y.isnan()], expected[~y.isnan()])


def test_a_constant_bias_costs_no_reduction() -> None:
    x, b = torch.randn(4, 3, 8, 8, requires_grad=True), torch.randn(3)
    y = gan_ops.bias_act(x, b)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as trace:
        y.backward(torch.ones_like(y))
    assert b.grad is None and x.grad is not None
    assert not any(event.name == "aten::sum" for event in trace.events())


@EVERYWHERE
def test_the_second_derivative_makes_no_zeros() -> None:
    x, g = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    (first,) = torch.autograd.grad(gan_ops.bias_act(x), x, g, create_graph=True)
    to_g, to_x = torch.autograd.grad(first.sum(), (g, x), allow_unused=True)
    assert to_x is None and torch.equal(to_g, torch.where(x > 0, 1.0, 0.2))


def test_a_large_bias_gradient_does_not_depend_on_the_number_of_threads() -> None:
    y, g = torch.randn(8, 16, 64, 64).to(memory_format=torch.channels_last), torch.randn(8, 16, 64, 64)
    before = torch.get_num_threads()
    sums = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        sums.append(torch.ops.gan_ops.bias_act_backward(g, y, True, 0.2, 1.0)[1])
    torch.set_num_threads(before)
    assert torch.equal(*sums)
    torch.testing.assert_close(sums[0], (g * torch.where(y > 0, 1.0, 0.2)).sum((0, 2, 3)), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("wrapped", [gan_ops.bias_act, gan_ops.reference.bias_act], ids=["kernel", "reference"])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"negative_slope": -0.1}, ValueError, "negative_slope must not be negative, but is -0.1"),
        ({"gain": 0.0}, ValueError, "gain must be positive .*, but is 0"),
        ({"gain": math.inf}, ValueError, "gain must be positive .*, but is inf"),
        ({"scale": 0.0}, ValueError, "scale must be positive .*, but is 0"),
        ({"scale": 1e-50}, ValueError, "scale must be positive .* float32, but is 1e-50"),
        ({"bias": torch.ones(4)}, ValueError, r"bias must have the shape \[3\], but has \[4\]"),
        ({"bias": torch.ones(3, dtype=torch.int64)}, TypeError, "bias must be float64"),
        ({"x": torch.ones(3)}, ValueError, r"x must be \[N, C, \*\].*but its shape is \[3\]"),
    ],
)
def test_bad_arguments_are_named(wrapped, options, error, message) -> None:
    with pytest.raises(error, match=message):
        wrapped(**({"x": torch.ones(2, 3, 4, 4)} | options))


def test_the_bias_s_cotangent_over_the_scale_need_not_fit_float16() -> None:
    x = torch.ones(2, 3, 2, 2, dtype=torch.float16, requires_grad=True)
    bias = torch.zeros(3, requires_grad=True)
    g = torch.ones_like(x).requires_grad_()
    d_x, d_bias = torch.autograd.grad(gan_ops.bias_act(x, bias, scale=0.02), (x, bias), g, create_graph=True)
    (d_g,) = torch.autograd.grad((d_x, d_bias), g, (torch.ones_like(x), torch.full_like(d_bias, 2000.0)))
    torch.testing.assert_close(d_g, torch.full_like(g, 2000.0))  # 2000/0.02 is beyond 65504
