"""Convolution with up- and downsampling: the fast orders compute what zeros, convolution and decimation do."""

from __future__ import annotations

import pytest
import torch
from comparing import assert_all_close, derivatives

import gan_ops
from gan_ops import reference

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one
LAYOUTS = pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
FILTERS = {"none": None, "4x4": torch.outer(*[torch.tensor([1.0, 3.0, 2.0, 1.0])] * 2), "5": torch.arange(1.0, 6.0)}
ORDERS = [
    {"up": 1, "down": 1, "padding": 1},
    {"up": 1, "down": 1, "padding": [2, 1, 0, 3]},
    {"up": 2, "padding": 1},
    {"up": 3, "padding": [1, 0]},
    {"up": 2, "padding": [0, 4, -1, 2]},
    {"down": 2, "padding": 1},
    {"down": 3, "padding": [2, 1, 0, 1]},
    {"up": 2, "down": 2, "padding": 1},
    {"up": 3, "down": 2, "padding": 1},
]


def random(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype)


@LAYOUTS
@pytest.mark.parametrize("filter", FILTERS, ids=str)
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 3)], ids=str)
@pytest.mark.parametrize("order", ORDERS, ids=str)
@EVERYWHERE
def test_all_derivatives_are_those_of_the_definition(order, kernel, filter, memory_format) -> None:
    taps = FILTERS[filter]
    taps = None if taps is None else taps.to(torch.get_default_device())
    x, weight = random(2, 4, 7, 8).to(memory_format=memory_format), random(6, 4, *kernel)
    inputs = (x.requires_grad_(), weight.requires_grad_())
    actual, expected = (
        derivatives(lambda x, w, of=of: of(x, w, taps, **order), inputs)
        for of in (gan_ops.resample_conv2d, reference.resample_conv2d)
    )
    assert_all_close(actual, expected, 1e-11)


@pytest.mark.parametrize("order", [{"up": 2}, {"down": 2}, {}, {"up": 2, "down": 3}], ids=str)
@pytest.mark.parametrize("flip_weight", [False, True])
@pytest.mark.parametrize("flip_filter", [False, True])
@EVERYWHERE
def test_groups_and_flips(order, flip_weight: bool, flip_filter: bool) -> None:
    filter = FILTERS["4x4"].to(torch.get_default_device())
    x, weight = random(2, 4, 7, 8).requires_grad_(), random(6, 2, 3, 3).requires_grad_()
    options = {"padding": 1, "groups": 2, "flip_weight": flip_weight, "flip_filter": flip_filter, **order}
    actual, expected = (
        derivatives(lambda x, w, of=of: of(x, w, filter, **options), (x, weight))
        for of in (gan_ops.resample_conv2d, reference.resample_conv2d)
    )
    assert_all_close(actual, expected, 1e-11)


@pytest.mark.parametrize("order", [{"up": 2}, {"down": 2}, {}], ids=str)
@EVERYWHERE
def test_an_odd_kernel_with_half_of_it_as_padding_keeps_the_size(order) -> None:
    filter = gan_ops.setup_filter([1, 3, 3, 1], device=torch.get_default_device())
    y = gan_ops.resample_conv2d(torch.ones(1, 2, 8, 6), torch.ones(3, 2, 3, 3), filter, padding=1, **order)
    factor = order.get("up", 1) / order.get("down", 1)
    assert y.shape == (1, 3, 8 * factor, 6 * factor)


@pytest.mark.parametrize("order", [{"up": 2}, {"down": 2}, {}], ids=str)
@EVERYWHERE
def test_it_runs_under_autocast(order) -> None:
    device = torch.get_default_device()
    filter = gan_ops.setup_filter([1, 3, 3, 1], device=device)
    x, weight = random(2, 4, 8, 8, dtype=torch.float32), random(6, 4, 3, 3, dtype=torch.float32)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        y = gan_ops.resample_conv2d(x, weight, filter, padding=1, **order)
    expected = gan_ops.resample_conv2d(x, weight, filter, padding=1, **order)
    torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.05 * expected.abs().max().item())  # bfloat16's


@EVERYWHERE
def test_compiles_as_one_graph() -> None:
    filter = FILTERS["4x4"].to(torch.get_default_device())
    x, weight = random(2, 4, 8, 8), random(6, 4, 3, 3)
    for order in ({"up": 2}, {"down": 2}, {}):
        torch._dynamo.reset()
        compiled = torch.compile(gan_ops.resample_conv2d, fullgraph=True, backend="aot_eager")
        expected = gan_ops.resample_conv2d(x, weight, filter, padding=1, **order)
        torch.testing.assert_close(compiled(x, weight, filter, padding=1, **order), expected)


@pytest.mark.parametrize("function", [gan_ops.resample_conv2d, reference.resample_conv2d], ids=["kernel", "reference"])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"x": torch.ones(4, 5, 5)}, ValueError, r"x must be \[N, C, H, W\].* but its shape is \[4, 5, 5\]"),
        ({"weight": torch.ones(6, 4)}, ValueError, r"weight must be \[C_out, .*\], but its shape is \[6, 4\]"),
        ({"weight": torch.ones(6, 3, 3, 3)}, ValueError, "x has 4 channels, but weight takes 3"),
        ({"weight": torch.ones(6, 4, 3, 3).double()}, TypeError, "weight must be torch.float32 as x is, but is"),
        ({"groups": 4}, ValueError, "groups must divide the 6 output channels, but is 4"),
        ({"up": 0}, ValueError, "up must be an integer of at least 1, but is 0"),
        ({"down": [1, 2]}, ValueError, r"down must be an integer of at least 1, but is \[1, 2\]"),
        ({"padding": [1, 2, 3]}, ValueError, r"padding must be .* but is \[1, 2, 3\]"),
        ({"filter": torch.ones(3, requires_grad=True)}, NotImplementedError, "filter has no gradient"),
    ],
)
def test_bad_arguments_are_named(function, options, error, message) -> None:
    arguments = {"x": torch.ones(2, 4, 5, 5), "weight": torch.ones(6, 4, 3, 3), "padding": 1} | options
    with pytest.raises(error, match=message):
        function(**arguments)
