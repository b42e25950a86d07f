"""What is bias_act_pixel_norm's own: its two parts, mixed types, large bias gradients, what it does not compute, its
errors."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from comparing import seeded

import gan_ops

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one

ops = torch.ops.gan_ops


@pytest.mark.parametrize("negative_slope", [0.0, 0.2, 1.0, 3.0])
@EVERYWHERE
def test_is_pixel_norm_of_the_leaky_relu_of_x_and_a_bias(negative_slope: float) -> None:
    x, b = torch.randn(3, 5, 4, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    expected = gan_ops.pixel_norm(F.leaky_relu(x + b[:, None], negative_slope), eps=0.1)
    torch.testing.assert_close(gan_ops.bias_act_pixel_norm(x, b, negative_slope, eps=0.1), expected)
    torch.testing.assert_close(gan_ops.bias_act_pixel_norm(x / 0.3, b, negative_slope, eps=0.1, scale=0.3), expected)


@EVERYWHERE
def test_value_by_hand() -> None:
    y = gan_ops.bias_act_pixel_norm(torch.tensor([[2.0, -25.0]]), torch.tensor([1.0, 5.0]), 0.2, eps=0.0)
    torch.testing.assert_close(y, torch.tensor([[3.0, -4.0]]) / 12.5**0.5)


@pytest.mark.parametrize("negative_slope", [0.0, 0.2])
@EVERYWHERE
def test_the_slope_at_zero_is_torch_s(negative_slope: float) -> None:
    gradients = []
    for function in (gan_ops.bias_act_pixel_norm, gan_ops.reference.bias_act_pixel_norm):
        x = torch.tensor([[-1.0, -0.0, 0.0, 1.0]], requires_grad=True)
        function(x, None, negative_slope).sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients)


@EVERYWHERE
def test_a_pixel_of_zeros_has_finite_derivatives() -> None:
    x = torch.zeros(2, 5, 3, 3, requires_grad=True)
    y = gan_ops.bias_act_pixel_norm(x, torch.zeros(5))
    (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), x)
    assert not y.any() and gradient.isfinite().all() and second.isfinite().all()


@EVERYWHERE
def test_narrow_features_take_a_wide_bias_and_give_it_a_wide_gradient() -> None:
    x, b = torch.randn(4, 3, 8, 8, dtype=torch.bfloat16), torch.randn(3, requires_grad=True)
    y = gan_ops.bias_act_pixel_norm(x, b)
    (gradient,) = torch.autograd.grad(y, b, torch.ones_like(y), create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), b)
    assert y.dtype == torch.bfloat16 and gradient.dtype == second.dtype == torch.float32


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize(("channels", "size"), [(16, 64), (600, 12), (2100, 4)])  # many chunks, short ones, no staging
@EVERYWHERE
def test_bias_gradients_of_many_pixels_are_right_whatever_the_number_of_threads(memory_format, channels, size) -> None:
    generator = seeded(0)
    x, g, v = (torch.randn(3, channels, size, size, generator=generator) for _ in range(3))
    x, b = x.to(memory_format=memory_format), torch.randn(channels, generator=generator)

    def sums(dtype: torch.dtype, function) -> list[torch.Tensor]:
        xs = x.to(dtype).requires_grad_(), b.to(dtype).requires_grad_()
        first = torch.autograd.grad(function(*xs), xs, g.to(dtype), create_graph=True)
        return [first[1].detach(), torch.autograd.grad(first[0], xs[1], v.to(dtype))[0]]

    before = torch.get_num_threads()
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(sums(torch.float32, gan_ops.bias_act_pixel_norm))
    torch.set_num_threads(before)
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
    for actual, exact in zip(results[0], sums(torch.float64, gan_ops.reference.bias_act_pixel_norm), strict=True):
        # Thousands of terms of size 1 that cancel for the most part, each right to float32.
        torch.testing.assert_close(actual.double(), exact, rtol=1e-4, atol=1e-3)


def test_a_constant_bias_costs_no_sums() -> None:
    x, b = torch.randn(2, 3, 4, 4, requires_grad=True), torch.randn(3)
    y, r = ops.bias_act_pixel_norm(x.detach(), b, 0.2, 1e-8)
    assert ops.bias_act_pixel_norm_backward(y, x.detach(), b, r, False, 0.2, 1e-8)[1].numel() == 0
    gan_ops.bias_act_pixel_norm(x, b).sum().backward()
    assert b.grad is None and x.grad is not None


@EVERYWHERE
def test_the_second_derivative_of_the_bias_gradient_alone_is_that_of_the_definition() -> None:
    x = torch.randn(3, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    b = torch.randn(4, dtype=torch.float64, requires_grad=True)
    results = []
    for function in (gan_ops.bias_act_pixel_norm, gan_ops.reference.bias_act_pixel_norm):
        (first,) = torch.autograd.grad(function(x, b).square().sum(), b, create_graph=True)
        results.append(torch.autograd.grad(first.square().sum(), (x, b)))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize(
    "wrapped", [gan_ops.bias_act_pixel_norm, gan_ops.reference.bias_act_pixel_norm], ids=["kernel", "reference"]
)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"negative_slope": -0.1}, ValueError, "negative_slope must not be negative, but is -0.1"),
        ({"eps": -1.0}, ValueError, "eps must not be negative, but is -1"),
        ({"scale": 0.0}, ValueError, "scale must be positive .*, but is 0"),
        ({"scale": 1e-50}, ValueError, "scale must be positive .* float32, but is 1e-50"),
        ({"bias": torch.ones(4)}, ValueError, r"bias must have the shape \[3\], but has \[4\]"),
        ({"bias": torch.ones(3, dtype=torch.int64)}, TypeError, "bias must be float64"),
        ({"x": torch.ones(3)}, ValueError, r"x must be \[N, C, \*\].*but its shape is \[3\]"),
        ({"x": torch.ones(2, 3, dtype=torch.int64)}, TypeError, r"x must be float64.*but is .*(Long|int64)"),
    ],
)
def test_bad_arguments_are_named(wrapped, options, error, message) -> None:
    with pytest.raises(error, match=message):
        wrapped(**({"x": torch.ones(2, 3, 4, 4)} | options))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"v": torch.ones(2, 4)}, r"v must have the shape \[2, 3\]"),
        ({"v_bias": torch.ones(2)}, r"v_bias must have the shape \[3\]"),
        ({"v_bias": torch.ones(3, dtype=torch.float64)}, r"v_bias must be Float"),
        ({"grad": torch.ones(2, 3, dtype=torch.float64)}, r"grad must be Float"),
        ({"r": torch.ones(2)}, r"r must have the shape \[2, 1\]"),
        ({"r": torch.ones(2, 1, requires_grad=True)}, r"r must be the value that bias_act_pixel_norm returned"),
    ],
)
def test_the_derivative_ops_refuse_what_does_not_belong_together(changed, message) -> None:
    tensors = {"v": torch.ones(2, 3), "v_bias": None, "grad": torch.ones(2, 3), "x": torch.ones(2, 3)}
    arguments = tensors | {"bias": torch.ones(3), "r": torch.ones(2, 1)} | changed
    with pytest.raises((ValueError, TypeError), match=message):
        ops.bias_act_pixel_norm_double_backward(*arguments.values(), True, 0.2, 1e-8)
    if not changed.keys() & {"v", "v_bias"}:
        del arguments["v"], arguments["v_bias"]
        with pytest.raises((ValueError, TypeError), match=message):
            ops.bias_act_pixel_norm_backward(*arguments.values(), True, 0.2, 1e-8)
