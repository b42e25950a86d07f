"""What is scale_bias_act's own: activations and their kinks, broadcasting noise, what it keeps and skips, errors."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import gan_ops
from gan_ops._activations import ACTS

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one
BOTH = pytest.mark.parametrize(
    "function", [gan_ops.scale_bias_act, gan_ops.reference.scale_bias_act], ids=["kernel", "reference"]
)
TORCH_S = {
    "linear": lambda t: t,
    "relu": F.relu,
    "lrelu": lambda t: F.leaky_relu(t, 0.2),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "elu": F.elu,
    "selu": F.selu,
    "softplus": F.softplus,
    "swish": F.silu,
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def double(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


@BOTH
@EVERYWHERE
@pytest.mark.parametrize("act", ACTS)
def test_is_the_epilogue_in_the_order_of_the_paper(function, act: str) -> None:
    x, scale, bias, noise, strength = double(3, 5, 4, 2), double(3, 5), double(5), double(3, 1, 4, 2), double()
    t = x * scale[..., None, None] + noise * strength + bias[:, None, None]
    gain = math.sqrt(2) if act in ("relu", "lrelu", "swish") else 1.0
    expected = (TORCH_S[act](t) * gain).clamp(-0.9, 0.9)
    torch.testing.assert_close(function(x, scale, bias, noise, strength, act=act, clamp=0.9), expected)


@EVERYWHERE
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("act", ACTS)
def test_activations_are_accurate_wherever_they_are_taken(act: str, dtype: torch.dtype) -> None:
    magnitudes = torch.logspace(-7, 2.2, 400, dtype=torch.float64)
    t = torch.cat([-magnitudes, magnitudes]).to(dtype)[None]
    y = gan_ops.scale_bias_act(t, act=act, gain=1.0)
    expected = TORCH_S[act](t.double())
    if dtype == torch.float64:
        torch.testing.assert_close(y, expected, rtol=1e-14, atol=1e-17)
    else:  # some ulp, relative to the result however small it is; below e^−88 the kernel's exponentials are 0
        torch.testing.assert_close(y.double(), expected, rtol=1e-6, atol=1e-36)


def first_and_second(function, t: Tensor, **options: object) -> list[Tensor]:
    """φ′ and φ″ at each t."""
    t = t.clone().requires_grad_()
    (first,) = torch.autograd.grad(function(t, **options).sum(), t, create_graph=True)
    if not first.requires_grad:
        return [first, torch.zeros_like(first)]
    (second,) = torch.autograd.grad(first.sum(), t, materialize_grads=True)
    return [first, second]


@EVERYWHERE
@pytest.mark.parametrize("act", ACTS)
def test_derivatives_at_and_around_the_kinks_are_torch_s(act: str) -> None:
    t = torch.tensor([[-1e-30, -0.0, 0.0, 1e-30, 19.9, 20.0, 20.1, -20.0]], dtype=torch.float64)
    for actual, expected in zip(
        first_and_second(gan_ops.scale_bias_act, t, act=act),
        first_and_second(gan_ops.reference.scale_bias_act, t, act=act),
        strict=True,
    ):
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@EVERYWHERE
def test_at_the_clamp_s_bounds_the_derivative_is_zero_as_it_is_beyond_them() -> None:
    t = torch.tensor([[-2.0, -1.5, 0.5, 1.5, 2.0]])
    for function in (gan_ops.scale_bias_act, gan_ops.reference.scale_bias_act):
        first, _ = first_and_second(function, t, act="linear", clamp=1.5)
        assert first.tolist() == [[0.0, 0.0, 1.0, 0.0, 0.0]]


@EVERYWHERE
def test_a_clamp_of_zero_makes_zeros() -> None:
    assert not gan_ops.scale_bias_act(torch.randn(2, 3, 4, 4), clamp=0.0).any()


@BOTH
@EVERYWHERE
@pytest.mark.parametrize("shape", [(3, 1, 4, 2), (1, 1, 4, 2), (4, 2)], ids=str)
def test_noise_is_each_sample_s_or_the_same_for_all_with_gradients_of_its_shape(function, shape) -> None:
    x, noise, strength = double(3, 5, 4, 2), double(*shape).requires_grad_(), torch.tensor(0.7, requires_grad=True)
    expected = F.leaky_relu(x + 0.7 * noise.detach(), 0.2) * math.sqrt(2)
    y = function(x, noise=noise, strength=strength)
    torch.testing.assert_close(y, expected)
    d_noise, d_strength = torch.autograd.grad(y.sum(), (noise, strength))
    slopes = torch.where(expected > 0, 1.0, 0.2).double() * math.sqrt(2)
    summed = (0.7 * slopes).sum_to_size(shape if len(shape) == 4 else (1, 1, 4, 2)).view(shape)
    torch.testing.assert_close(d_noise, summed)
    torch.testing.assert_close(d_strength, (slopes * noise.detach()).sum().float())


@EVERYWHERE
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    "shape", [(2, 3, 1, 1), (3, 7, 5, 5), (2, 600, 3, 3), (1, 40, 47, 45), (2, 130, 16, 33)], ids=str
)
def test_kernels_equal_the_definition_whatever_the_size(shape, channels_last: bool) -> None:
    n, c, h, w = shape
    x = double(*shape).contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    inputs = [t.requires_grad_() for t in (x, double(n, c), double(c), double(n, 1, h, w), double())]
    g = torch.randn_like(x).requires_grad_()
    cotangents = [torch.randn_like(t) for t in inputs]
    results = []
    for function in (gan_ops.scale_bias_act, gan_ops.reference.scale_bias_act):
        y = function(*inputs, act="swish", clamp=2.0)
        first = torch.autograd.grad(y, inputs, g, create_graph=True)
        results.append([y, *first, *torch.autograd.grad(first, [g, *inputs], cotangents)])
    for actual, expected in zip(*results, strict=True):
        scale = max(1.0, expected.abs().max().item())
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12 * scale)


@EVERYWHERE
def test_narrow_features_take_wide_parameters_and_give_them_wide_gradients() -> None:
    x = torch.randn(8, 3, 32, 32).bfloat16()
    wide = [t.requires_grad_() for t in (torch.randn(8, 3), torch.randn(3), torch.randn(8, 1, 32, 32), torch.ones(()))]
    y = gan_ops.scale_bias_act(x, *wide, act="linear")
    gradients = torch.autograd.grad(y, wide, torch.ones_like(y))
    assert y.dtype == torch.bfloat16 and all(t.dtype == torch.float32 for t in gradients)
    torch.testing.assert_close(gradients[0], x.float().sum((2, 3)))
    torch.testing.assert_close(gradients[1], torch.full([3], 8.0 * 32 * 32))  # a sum in bfloat16 would stop at 256
    torch.testing.assert_close(gradients[2], torch.full([8, 1, 32, 32], 3.0))


@EVERYWHERE
def test_what_is_zero_for_certain_is_no_tensor_of_zeros() -> None:
    """lrelu's second derivative: neither bias nor noise has one, and x has one only by way of the scale."""
    x, scale, bias, noise = torch.randn(2, 3, 4, 4), torch.randn(2, 3), torch.randn(3), torch.randn(2, 1, 4, 4)
    inputs = [t.requires_grad_() for t in (x, scale, bias, noise)]
    d_x, d_scale = torch.autograd.grad(gan_ops.scale_bias_act(*inputs).sum(), (x, scale), create_graph=True)
    of_d_x = torch.autograd.grad(d_x.sum(), inputs, allow_unused=True, retain_graph=True)
    assert [t is None for t in of_d_x] == [True, False, True, True]
    of_d_scale = torch.autograd.grad(d_scale.sum(), inputs, allow_unused=True)
    assert [t is None for t in of_d_scale] == [False, True, True, True]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_sums_do_not_depend_on_the_number_of_threads(memory_format) -> None:
    x, scale, bias, noise = torch.randn(4, 70, 40, 40), torch.randn(4, 70), torch.randn(70), torch.randn(1, 1, 40, 40)
    inputs = [t.requires_grad_() for t in (x.contiguous(memory_format=memory_format), scale, bias, noise)]
    before = torch.get_num_threads()
    gradients = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        gradients.append(torch.autograd.grad(gan_ops.scale_bias_act(*inputs, act="tanh").square().sum(), inputs))
    torch.set_num_threads(before)
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


@BOTH
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"act": "gelu"}, ValueError, 'act must be linear, .* or swish, but is "gelu"'),
        ({"act": "elu", "alpha": 0.5}, ValueError, 'alpha is the slope of lrelu, but act is "elu" and alpha 0.5'),
        ({"alpha": math.nan}, ValueError, "alpha must be finite, but is nan"),
        ({"gain": math.inf}, ValueError, "gain must be finite, but is inf"),
        ({"clamp": -1.0}, ValueError, "clamp must not be negative, but is -1"),
        ({"scale": torch.ones(3)}, ValueError, r"scale must have the shape \[2, 3\], but has \[3\]"),
        ({"scale": torch.ones(2, 3, dtype=torch.int64)}, TypeError, "scale must be float64"),
        ({"bias": torch.ones(4)}, ValueError, r"bias must have the shape \[3\], but has \[4\]"),
        ({"noise": torch.ones(2, 3, 4, 4)}, ValueError, r"noise must have the shape \[2, 1, 4, 4\] or \[4, 4\]"),
        ({"noise": torch.ones(4, 4), "strength": torch.ones(1)}, ValueError, r"strength must be .* shape is \[1\]"),
        ({"strength": 1.0}, ValueError, "strength is what noise is multiplied by, but noise is None"),
        ({"x": torch.ones(3)}, ValueError, r"x must be \[N, C, \*\].*but its shape is \[3\]"),
    ],
)
def test_bad_arguments_are_named(function, options, error, message) -> None:
    with pytest.raises(error, match=message):
        function(**({"x": torch.ones(2, 3, 4, 4)} | options))


@pytest.mark.parametrize(("act", "clamp"), [("lrelu", None), ("linear", None), ("relu", None), ("swish", 1.0)])
def test_the_second_derivative_at_infinity_does_not_depend_on_create_graph(act: str, clamp: float | None) -> None:
    x = torch.tensor([[[float("inf"), -1.0, 1.0]]], requires_grad=True)
    scale = torch.tensor([[2.0]], requires_grad=True)
    y = gan_ops.scale_bias_act(x, scale, act=act, clamp=clamp)
    (of_scale,) = torch.autograd.grad(y.sum(), scale, create_graph=True)
    (kernel,) = torch.autograd.grad(of_scale.sum(), x, retain_graph=True)
    (formula,) = torch.autograd.grad(of_scale.sum(), x, create_graph=True)
    torch.testing.assert_close(kernel, formula, equal_nan=True)
