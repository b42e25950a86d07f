"""What is virtual batch norm's own: the statistics and how they combine, mixed types, what is not computed, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import gan_ops

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one

LAYOUTS = [torch.contiguous_format, torch.channels_last]
# Below, at and above the sizes at which kernels change their way: 1 pixel, tiles of several planes, chunks of a plane.
SPATIAL = [(), (1, 1), (3, 5), (16, 16), (47, 45), (64, 65)]
BOTH = pytest.mark.parametrize(
    "function", [gan_ops.virtual_batch_norm, gan_ops.reference.virtual_batch_norm], ids=["kernel", "reference"]
)


def double(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@BOTH
def test_statistics_combine_as_mean_and_mean_square_of_the_paper(function) -> None:
    """A share of 1/(n + 1) of the example's mean and mean square, the rest of the reference's."""
    x, reference = np.random.default_rng(0).normal(1.0, 2.0, (2, 3, 5, 4, 4)), np.random.default_rng(1)
    x, reference = x[0], reference.normal(-0.5, 1.5, (7, 5, 4, 4))
    mean = (x.mean((2, 3)) + 7 * reference.mean((0, 2, 3))) / 8  # [N, C]
    mean_square = ((x**2).mean((2, 3)) + 7 * (reference**2).mean((0, 2, 3))) / 8
    deviation = np.sqrt(mean_square - mean**2 + 1e-3)
    expected = (x - mean[..., None, None]) / deviation[..., None, None]
    y = function(
        torch.from_numpy(x),
        torch.from_numpy(reference.mean((0, 2, 3))),
        torch.from_numpy(reference.var((0, 2, 3))),
        7,
        eps=1e-3,
    )
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-12, atol=1e-12)


@BOTH
@EVERYWHERE
def test_without_reference_examples_it_is_instance_norm(function) -> None:
    x, mean, var, weight, bias = double(3, 5, 4, 3), double(5), double(5).square(), double(5), double(5)
    expected = F.instance_norm(x, weight=weight, bias=bias)
    torch.testing.assert_close(function(x, mean, var, 0, weight, bias), expected)


@BOTH
@EVERYWHERE
def test_with_endlessly_many_it_is_batch_norm_by_the_given_statistics(function) -> None:
    x, mean, var, weight, bias = double(3, 5, 4, 3), double(5), double(5).square(), double(5), double(5)
    expected = F.batch_norm(x, mean, var, weight, bias)
    torch.testing.assert_close(function(x, mean, var, math.inf, weight, bias), expected)


@pytest.mark.parametrize("memory_format", LAYOUTS, ids=str)
@EVERYWHERE
def test_an_example_does_not_depend_on_those_beside_it(memory_format) -> None:
    x = torch.randn(5, 70, 6, 6).to(memory_format=memory_format)
    mean, var = torch.randn(70), torch.rand(70)
    together = gan_ops.virtual_batch_norm(x, mean, var, 8)
    for n in range(5):
        assert torch.equal(gan_ops.virtual_batch_norm(x[n : n + 1], mean, var, 8), together[n : n + 1])


@pytest.mark.parametrize("memory_format", LAYOUTS, ids=str)
@pytest.mark.parametrize("spatial", SPATIAL, ids=str)
@pytest.mark.parametrize("channels", [1, 16, 70])
@EVERYWHERE
def test_kernels_equal_the_definition_whatever_the_size(channels, spatial, memory_format) -> None:
    x = double(2, channels, *spatial)
    x = x.to(memory_format=memory_format) if len(spatial) == 2 else x
    inputs = [t.requires_grad_() for t in (x, *(double(channels) for _ in range(4)))]
    g = torch.randn_like(x).requires_grad_()
    cotangents = [torch.randn_like(t) for t in inputs]
    results = []
    for function in (gan_ops.virtual_batch_norm, gan_ops.reference.virtual_batch_norm):
        x, mean, root, weight, bias = inputs
        y = function(x, mean, 0.5 + root.square(), 3, weight, bias)
        first = torch.autograd.grad(y, inputs, g, create_graph=True)
        results.append([y, *first, *torch.autograd.grad(first, [g, *inputs[:4]], cotangents)])
    for actual, expected in zip(*results, strict=True):
        scale = max(1.0, expected.abs().max().item())
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("memory_format", LAYOUTS, ids=str)
@EVERYWHERE
def test_a_mean_far_from_zero_costs_no_accuracy(memory_format) -> None:
    """E[x²] − m² would leave nothing of a deviation of 1 beside a mean of 10⁴ in float32."""
    x = (torch.randn(2, 20, 40, 40) + 1e4).to(memory_format=memory_format)
    mean, var = torch.full((20,), 1e4), torch.ones(20)
    exact = gan_ops.virtual_batch_norm(x.double(), mean.double(), var.double(), 1)
    y = gan_ops.virtual_batch_norm(x, mean, var, 1)
    # The mean itself is rounded to 2⁻¹¹ of a unit there.
    torch.testing.assert_close(y.double(), exact, rtol=0, atol=2e-3)


@EVERYWHERE
def test_narrow_features_take_wide_parameters_and_statistics_and_give_them_wide_gradients() -> None:
    x = torch.randn(8, 3, 32, 32).bfloat16()
    wide = [t.requires_grad_() for t in (torch.randn(3), torch.rand(3) + 1, torch.randn(3), torch.randn(3))]
    g = torch.ones_like(x)
    y = gan_ops.virtual_batch_norm(x, wide[0], wide[1], 4, wide[2], wide[3])
    gradients = torch.autograd.grad(y, wide, g)
    expected = torch.autograd.grad(
        gan_ops.virtual_batch_norm(x.double(), wide[0], wide[1], 4, wide[2], wide[3]), wide, g.double()
    )
    assert y.dtype == torch.bfloat16 and {t.dtype for t in gradients} == {torch.float32}
    # Sums of 8192 numbers in float32, of inputs that are the same in both.
    torch.testing.assert_close(gradients, expected, rtol=1e-4, atol=1e-2)


def test_gradients_that_nobody_wants_are_not_computed() -> None:
    seen: list[tuple[bool, bool]] = []
    x, mean, var = torch.randn(2, 3, 4, 4), torch.randn(3), torch.rand(3)

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, op, types, arguments=(), options=None):
            if op is torch.ops.gan_ops.virtual_batch_norm_backward.default:
                seen.append(tuple(arguments[-2:]))
            return op(*arguments, **(options or {}))

    weight = torch.ones(3)
    for wanted in (x, mean, weight):
        inputs = [t.detach().requires_grad_(t is wanted) for t in (x, mean, var, weight)]
        y = gan_ops.virtual_batch_norm(*inputs[:3], 3, inputs[3])
        with Watch():
            y.sum().backward()
    assert seen == [(True, False), (False, True), (False, True)]


@pytest.mark.parametrize("given", range(5), ids=["x", "weight", "bias", "reference_mean", "reference_var"])
@EVERYWHERE
def test_second_derivatives_of_each_gradient_alone_are_exact(given: int) -> None:
    """Cotangents of the backward op may be absent, each of them."""
    inputs = [t.requires_grad_() for t in (double(2, 5, 3, 2), double(5), double(5), double(5), double(5))]
    g = double(2, 5, 3, 2).requires_grad_()
    results = []
    for function in (gan_ops.virtual_batch_norm, gan_ops.reference.virtual_batch_norm):
        x, weight, bias, mean, root = inputs
        y = function(x, mean, 0.5 + root.square(), 3, weight, bias)
        (first,) = torch.autograd.grad(y, inputs[given], g, create_graph=True)
        results.append(torch.autograd.grad(first.sin().sum(), [g, *inputs], materialize_grads=True))
    torch.testing.assert_close(*results)


def test_no_tensors_are_filled_for_what_is_absent() -> None:
    """On a GPU each would be a launch, and a cotangent of x as large as x."""
    ops, x, mean, var = torch.ops.gan_ops, torch.randn(2, 5, 3, 2), torch.randn(5), torch.rand(5)
    options = (mean, var, None, 0.25, 1e-5)
    with torch.profiler.profile() as profile:
        _, *saved = ops.virtual_batch_norm(x, mean, var, None, None, 0.25, 1e-5)
        ops.virtual_batch_norm_backward(x, x, *saved, *options, True, True)
        ops.virtual_batch_norm_double_backward(x, *[None] * 4, x, x, *saved, *options, True)
        ops.virtual_batch_norm_double_backward(*[None] * 3, mean, None, x, x, *saved, *options, True)
    assert [e.key for e in profile.key_averages() if "fill" in e.key or "zero" in e.key] == []


@pytest.mark.parametrize("memory_format", LAYOUTS, ids=str)
def test_results_do_not_depend_on_the_number_of_threads(memory_format) -> None:
    x, g, u = (torch.randn(3, 70, 40, 40).to(memory_format=memory_format) for _ in range(3))
    channels = [t.requires_grad_() for t in (torch.randn(70), torch.rand(70) + 1, torch.randn(70), torch.randn(70))]
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        inputs = [x.requires_grad_(), *channels]
        y = gan_ops.virtual_batch_norm(inputs[0], inputs[1], inputs[2], 3, *inputs[3:])
        first = torch.autograd.grad(y, inputs, g.requires_grad_(), create_graph=True)
        results.append([y, *first, *torch.autograd.grad(first[0], [g, *inputs[:4]], u)])
    torch.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


@BOTH
@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"x": torch.ones(3)}, ValueError, r"x must be \[N, C, \*\].*but its shape is \[3\]"),
        ({"x": torch.ones(2, 3, dtype=torch.int64)}, TypeError, "x must be float64"),
        ({"reference_mean": torch.ones(4)}, ValueError, r"reference_mean must have the shape \[3\], but has \[4\]"),
        ({"reference_var": torch.ones(2, 3)}, ValueError, r"reference_var must have the shape \[3\], but has \[2, 3\]"),
        ({"reference_var": torch.ones(3, dtype=torch.int64)}, TypeError, "reference_var must be float64"),
        ({"reference_size": -1}, ValueError, "reference_size must not be negative, but is -1"),
        ({"reference_size": math.nan}, ValueError, "reference_size must not be negative, but is nan"),
        ({"weight": torch.ones(1)}, ValueError, r"weight must have the shape \[3\], but has \[1\]"),
        ({"bias": torch.ones(4)}, ValueError, r"bias must have the shape \[3\], but has \[4\]"),
        ({"bias": torch.ones(3, dtype=torch.bool)}, TypeError, "bias must be float64"),
        ({"eps": -1e-3}, ValueError, "eps must not be negative, but is -0.001"),
    ],
)
def test_bad_arguments_are_named(function, changed, error, message) -> None:
    arguments = {"x": torch.ones(2, 3), "reference_mean": torch.ones(3), "reference_var": torch.ones(3)}
    with pytest.raises(error, match=message):
        function(**(arguments | {"reference_size": 4} | changed))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"grad": torch.ones(2, 4)}, r"grad must have the shape \[2, 3\]"),
        ({"grad": torch.ones(2, 3, dtype=torch.float64)}, "grad must be Float"),
        ({"mean": torch.ones(3)}, r"mean must have the shape \[2, 3\]"),
        ({"rstd": torch.ones(2, 3, requires_grad=True)}, "mean and rstd must be the values"),
        ({"own": 1.5}, "own must be between 0 and 1, but is 1.5"),
    ],
)
def test_the_backward_op_refuses_what_does_not_belong_together(changed, message) -> None:
    tensors = {name: torch.ones(2, 3) for name in ("grad", "x", "mean", "rstd")}
    channels = {"reference_mean": torch.ones(3), "reference_var": torch.ones(3), "weight": None}
    arguments = tensors | channels | {"own": 0.2, "eps": 1e-5, "with_x": True, "with_channels": True} | changed
    with pytest.raises((ValueError, TypeError), match=message):
        torch.ops.gan_ops.virtual_batch_norm_backward(*arguments.values())
