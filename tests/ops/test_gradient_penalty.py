"""What is gradient_penalty's own: its values, zero gradients, the ends of float32, long samples, its errors."""

from __future__ import annotations

import pytest
import torch
from comparing import assert_all_close, derivatives, seeded

import gan_ops

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one

KINDS = [(1.0, False), (1.0, True), (2.5, False), (0.0, False), (0.0, True)]


@EVERYWHERE
def test_the_norm_is_over_all_axes_but_the_first() -> None:
    gradient = torch.zeros(2, 1, 2, 2)
    gradient[0, 0] = torch.tensor([[1.0, 2.0], [2.0, 4.0]])  # norm 5
    gradient[1, 0, 1, 1] = 3.0  # norm 3
    assert gan_ops.gradient_penalty(gradient).tolist() == pytest.approx([16, 4])
    assert gan_ops.gradient_penalty(gradient, target=4.0).tolist() == pytest.approx([1 / 16, 1 / 16])
    assert gan_ops.gradient_penalty(gradient, target=4.0, one_sided=True).tolist() == pytest.approx([1 / 16, 0])
    assert gan_ops.gradient_penalty(gradient, target=0.0).tolist() == pytest.approx([25, 9])


@pytest.mark.parametrize("function", [gan_ops.gradient_penalty, gan_ops.reference.gradient_penalty])
@pytest.mark.parametrize(("target", "one_sided"), KINDS)
@EVERYWHERE
def test_where_the_gradient_is_zero_derivatives_are_finite(function, target: float, one_sided: bool) -> None:
    gradient = torch.randn(3, 2, 2, 2, generator=seeded(0))
    gradient[1] = 0
    gradient.requires_grad_()
    penalty = function(gradient, target, one_sided)
    (first,) = torch.autograd.grad(penalty.sum(), gradient, create_graph=True)
    v = torch.ones_like(first)
    (second,) = torch.autograd.grad(first, gradient, v)
    assert penalty[1] == (0.0 if one_sided or target == 0 else 1.0)
    assert not first[1].any()
    assert torch.equal(second[1], 2 * v[1] if target == 0 else torch.zeros_like(v[1]))  # ‖g‖² is smooth
    assert first.isfinite().all() and second.isfinite().all()


@EVERYWHERE
@pytest.mark.parametrize(("target", "one_sided"), KINDS)
@pytest.mark.parametrize("poisoned", [0, 1], ids=["cotangent", "cotangent of the gradient"])
def test_where_the_gradient_is_zero_infinite_cotangents_pass_as_in_the_definition(
    poisoned: int, target: float, one_sided: bool
) -> None:
    gradient = torch.randn(3, 4, generator=seeded(0), dtype=torch.float64)
    gradient[1] = 0
    gradient.requires_grad_()

    def results(function) -> list[torch.Tensor]:
        order = iter(range(2))

        def prepare(cotangent: torch.Tensor) -> torch.Tensor:
            if next(order) == poisoned:
                cotangent[1] = torch.inf
            return cotangent

        made = derivatives(lambda x: function(x, target, one_sided), (gradient,), prepare=prepare)
        return [t.detach() for t in made]

    torch.testing.assert_close(
        results(gan_ops.gradient_penalty), results(gan_ops.reference.gradient_penalty), equal_nan=True
    )


@EVERYWHERE
def test_a_norm_at_the_target_costs_nothing_to_the_first_order() -> None:
    gradient = torch.tensor([[3.0, 4.0]], requires_grad=True)
    penalty = gan_ops.gradient_penalty(gradient, target=5.0)
    assert penalty.item() == 0 and not torch.autograd.grad(penalty, gradient)[0].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20, 1e30])
@EVERYWHERE
def test_first_derivatives_of_tiny_and_huge_gradients_are_unit_vectors(dtype: torch.dtype, scale: float) -> None:
    unit = torch.nn.functional.normalize(torch.randn(2, 12, dtype=torch.float64), dim=1)
    gradient = (unit * scale).to(dtype).requires_grad_()
    gan_ops.gradient_penalty(gradient).backward(torch.ones(2))
    wide = gradient.detach().double()
    norm = wide.norm(dim=1, keepdim=True)
    expected = 2 * (norm - 1) * wide / norm
    torch.testing.assert_close(gradient.grad, expected.to(dtype))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@EVERYWHERE
def test_second_derivatives_of_tiny_and_huge_gradients_are_exact(scale: float) -> None:
    inputs = (torch.randn(3, 5000, generator=seeded(0)) * scale).requires_grad_()
    v = torch.randn(3, 5000, generator=seeded(1))

    def second(gradient: torch.Tensor, function) -> torch.Tensor:
        g = torch.full([3], min(1.0, scale), dtype=function(gradient).dtype)  # or tiny norms' results overflow
        (first,) = torch.autograd.grad(function(gradient), gradient, g, create_graph=True)
        return torch.autograd.grad(first, gradient, v.to(gradient))[0]

    exact = second(inputs.detach().double().requires_grad_(), gan_ops.reference.gradient_penalty)
    actual = second(inputs, gan_ops.gradient_penalty)
    assert actual.isfinite().all()
    torch.testing.assert_close(actual.double(), exact, rtol=1e-4, atol=1e-5 * exact.abs().max().item())


@EVERYWHERE
def test_squares_that_vanish_beside_others_in_a_chunk_or_alone_are_counted_right() -> None:
    gradient = torch.zeros(2, 3 * 4096)
    gradient[0, :4096] = 1e-25  # a chunk whose squares float32 cannot hold, beside one that it can
    gradient[0, 8000] = 1e-10
    gradient[1, 5] = 1e25
    norms = gan_ops.gradient_penalty(gradient, target=1e-10)
    expected = gan_ops.reference.gradient_penalty(gradient.double(), target=1e-10)
    torch.testing.assert_close(norms[0].double(), expected[0], rtol=0, atol=1e-6)
    assert norms[1] == torch.inf  # (1e35)² is beyond float32; the norm is not
    gradient.requires_grad_()
    (slope,) = torch.autograd.grad(gan_ops.gradient_penalty(gradient), gradient, torch.ones(2))
    assert slope[1, 5] == pytest.approx(2e25)


@pytest.mark.parametrize("size", [2047, 2048, 2049, 65536, 65537, 100003])
@EVERYWHERE
def test_samples_of_any_length_equal_the_definition(size: int) -> None:
    """Across the lengths where kernels go over to chunks and to several walks."""
    inputs = (torch.randn(3, size, dtype=torch.float64, requires_grad=True),)
    expected = derivatives(gan_ops.reference.gradient_penalty, inputs)
    assert_all_close(derivatives(gan_ops.gradient_penalty, inputs), expected, 1e-10)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    inputs = (torch.randn(3, 3, 200, 200, requires_grad=True),)
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(derivatives(gan_ops.gradient_penalty, inputs))
    torch.set_num_threads(before)
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


@EVERYWHERE
def test_a_sample_without_elements_has_norm_zero() -> None:
    assert gan_ops.gradient_penalty(torch.zeros(2, 0)).tolist() == [1, 1]


def test_under_autocast_it_stays_float32() -> None:
    gradient = torch.randn(4, 3, 2, 2, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        penalty = gan_ops.gradient_penalty(gradient)
    assert penalty.dtype == torch.float32
    torch.testing.assert_close(penalty, gan_ops.reference.gradient_penalty(gradient.double()).float())


@pytest.mark.parametrize("function", [gan_ops.gradient_penalty, gan_ops.reference.gradient_penalty])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": -1.0}, ValueError, "target must not be negative, but is -1"),
        ({"target": float("nan")}, ValueError, "target must not be negative, but is nan"),
        ({"gradient": torch.ones(3)}, ValueError, r"gradient must be \[N, \*\].*but its shape is \[3\]"),
        ({"gradient": torch.ones(3, 2, dtype=torch.int64)}, TypeError, "gradient must be float64"),
    ],
)
def test_bad_arguments_are_named(function, options, error, message) -> None:
    with pytest.raises(error, match=message):
        function(**({"gradient": torch.ones(2, 3)} | options))


@pytest.mark.parametrize(
    ("position", "bad", "error", "message"),
    [
        (0, torch.ones(3), ValueError, r"grad must have the shape \[2\], but has \[3\]"),
        (0, torch.ones(2, dtype=torch.float64), TypeError, "grad must be Float, but is Double"),
        (2, torch.ones(3), ValueError, r"norm must have the shape \[2\], but has \[3\]"),
        (2, torch.ones(2), TypeError, "norm must be Double, but is Float"),
        (
            2,
            torch.ones(2, dtype=torch.float64, requires_grad=True),
            ValueError,
            "norm must be the value that gradient_penalty returned",
        ),
    ],
)
def test_bad_arguments_of_the_backward_op_are_named(position, bad, error, message) -> None:
    arguments = [torch.ones(2), torch.ones(2, 3), torch.ones(2, dtype=torch.float64), 1.0, False]
    arguments[position] = bad
    with pytest.raises(error, match=message):
        torch.ops.gan_ops.gradient_penalty_backward(*arguments)
    with pytest.raises(error, match=message):
        torch.ops.gan_ops.gradient_penalty_double_backward(torch.ones(2, 3), *arguments)
