"""What is filtered_lrelu's own: its arguments, the boundary, what it keeps and does not compute, its errors."""

from __future__ import annotations

import pytest
import torch
from comparing import assert_all_close, derivatives
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

import gan_ops
from gan_ops._checks import check_filtered_lrelu

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one
BOTH = pytest.mark.parametrize("function", [gan_ops.filtered_lrelu, gan_ops.reference.filtered_lrelu])

FILTERS = st.one_of(
    st.none(), st.integers(1, 14).map(lambda k: (k,)), st.tuples(st.integers(1, 6), st.integers(1, 6))
).map(lambda shape: None if shape is None else torch.linspace(-0.5, 1, 1 + torch.Size(shape).numel())[1:].view(shape))
OPTIONS = st.fixed_dictionaries(
    {
        "up_filter": FILTERS,
        "down_filter": FILTERS,
        "up": st.integers(1, 5),
        "down": st.integers(1, 5),
        "padding": st.lists(st.integers(-3, 9), min_size=4, max_size=4),
        "gain": st.sampled_from([1.0, 2**0.5, -0.5]),
        "slope": st.sampled_from([0.2, 0.0, 1.0, -0.3]),
        "clamp": st.sampled_from([None, 0.5, 0.0]),
        "flip": st.booleans(),
    }
)


@settings(max_examples=80, deadline=None)
@given(options=OPTIONS, x=st.tuples(st.integers(1, 2), st.integers(1, 20), st.integers(1, 30), st.integers(1, 40)))
@EVERYWHERE
def test_kernels_equal_the_definition_for_any_options(options: dict, x: tuple[int, ...]) -> None:
    filters = {
        name: options[name] if options[name] is None else options[name].to(torch.get_default_device())
        for name in ("up_filter", "down_filter")
    }
    options = options | filters
    x0, x1, y0, y1 = (min(side, 0) for side in options["padding"])
    # F.pad crops no more than there is; the kernels take the rest for zeros.
    assume(x[3] * options["up"] + x0 + x1 >= 1 and x[2] * options["up"] + y0 + y1 >= 1)
    names = ("up", "down", "padding", "gain", "slope", "clamp")
    try:
        check_filtered_lrelu(torch.zeros(x), *filters.values(), None, *(options[name] for name in names))
    except ValueError:  # nothing remains
        assume(False)
    generator = torch.Generator().manual_seed(0)
    inputs = tuple(
        torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")
        .to(torch.get_default_device())
        .requires_grad_()
        for shape in (x, x[1:2])
    )
    actual, expected = (
        derivatives(lambda x, bias, function=function: function(x, bias=bias, **options), inputs)
        for function in (gan_ops.filtered_lrelu, gan_ops.reference.filtered_lrelu)
    )
    assert_all_close(actual, expected, 1e-11)  # sums of up to 70 terms in another order, twice


@BOTH
@EVERYWHERE
def test_at_zero_the_slope_is_that_below_and_at_the_clamp_that_within(function) -> None:
    x = torch.tensor([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0]).view(1, 1, 1, 7).requires_grad_()
    y = function(x, gain=1.0, slope=0.5, clamp=1.0)
    assert y.flatten().tolist() == [-1, -1, -0.5, 0, 1, 1, 1]
    (d_x,) = torch.autograd.grad(y.sum(), x)
    assert d_x.flatten().tolist() == [0, 0.5, 0.5, 0.5, 1, 0, 0]


@BOTH
@EVERYWHERE
def test_the_bias_is_added_to_pixels_and_not_to_the_padding(function) -> None:
    y = function(torch.zeros(1, 1, 1, 1), bias=torch.ones(1), padding=1, gain=1.0)
    assert torch.equal(y[0, 0], torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]]))


@EVERYWHERE
def test_rows_longer_than_a_tile_and_planes_of_several_tiles_agree_with_the_definition() -> None:
    taps = torch.linspace(-0.1, 0.3, 24)
    for shape, options in [
        ((1, 3, 9, 700), {"up": 4, "down": 2, "padding": 20}),
        ((1, 17, 110, 24), {"up": 2, "down": 2, "padding": 23}),
    ]:
        x, bias = torch.randn(shape, dtype=torch.float64), torch.randn(shape[1], dtype=torch.float64)
        inputs = (x.requires_grad_(), bias.requires_grad_())
        results = [
            derivatives(lambda x, b, f=f, o=options: f(x, taps, taps[::2], b, clamp=1.0, **o), inputs)
            for f in (gan_ops.filtered_lrelu, gan_ops.reference.filtered_lrelu)
        ]
        assert_all_close(*results, 1e-11)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    taps = torch.linspace(-0.1, 0.3, 12)
    x, bias = torch.randn(2, 20, 100, 33).requires_grad_(), torch.randn(20).requires_grad_()
    before, results = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(
            derivatives(lambda x, b: gan_ops.filtered_lrelu(x, taps, taps, b, 2, 2, 11, clamp=1.0), (x, bias))
        )
    torch.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


@EVERYWHERE
def test_two_bits_of_each_enlarged_value_are_kept_and_only_if_recorded() -> None:
    x, taps = torch.randn(2, 16, 20, 20), torch.ones(12) / 12
    arguments = (taps, taps, None, 2, 2, [9, 9, 9, 9], 1.0, 0.2, None, False)
    y, codes = torch.ops.gan_ops.filtered_lrelu(x, *arguments)
    assert codes.numel() == 0
    _, codes = torch.ops.gan_ops.filtered_lrelu(x.requires_grad_(), *arguments)
    side = (y.shape[2] - 1) * 2 + 12
    assert codes.dtype == torch.uint8 and codes.shape == (2 * 16, side, -(-side // 4))


def test_a_gradient_that_nobody_wants_is_not_computed() -> None:
    x, bias = torch.randn(2, 3, 8, 8).requires_grad_(), torch.zeros(3).requires_grad_()
    y = gan_ops.filtered_lrelu(x, bias=bias)
    (d_x,) = torch.autograd.grad(y, x, torch.ones_like(y).requires_grad_(), create_graph=True)
    assert torch.autograd.grad(d_x.sum(), (x, bias), allow_unused=True) == (None, None)
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        gan_ops.filtered_lrelu(x).sum().backward()
    assert sum(event.name == "gan_ops::filtered_lrelu_masked" for event in trace.events()) == 1


@BOTH
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"x": torch.ones(2, 3, 4)}, ValueError, r"x must be \[N, C, H, W\].*but its shape is \[2, 3, 4\]"),
        ({"x": torch.ones(1, 3, 4, 4, dtype=torch.int64)}, TypeError, "x must be float64"),
        ({"up_filter": torch.ones(2, 2, 2)}, ValueError, r"up_filter must be \[K\] or \[K, K'\]"),
        ({"down_filter": torch.ones(0)}, ValueError, r"down_filter must be .* at least one tap.*\[0\]"),
        ({"down_filter": torch.ones(2, dtype=torch.int64)}, TypeError, "down_filter must be float64"),
        ({"up_filter": torch.ones(2, requires_grad=True)}, NotImplementedError, "up_filter has no gradient"),
        ({"bias": torch.ones(2)}, ValueError, r"bias must have the shape \[3\], but has \[2\]"),
        ({"bias": torch.ones(3, dtype=torch.int64)}, TypeError, "bias must be float64"),
        ({"up": 0}, ValueError, "up must be an integer of at least 1, but is 0"),
        ({"down": [2, 1]}, ValueError, r"down must be an integer of at least 1, but is \[2, 1\]"),
        ({"padding": [1, 2, 3]}, ValueError, r"padding must be .*\[x0, x1, y0, y1\], but is \[1, 2, 3\]"),
        ({"gain": float("inf")}, ValueError, "gain must be finite, but is inf"),
        ({"slope": float("nan")}, ValueError, "slope must be finite, but is nan"),
        ({"clamp": -1.0}, ValueError, "clamp must not be negative, but is -1"),
        ({"up_filter": torch.ones(9)}, ValueError, r"padding=0 makes images of 4x4, enlarged by 1, smaller than"),
    ],
)
def test_bad_arguments_are_named(function, options: dict, error, message: str) -> None:
    with pytest.raises(error, match=message):
        function(**({"x": torch.ones(1, 3, 4, 4)} | options))


def test_the_op_itself_refuses_a_filter_that_requires_a_gradient() -> None:
    x, taps = torch.ones(1, 1, 4, 4), torch.ones(2, requires_grad=True)
    with pytest.raises(NotImplementedError, match="down_filter has no gradient"):
        torch.ops.gan_ops.filtered_lrelu(x, None, taps, None, 1, 1, [0] * 4, 1.0, 0.2, None, False)
