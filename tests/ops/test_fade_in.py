"""What is fade_in's own: its ends, the fraction in all its forms, rows wider than a buffer, its errors."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import gan_ops

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one

ops = torch.ops.gan_ops


def images(channels: int = 3, height: int = 4, width: int = 6, **options) -> tuple[torch.Tensor, torch.Tensor]:
    old = torch.randn(2, channels, height, width, **options)
    return torch.randn(2, channels, 2 * height, 2 * width, **options), old


@EVERYWHERE
def test_value_by_hand() -> None:
    new = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]).view(1, 1, 2, 4)
    old = torch.tensor([10.0, 20.0]).view(1, 1, 1, 2)
    expected = torch.tensor([[3.25, 4.0, 7.25, 8.0], [6.25, 7.0, 10.25, 11.0]]).view(1, 1, 2, 4)
    torch.testing.assert_close(gan_ops.fade_in(new, old, 0.25), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("as_tensor", [False, True])
@EVERYWHERE
def test_both_ends_are_exact(dtype: torch.dtype, as_tensor: bool) -> None:
    new, old = images(dtype=dtype)
    new *= 1e-3
    zero, one = (torch.tensor(0.0), torch.tensor(1.0)) if as_tensor else (0.0, 1.0)
    assert torch.equal(gan_ops.fade_in(new, old, zero), new)
    assert torch.equal(gan_ops.fade_in(new, old, one), F.interpolate(old, scale_factor=2.0))


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.7, 1.0])
@EVERYWHERE
def test_infinities_spread_as_in_lerp(fraction: float) -> None:
    new, old = images()
    new[0, 0, 0, 0], old[1, 1, 1, 1] = float("inf"), float("-inf")
    expected = torch.lerp(new, F.interpolate(old, scale_factor=2.0), fraction)
    torch.testing.assert_close(gan_ops.fade_in(new, old, fraction), expected, equal_nan=True)


@pytest.mark.parametrize("fraction", [-0.5, 1.5])
@EVERYWHERE
def test_fractions_beyond_the_ends_extrapolate(fraction: float) -> None:
    new, old = images(dtype=torch.float64)
    expected = torch.lerp(new, F.interpolate(old, scale_factor=2.0), fraction)
    torch.testing.assert_close(gan_ops.fade_in(new, old, fraction), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@EVERYWHERE
def test_a_fraction_of_any_type_counts_as_its_number(dtype: torch.dtype) -> None:
    fraction = torch.tensor(0.3, dtype=dtype)
    new, old = images()
    assert torch.equal(gan_ops.fade_in(new, old, fraction), gan_ops.fade_in(new, old, fraction.item()))


@EVERYWHERE
def test_a_fraction_that_requires_a_gradient_gets_one() -> None:
    new, old = (t.requires_grad_() for t in images(dtype=torch.float64))
    fraction = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    inputs = (new, old, fraction)
    assert torch.autograd.gradcheck(gan_ops.fade_in, inputs) and torch.autograd.gradgradcheck(gan_ops.fade_in, inputs)


def test_the_kernels_refuse_a_fraction_that_requires_a_gradient() -> None:
    new, old = images()
    with pytest.raises(NotImplementedError, match="no derivative to the fraction"):
        ops.fade_in(new, old, torch.tensor(0.3, requires_grad=True), 0.0)


@pytest.mark.parametrize("wanted", [[0], [1]], ids=["new", "old"])
@EVERYWHERE
def test_the_second_derivative_of_one_gradient_alone_is_that_of_the_definition(wanted: list[int]) -> None:
    inputs = [t.requires_grad_() for t in images(dtype=torch.float64)]
    g = torch.randn_like(inputs[0]).requires_grad_()
    for fraction in (0.3, torch.tensor(0.3)):
        results = []
        for function in (gan_ops.fade_in, gan_ops.reference.fade_in):
            first = torch.autograd.grad(function(*inputs, fraction), inputs, g, create_graph=True)
            results += torch.autograd.grad(first[wanted[0]].square().sum(), g)
        torch.testing.assert_close(*results)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize(("channels", "width"), [(1, 1500), (3, 500), (5, 300), (40, 30), (1500, 3)])
@EVERYWHERE
def test_rows_longer_than_a_buffer_are_right(memory_format, channels: int, width: int) -> None:
    new, old = (t.to(memory_format=memory_format) for t in images(channels, 3, width))
    torch.testing.assert_close(gan_ops.fade_in(new, old, 0.3), gan_ops.reference.fade_in(new, old, 0.3))
    actual, expected = (
        torch.autograd.grad(function(*inputs, 0.3), inputs, new)
        for function in (gan_ops.fade_in, gan_ops.reference.fade_in)
        for inputs in [(new.clone().requires_grad_(), old.clone().requires_grad_())]
    )
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("wrapped", [gan_ops.fade_in, gan_ops.reference.fade_in], ids=["kernel", "reference"])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"new": torch.ones(2, 3, 4, 5)},
            ValueError,
            r"new must be \[N, C, 2·H, 2·W\], but its shape is \[2, 3, 4, 5\]",
        ),
        ({"new": torch.ones(3, 4, 4)}, ValueError, r"new must be .* but its shape is \[3, 4, 4\]"),
        ({"new": torch.ones(2, 3, 4, 4).long()}, TypeError, r"new must be float64.* but is .*(Long|int64)"),
        (
            {"old": torch.ones(2, 3, 4, 4)},
            ValueError,
            r"old must have the shape \[2, 3, 2, 2\], but has \[2, 3, 4, 4\]",
        ),
        ({"old": torch.ones(2, 3, 2, 2).half()}, TypeError, r"old must be .*(Float|float32), but is .*(Half|float16)"),
        ({"fraction": torch.ones(1)}, ValueError, r"fraction must be a number or a 0-d tensor, but its shape is \[1\]"),
        ({"fraction": torch.tensor(1)}, TypeError, r"fraction must be float64.* but is .*(Long|int64)"),
    ],
)
def test_bad_arguments_are_named(wrapped, options, error, message) -> None:
    with pytest.raises(error, match=message):
        wrapped(**({"new": torch.ones(2, 3, 4, 4), "old": torch.ones(2, 3, 2, 2), "fraction": 0.5} | options))
