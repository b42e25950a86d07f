"""What is conv2d's own: it is torch's convolution, skips what nobody asked for, and works under autocast."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.profiler import ProfilerActivity, profile

import gan_ops
from benchmarks.memory import peak_of

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("kernel", "padding"), [(1, 0), (3, 1), (3, 0), (4, 3)])
@EVERYWHERE
def test_is_torch_s_convolution(kernel: int, padding: int, groups: int) -> None:
    x, w = (torch.randn(shape, dtype=torch.float64) for shape in ((2, 3 * groups, 6, 5), (4, 3, kernel, kernel)))
    expected = F.conv2d(x, w, padding=padding, groups=groups)
    torch.testing.assert_close(gan_ops.conv2d(x, w, None, padding, groups), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@EVERYWHERE
def test_channels_last_stays_channels_last_to_the_second_derivative(dtype: torch.dtype) -> None:
    x, w = (
        torch.randn(shape, dtype=dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
        for shape in ((2, 8, 6, 5), (16, 8, 3, 3))
    )
    out = gan_ops.conv2d(x, w, padding=1)
    g = torch.randn_like(out).requires_grad_()
    first = torch.autograd.grad(out, (x, w), g, create_graph=True)
    second = torch.autograd.grad(first, (x, w, g), [torch.randn_like(t) for t in first])
    assert all(t.is_contiguous(memory_format=torch.channels_last) for t in (out, *first, *second))


# On a GPU the gradient to x is taken as a transposed convolution.
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("kernel", "padding"), [((1, 1), 0), ((3, 3), 1), ((3, 3), 0), ((4, 2), 1), ((4, 4), 3)])
@EVERYWHERE
def test_the_gradient_to_x_is_a_transposed_convolution(kernel, padding: int, channels_last: bool, groups: int) -> None:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x, w = (
        torch.randn(shape, dtype=torch.float64).contiguous(memory_format=layout)
        for shape in ((2, 3 * groups, 6, 5), (4, 3, *kernel))
    )
    g = torch.randn_like(F.conv2d(x, w, padding=padding, groups=groups))
    expected = torch.ops.aten.convolution_backward(
        g, x, w, None, [1, 1], [padding] * 2, [1, 1], False, [0, 0], groups, (True, False, False)
    )[0]
    torch.testing.assert_close(F.conv_transpose2d(g, w, padding=padding, groups=groups), expected)
    torch.testing.assert_close(torch.ops.gan_ops.conv2d_input_grad(g, w, padding, groups), expected)


@pytest.mark.parametrize("of_weight", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("of_maps", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize(("channels_in", "channels_out", "kernel"), [(8, 16, 1), (16, 8, 3), (3, 16, 1), (16, 3, 3)])
@EVERYWHERE
def test_compiled_graphs_expect_the_layout_that_kernels_give(
    channels_in: int, channels_out: int, kernel: int, of_maps, of_weight
) -> None:
    x, g = (torch.randn(2, c, 6, 5).contiguous(memory_format=of_maps) for c in (channels_in, channels_out))
    w = torch.randn(channels_out, channels_in, kernel, kernel).contiguous(memory_format=of_weight)
    padding, ops = kernel // 2, torch.ops.gan_ops
    fake = FakeTensorMode()
    for op, arguments in (
        (ops.conv2d, (x, w, None)),
        (ops.conv2d_input_grad, (g, w)),
        (ops.conv2d_weight_grad, (g, x)),
    ):
        with fake:
            expected = op(*(None if t is None else fake.from_tensor(t) for t in arguments), padding)
        assert op(*arguments, padding).stride() == expected.stride(), op


@pytest.fixture
def new_memory_is_nan() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)  # which fills it so
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("channels_in", "channels_out"), [(3, 40), (40, 3)])
@EVERYWHERE
def test_stand_ins_lend_their_shapes_alone(new_memory_is_nan, dtype, channels_in: int, channels_out: int) -> None:
    """With many channels on one side, one of the stand-ins has no room in the other tensor's memory."""
    assert torch.empty(1, dtype=dtype).isnan()
    x, w = torch.ones(2, channels_in, 4, 4, dtype=dtype), torch.ones(channels_out, channels_in, 3, 3, dtype=dtype)
    for layout in (torch.contiguous_format, torch.channels_last):
        g = torch.ones(2, channels_out, 4, 4, dtype=dtype).contiguous(memory_format=layout)
        of_x = torch.ops.gan_ops.conv2d_input_grad(g, w, 1)
        of_w = torch.ops.gan_ops.conv2d_weight_grad(g, x.contiguous(memory_format=layout), 1)
        # Ones that overlap: all nine places of the kernel in the middle, four in a corner.
        assert of_x[0, 0, 1, 1] == 9 * channels_out and of_x[0, 0, 0, 0] == 4 * channels_out
        assert (of_w[..., 1, 1] == 2 * 16).all() and (of_w[..., 0, 0] == 2 * 9).all()


def test_a_stand_in_as_large_as_the_tensor_beside_it_takes_no_memory() -> None:
    # On the CPU alone: cuDNN's work space can be larger than all tensors here. oneDNN's is what ATen's op takes, too.
    g, w = torch.randn(4, 16, 32, 32), torch.randn(16, 16, 1, 1)
    sizes = ([1, 1], [0, 0], [1, 1], False, [0, 0], 1)
    aten, ours = torch.ops.aten.convolution_backward, torch.ops.gan_ops
    for call, with_tensors in (
        (lambda: ours.conv2d_input_grad(g, w, 0), lambda: aten(g, g, w, None, *sizes, [True, False, False])),
        (lambda: ours.conv2d_weight_grad(g, g, 0), lambda: aten(g, g, w, None, *sizes, [False, True, False])),
    ):
        assert peak_of(call, torch.device("cpu")) <= peak_of(with_tensors, torch.device("cpu"))


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


@pytest.mark.parametrize(("groups", "channels"), [(0, 3), (-1, 3), (3, 9)])
def test_groups_divide_the_output_channels(groups: int, channels: int) -> None:
    with pytest.raises(ValueError, match=f"groups must divide the 4 output channels, but is {groups}"):
        gan_ops.conv2d(torch.ones(1, channels, 5, 5), torch.ones(4, 3, 3, 3), groups=groups)


def test_input_channels_are_those_of_all_groups() -> None:
    with pytest.raises(ValueError, match="x has 3 channels, but weight takes 6"):
        gan_ops.conv2d(torch.ones(1, 3, 5, 5), torch.ones(4, 3, 3, 3), groups=2)
    with pytest.raises(ValueError, match="groups must divide the 4 channels of grad and the 3 of x, but is 2"):
        torch.ops.gan_ops.conv2d_weight_grad(torch.ones(1, 4, 3, 3), torch.ones(1, 3, 5, 5), 0, 2)
