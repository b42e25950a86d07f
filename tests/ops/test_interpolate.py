"""What is interpolate's own: its ends, the weight's shapes and types, what it does not compute, its errors."""

from __future__ import annotations

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import gan_ops

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one


@EVERYWHERE
def test_each_sample_has_its_weight() -> None:
    real, fake = torch.zeros(3, 2, 2), torch.full((3, 2, 2), 8.0)
    points = gan_ops.interpolate(real, fake, torch.tensor([0.0, 0.25, 1.0]))
    assert torch.equal(points, torch.tensor([0.0, 2.0, 8.0])[:, None, None].expand(3, 2, 2))


@EVERYWHERE
def test_at_the_ends_it_is_real_and_fake_to_the_bit() -> None:
    real, fake = torch.randn(2, 64, 3, 5, 5) * torch.tensor([1.0, 1e-3])[:, None, None, None, None]
    assert torch.equal(gan_ops.interpolate(real, fake, torch.zeros(64)), real)
    assert torch.equal(gan_ops.interpolate(real, fake, torch.ones(64)), fake)


@pytest.mark.parametrize("function", [gan_ops.interpolate, gan_ops.reference.interpolate])
@pytest.mark.parametrize("shape", [[4], [4, 1], [4, 1, 1, 1]])
@EVERYWHERE
def test_the_weight_s_gradient_has_the_weight_s_shape_and_type(function, shape: list[int]) -> None:
    real, fake = torch.randn(2, 4, 3, 9, 9, dtype=torch.float64)
    weight = torch.rand(shape, requires_grad=True)
    function(real, fake, weight).sum().backward()
    assert weight.grad.shape == weight.shape and weight.grad.dtype == torch.float32
    torch.testing.assert_close(weight.grad.view(-1), (fake - real).sum((1, 2, 3)).float())


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_what_nobody_wants_costs_nothing(wanted: tuple[bool, bool, bool]) -> None:
    tensors = [torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8), torch.rand(4)]
    for tensor, is_wanted in zip(tensors, wanted, strict=True):
        tensor.requires_grad_(is_wanted)
    points = gan_ops.interpolate(*tensors)
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        points.backward(torch.ones_like(points))
    assert [tensor.grad is not None for tensor in tensors] == list(wanted)
    seen = {event.name for event in trace.events() if event.name.startswith("gan_ops::")}
    assert seen == {"gan_ops::interpolate_weight_grad" if wanted[2] else "gan_ops::interpolate_backward"}


@pytest.mark.parametrize("one_end", [0, 1])
@EVERYWHERE
def test_the_second_derivative_of_one_end_alone_is_that_of_the_definition(one_end: int) -> None:
    g = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(3, dtype=torch.float64, requires_grad=True)
    results = []
    for function in (gan_ops.interpolate, gan_ops.reference.interpolate):
        ends = [torch.zeros(3, 4, 5, dtype=torch.float64, requires_grad=i == one_end) for i in (0, 1)]
        (first,) = torch.autograd.grad(function(*ends, weight), ends[one_end], g, create_graph=True)
        results.append(torch.autograd.grad(first.square().sum(), (g, weight)))
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected)


@EVERYWHERE
def test_a_long_sum_does_not_depend_on_the_number_of_threads() -> None:
    g, real, fake = torch.randn(3, 2, 3, 100, 100)
    before = torch.get_num_threads()
    sums = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        sums.append(torch.ops.gan_ops.interpolate_weight_grad(g, real, fake))
    torch.set_num_threads(before)
    assert torch.equal(*sums)
    # 30000 terms of size 1, rounded one by one; their sum is some hundreds.
    exact = (g.double() * (fake.double() - real.double())).sum((1, 2, 3))
    torch.testing.assert_close(sums[0].double(), exact, rtol=0, atol=1e-3)


@pytest.mark.parametrize("function", [gan_ops.interpolate, gan_ops.reference.interpolate])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"real": torch.ones(2)}, ValueError, r"real must be \[N, \*\].*but its shape is \[2\]"),
        ({"real": torch.ones(2, 3, dtype=torch.int64)}, TypeError, "real must be float64"),
        ({"fake": torch.ones(1, 3)}, ValueError, r"fake must have the shape \[2, 3\], but has \[1, 3\]"),
        ({"fake": torch.ones(2, 3, dtype=torch.float64)}, TypeError, "fake must be .*, but is "),
        ({"weight": torch.ones(3)}, ValueError, r"weight must have one value a sample, .* but its shape is \[3\]"),
        ({"weight": torch.ones(1, 2)}, ValueError, r"weight must have one value a sample, .* its shape is \[1, 2\]"),
        ({"weight": torch.ones(())}, ValueError, r"weight must have one value a sample, .* its shape is \[\]"),
        ({"weight": torch.ones(2, dtype=torch.int64)}, TypeError, "weight must be float64"),
    ],
)
def test_bad_arguments_are_named(function, options, error, message) -> None:
    with pytest.raises(error, match=message):
        function(**({"real": torch.ones(2, 3), "fake": torch.ones(2, 3), "weight": torch.ones(2)} | options))
