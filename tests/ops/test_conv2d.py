"""What is conv2d's own: it is torch's convolution, skips what nobody asked for, and works under autocast."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile

import gan_ops

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one


@pytest.mark.parametrize(("kernel", "padding"), [(1, 0), (3, 1), (3, 0), (4, 3)])
@EVERYWHERE
def test_is_torch_s_convolution(kernel: int, padding: int) -> None:
    x, w = torch.randn(2, 3, 6, 5, dtype=torch.float64), torch.randn(4, 3, kernel, kernel, dtype=torch.float64)
    torch.testing.assert_close(gan_ops.conv2d(x, w, None, padding), F.conv2d(x, w, padding=padding))


@pytest.mark.parametrize(("wanted", "unwanted"), [("x", "weight"), ("weight", "x")])
def test_backward_computes_only_the_gradients_that_are_wanted(wanted: str, unwanted: str) -> None:
    tensors = {"x": torch.randn(2, 3, 5, 5), "weight": torch.randn(4, 3, 3, 3)}
    tensors[wanted].requires_grad_()
    out = gan_ops.conv2d(tensors["x"], tensors["weight"], padding=1)
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        out.sum().backward()
    ran = {event.name for event in trace.events()}
    op_of = {"x": "gan_ops::conv2d_input_grad", "weight": "gan_ops::conv2d_weight_grad"}
    assert op_of[wanted] in ran and op_of[unwanted] not in ran


def test_double_backward_never_runs_torch_s_own() -> None:
    x, w = torch.randn(2, 3, 5, 5, requires_grad=True), torch.randn(4, 3, 3, 3, requires_grad=True)
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        (g,) = torch.autograd.grad(gan_ops.conv2d(x, w, padding=1).square().sum(), x, create_graph=True)
        g.square().sum().backward()
    assert not any("_convolution_double_backward" in event.name for event in trace.events())


def test_autocast_runs_it_in_the_narrow_type() -> None:
    x, w, b = torch.randn(2, 3, 5, 5), torch.randn(4, 3, 3, 3, requires_grad=True), torch.randn(4, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, expected = gan_ops.conv2d(x, w, b, 1), F.conv2d(x, w, b, padding=1)
    assert out.dtype == torch.bfloat16 and torch.equal(out, expected)
    out.float().sum().backward()
    assert w.grad.dtype == b.grad.dtype == torch.float32


@pytest.mark.parametrize(
    ("x", "weight", "bias", "padding", "error", "message"),
    [
        ((2, 3, 5), (4, 3, 3, 3), None, 1, ValueError, r"x must be \[N, C, H, W\].*\[2, 3, 5\]"),
        ((2, 3, 5, 5), (4, 3, 3), None, 1, ValueError, r"weight must be .*\[4, 3, 3\]"),
        ((2, 2, 5, 5), (4, 3, 3, 3), None, 1, ValueError, "x has 2 channels, but weight takes 3"),
        ((2, 3, 5, 5), (4, 3, 3, 3), (5,), 1, ValueError, r"bias must have the shape \[4\]"),
        ((2, 3, 5, 5), (4, 3, 3, 3), None, 3, ValueError, "padding must be .* but is 3 for a kernel of 3x3"),
        ((2, 3, 1, 1), (4, 3, 3, 3), None, 0, ValueError, "kernel of 3x3 is larger than the padded x of 1x1"),
    ],
)
def test_bad_shapes_are_named(x, weight, bias, padding, error, message) -> None:
    with pytest.raises(error, match=message):
        gan_ops.conv2d(torch.ones(x), torch.ones(weight), None if bias is None else torch.ones(bias), padding)


def test_mixed_types_are_a_type_error() -> None:
    with pytest.raises(TypeError, match="weight must be Float as x is, but is Double"):
        gan_ops.conv2d(torch.ones(1, 2, 3, 3), torch.ones(1, 2, 3, 3, dtype=torch.float64))
