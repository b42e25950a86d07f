"""What is upfirdn2d's own: its arguments in all their forms, images of many tiles, factors and filters of any size."""

from __future__ import annotations

import pytest
import torch
from comparing import assert_all_close, derivatives

import gan_ops
from gan_ops import reference

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one
LAYOUTS = pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
FILTERS = ["4x4", "4x4 by axes", "12"]
BOTH = pytest.mark.parametrize("function", [gan_ops.upfirdn2d, reference.upfirdn2d], ids=["kernel", "reference"])


def random(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype)


def assert_as_defined(x: torch.Tensor, filter: torch.Tensor | None, **options) -> None:
    """Output and derivatives in float64."""
    x = x.requires_grad_()
    actual, expected = (
        derivatives(lambda x, of=of: of(x, filter, **options), (x,)) for of in (gan_ops.upfirdn2d, reference.upfirdn2d)
    )
    assert_all_close(actual, expected, 1e-12)


@BOTH
@EVERYWHERE
def test_value_by_hand(function) -> None:
    x = torch.tensor([[1.0, 2.0]]).view(1, 1, 1, 2)
    # Enlarged 1 0 2 0, padded 0 1 0 2 0 0, turned around [4 2 1]: 2·1, 4·1 + 1·2, 2·2, 4·2; every second of them.
    filter = torch.tensor([[1.0, 2.0, 4.0]])
    y = function(x, filter, up=[2, 1], down=[2, 1], padding=[1, 1, 0, 0], gain=0.5)
    torch.testing.assert_close(y, torch.tensor([1.0, 2.0]).view(1, 1, 1, 2))
    # As it is, [1 2 4]: 2·1, 1·1 + 4·2, 2·2, 1·2.
    y = function(x, filter, up=[2, 1], padding=[1, 1, 0, 0], flip=True)
    torch.testing.assert_close(y, torch.tensor([2.0, 9.0, 4.0, 2.0])[None, None, None])


@BOTH
@EVERYWHERE
def test_one_number_stands_for_both_axes_and_two_for_all_sides(function) -> None:
    x, filter = random(2, 3, 5, 6), random(3, 3)
    expected = function(x, filter, up=[2, 2], down=[3, 3], padding=[2, 2, 1, 1])
    assert torch.equal(function(x, filter, up=2, down=(3, 3), padding=[2, 1]), expected)
    assert torch.equal(function(x, filter, padding=1), function(x, filter, padding=[1, 1, 1, 1]))


@BOTH
@EVERYWHERE
def test_taps_for_both_axes_are_their_outer_product(function) -> None:
    x, taps = random(2, 3, 5, 6), random(5)
    options = {"up": 2, "down": 3, "padding": 4, "gain": 1.5}
    torch.testing.assert_close(function(x, taps, **options), function(x, torch.outer(taps, taps), **options))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@EVERYWHERE
def test_a_filter_of_any_type_counts_as_its_numbers(dtype: torch.dtype) -> None:
    x, filter = random(2, 3, 5, 6, dtype=torch.float32), random(3, 4).to(dtype)
    assert torch.equal(gan_ops.upfirdn2d(x, filter), gan_ops.upfirdn2d(x, filter.float()))


@LAYOUTS
@pytest.mark.parametrize(
    "shape",
    [
        (1, 2, 3, 5000),
        (2, 200, 5, 6),
        (1, 130, 9, 31),
        (1, 31, 9, 40),
        (300, 3, 4, 4),
        (1, 1, 500, 11),
        (1, 3, 90, 100),
    ],
)
@pytest.mark.parametrize("filter", [random(4, 4), torch.outer(random(4), random(4)), random(12)], ids=FILTERS)
@EVERYWHERE
def test_images_of_many_tiles_are_right(shape, filter, memory_format) -> None:
    x = random(*shape).to(memory_format=memory_format)
    for up, down in ((2, 1), (1, 2), (1, 1), (3, 2)):
        assert_as_defined(x, filter, up=up, down=down, padding=[6, 5, 7, 4])


@LAYOUTS
@pytest.mark.parametrize(
    ("taps", "options"),
    [
        ((1, 1), {"up": 9, "padding": [0, 3, -5, 2]}),
        ((3, 1), {"up": [7, 1], "down": [1, 40], "padding": 1}),
        ((40, 50), {"padding": 45}),
        ((60,), {"up": 3, "down": 5, "padding": 40}),
        ((2, 2), {"down": 1000}),
        ((4, 4), {"up": 50, "down": 49, "padding": [0, -150, 2, 0]}),
        ((4, 4), {"padding": [30, -30, -3, 30]}),
        ((2, 2), {"padding": [-6, 9, 9, -5]}),
        ((2, 3), {"up": 6, "down": 4, "padding": 5}),
    ],
    ids=str,
)
@EVERYWHERE
def test_any_filter_and_factor_is_right(taps, options, memory_format) -> None:
    assert_as_defined(random(2, 3, 6, 7).to(memory_format=memory_format), random(*taps), **options)


@LAYOUTS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_results_do_not_depend_on_the_number_of_threads(dtype: torch.dtype, memory_format) -> None:
    x = random(3, 40, 64, 65, dtype=dtype).to(memory_format=memory_format)
    filter, threads = random(4, 4), torch.get_num_threads()
    results = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append(gan_ops.upfirdn2d(x, filter, up=2, padding=2))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


@EVERYWHERE
def test_outputs_of_many_channels_larger_than_the_cache_are_right() -> None:
    x = random(1, 40, 160, 161, dtype=torch.float32).to(memory_format=torch.channels_last)
    for filter in (random(4, 4), random(5)):
        actual = gan_ops.upfirdn2d(x, filter, up=2, padding=2)
        torch.testing.assert_close(actual, reference.upfirdn2d(x, filter, up=2, padding=2), rtol=1e-4, atol=1e-4)


@EVERYWHERE
def test_outputs_larger_than_the_cache_are_right() -> None:
    x = random(1, 3, 560, 601, dtype=torch.float32)  # enlarged four times 16 MB
    square = random(4, 4, dtype=torch.float32)
    by_axes = torch.outer(square[0], square[1])
    for filter, options in (
        (square, {"up": 2, "padding": [2, 1]}),
        (square, {"up": [1, 4], "padding": 2}),
        (by_axes, {"up": [8, 1], "down": [1, 2], "padding": 1}),
    ):
        for each in (x, x.to(memory_format=torch.channels_last), x.bfloat16()):
            actual = gan_ops.upfirdn2d(each, filter, **options)
            expected = reference.upfirdn2d(each, filter, **options)
            torch.testing.assert_close(actual, expected, rtol=2e-2, atol=1e-4)  # one rounding of bfloat16, or float32's


@EVERYWHERE
def test_the_filter_is_a_constant() -> None:
    x = random(1, 2, 5, 5)
    for function in (gan_ops.upfirdn2d, reference.upfirdn2d):
        filter = random(3, 3).requires_grad_()
        with pytest.raises(NotImplementedError, match="filter has no gradient"):
            function(x, filter)
        with torch.no_grad():
            function(x, filter)


@EVERYWHERE
def test_compiles_for_sizes_that_vary() -> None:
    filter = random(4, 4)

    def gradient(x: torch.Tensor) -> torch.Tensor:
        y = gan_ops.upfirdn2d(x, filter, up=2, down=3, padding=[2, 1, 0, 3])
        return torch.autograd.grad(y.square().sum(), x)[0]

    torch._dynamo.reset()
    compiled = torch.compile(
        lambda x: gan_ops.upfirdn2d(x, filter, up=2, down=3, padding=[2, 1, 0, 3]),
        dynamic=True,
        fullgraph=True,
        backend="aot_eager",
    )
    for height, width in ((9, 8), (5, 11), (12, 12)):
        x = random(2, 3, height, width).requires_grad_()
        y = compiled(x)
        torch.testing.assert_close(torch.autograd.grad(y.square().sum(), x)[0], gradient(x))


@BOTH
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"x": torch.ones(3, 4, 4)}, ValueError, r"x must be \[N, C, H, W\].* but its shape is \[3, 4, 4\]"),
        ({"x": torch.ones(2, 3, 0, 4)}, ValueError, r"x must be \[N, C, H, W\].* but its shape is \[2, 3, 0, 4\]"),
        ({"x": torch.ones(2, 3, 4, 4).long()}, TypeError, r"x must be float64.* but is .*(Long|int64)"),
        ({"filter": torch.ones(2, 2, 2)}, ValueError, r"filter must be .* but its shape is \[2, 2, 2\]"),
        ({"filter": torch.ones(0)}, ValueError, r"filter must be .* but its shape is \[0\]"),
        ({"filter": torch.ones(3).long()}, TypeError, r"filter must be float64.* but is .*(Long|int64)"),
        ({"up": 0}, ValueError, r"up must be an integer of at least 1, or \[x, y\], but is"),
        ({"up": [1, 2, 3]}, ValueError, r"up must be .* but is \[1, 2, 3\]"),
        ({"down": [2, -1]}, ValueError, r"down must be .* but is \[2, -1\]"),
        ({"padding": [1, 2, 3]}, ValueError, r"padding must be .* but is \[1, 2, 3\]"),
        ({"gain": float("inf")}, ValueError, "gain must be finite, but is inf"),
        (
            {"padding": -1},
            ValueError,
            r"padding=.* makes images of 4x4, enlarged by .*, smaller than the filter of \[3",
        ),
    ],
)
def test_bad_arguments_are_named(function, options, error, message) -> None:
    arguments = {"x": torch.ones(2, 3, 4, 4), "filter": torch.ones(3, 3)} | options
    with pytest.raises(error, match=message):
        function(**arguments)
