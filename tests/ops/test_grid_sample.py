"""What is grid_sample's own: it is torch's, at kinks and far outside too, and has second derivatives."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from comparing import assert_all_close, derivatives
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import gan_ops
from gan_ops import reference

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one
BOTH = pytest.mark.parametrize("function", [gan_ops.grid_sample, reference.grid_sample], ids=["kernel", "reference"])
MODES = pytest.mark.parametrize("mode", ["bilinear", "nearest"])
PADDINGS = pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
ALIGN_CORNERS = pytest.mark.parametrize("align_corners", [False, True])
AXES = pytest.mark.parametrize("axes", [2, 3])


def random(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=dtype)


def points(*shape: int, reach: float = 1.5, dtype: torch.dtype = torch.float64) -> Tensor:
    """Evenly spread, as far as ``reach``."""
    return (torch.rand(shape, dtype=dtype) * 2 - 1) * reach


def first_order(function, input: Tensor, grid: Tensor, options: tuple) -> list[Tensor]:
    """Values and both gradients."""
    input, grid = input.detach().requires_grad_(), grid.detach().requires_grad_()
    y = function(input, grid, *options)
    g = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view_as(y)
    return [y, *torch.autograd.grad(y, (input, grid), g)]


@BOTH
@EVERYWHERE
def test_value_by_hand(function) -> None:
    image = torch.tensor([[1.0, 2.0], [4.0, 8.0]])[None, None]
    # Between −1 and 1 lie two pixels, whose centres are −0.5 and 0.5; 1 is a half pixel outside.
    grid = torch.tensor([[-0.5, -0.5], [0.0, -0.5], [0.0, 0.0], [1.0, 0.5], [0.25, 0.5]]).view(1, 1, 5, 2)
    y = function(image, grid)
    torch.testing.assert_close(y.flatten(), torch.tensor([1.0, 1.5, 3.75, 4.0, 7.0]))
    y = function(image, grid, align_corners=True)
    torch.testing.assert_close(y.flatten(), torch.tensor([2.1875, 2.625, 3.75, 6.5, 5.28125]))


@EVERYWHERE
@AXES
@MODES
@PADDINGS
@ALIGN_CORNERS
def test_values_and_first_derivatives_are_torch_s(axes: int, mode: str, padding_mode: str, align_corners: bool) -> None:
    options = (mode, padding_mode, align_corners)
    for channels, reach in ((3, 1.2), (19, 5.0)):  # 5 sizes away, where reflection goes there and back
        input, grid = random(2, channels, *(5, 4, 6)[:axes]), points(2, *(7, 9, 2)[:axes], axes, reach=reach)
        ours, theirs = (
            first_order(function, input, grid, options) for function in (gan_ops.grid_sample, F.grid_sample)
        )
        assert_all_close(ours, theirs, 1e-12)


@EVERYWHERE
@AXES
@MODES
@PADDINGS
@ALIGN_CORNERS
def test_all_derivatives_are_exact(axes: int, mode: str, padding_mode: str, align_corners: bool) -> None:
    input = random(2, 2, *(3, 4, 2)[:axes]).requires_grad_()
    grid = points(2, *(2, 3, 1)[:axes], axes).requires_grad_()

    def function(input: Tensor, grid: Tensor) -> Tensor:
        return gan_ops.grid_sample(input, grid, mode, padding_mode, align_corners)

    assert gradcheck(function, (input, grid))
    assert gradgradcheck(function, (input, grid))


@EVERYWHERE
@AXES
@PADDINGS
@ALIGN_CORNERS
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_derivatives_at_kinks_are_torch_s(
    axes: int, padding_mode: str, align_corners: bool, dtype: torch.dtype
) -> None:
    """At the centres of pixels, at the outer edges, and where reflections begin again."""
    steps = (4, 8, 2)[:axes]  # powers of 2, so that coordinates are exact
    size = [n + align_corners for n in steps]
    every = [torch.linspace(-3, 3, 1 + 6 * n, dtype=dtype) for n in steps]  # half a pixel apart
    grid = torch.stack(torch.meshgrid(*every[::-1], indexing="ij"), -1)[None]
    input = random(1, 2, *size, dtype=dtype)
    options = ("bilinear", padding_mode, align_corners)
    ours, theirs = (first_order(function, input, grid, options) for function in (gan_ops.grid_sample, F.grid_sample))
    assert_all_close(ours, theirs, 1e-12 if dtype == torch.float64 else 1e-5)


@EVERYWHERE
@ALIGN_CORNERS
@pytest.mark.parametrize("size", [5, 7, 11, 48, 100])
def test_the_gradient_to_an_identical_warp_is_torch_s(align_corners: bool, size: int) -> None:
    """Its points are pixels' centres but for roundings, which decide about the cell: those must be torch's."""
    input = random(1, 2, size, size, dtype=torch.float32)
    grid = gan_ops.affine_grid(torch.eye(2, 3)[None], input.shape, align_corners)
    options = ("bilinear", "zeros", align_corners)
    ours, theirs = (first_order(function, input, grid, options) for function in (gan_ops.grid_sample, F.grid_sample))
    assert_all_close(ours, theirs, 1e-5)


@BOTH
@EVERYWHERE
@AXES
@MODES
def test_far_coordinates_are_outside_and_at_the_border(function, axes: int, mode: str) -> None:
    input, grid = random(1, 2, *(4,) * axes).requires_grad_(), points(1, *(1,) * (axes - 1), 4, axes, reach=0.5)
    grid[..., 0] = torch.tensor([1e30, -1e30, 1e4, -1e4], dtype=grid.dtype)
    grid.requires_grad_()
    y = function(input, grid, mode, "zeros")
    assert not y.any()
    assert not any(t.any() for t in torch.autograd.grad(y.sum(), (input, grid)))
    at_the_edge = grid.detach().clamp(-1, 1)
    y = function(input, grid, mode, "border")
    torch.testing.assert_close(y, F.grid_sample(input, at_the_edge, mode, "border", align_corners=False))
    assert not torch.autograd.grad(y.sum(), grid)[0][..., 0].any()


@BOTH
@EVERYWHERE
@AXES
@MODES
@PADDINGS
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_infinite_and_nan_coordinates_are_in_a_pixel_or_none(
    function, axes: int, mode: str, padding_mode: str, value: float
) -> None:
    """A border takes inf to the last pixel and nan to the first, a reflection both to the first; else they are outside.

    torch's CPU kernels for images have the same values with padding. Without, theirs are nan, and 0 for volumes; and
    some of their gradients end the process. So this is not compared with them.
    """
    input, grid = random(1, 2, *(4,) * axes), points(1, *(1,) * (axes - 1), 9, axes, reach=0.5)
    grid[..., 0] = value
    input, grid = input.requires_grad_(), grid.requires_grad_()
    y = function(input, grid, mode, padding_mode)
    g = torch.ones_like(y).requires_grad_()
    d_input, d_grid = torch.autograd.grad(y, (input, grid), g, create_graph=True)
    moved = d_input.square().sum() + d_grid.sum()
    second = torch.autograd.grad(moved, (g, input, grid), materialize_grads=True)
    column = 3 if value == math.inf and padding_mode == "border" else 0
    expected = torch.zeros_like(y)
    if padding_mode != "zeros":
        column_alone = input[..., column : column + 1].expand_as(input)
        inside = grid.detach().nan_to_num(0.0, 0.0, 0.0)
        expected = F.grid_sample(column_alone, inside, mode, padding_mode, align_corners=False)
    torch.testing.assert_close(y, expected)
    assert not d_grid[..., 0].any()
    assert all(t.isfinite().all() for t in (d_input, d_grid, *second))


@BOTH
@EVERYWHERE
def test_what_is_not_in_the_image_multiplies_nothing(function) -> None:
    """Neither an infinite pixel nor an infinite cotangent makes nan where weights are 0 for being outside."""
    input = random(1, 1, 3, 3)
    input[0, 0, 0, 0] = math.inf
    grid = torch.tensor([[3.0, 3.0], [1.2, 0.0]], dtype=torch.float64).view(1, 1, 2, 2)
    input, grid = input.requires_grad_(), grid.requires_grad_()
    y = function(input, grid)
    assert y.isfinite().all()
    d_input, d_grid = torch.autograd.grad(y, (input, grid), torch.tensor([[[[math.inf, 1.0]]]], dtype=torch.float64))
    assert d_input.isfinite().all() and d_grid.isfinite().all()


@BOTH
@EVERYWHERE
@MODES
@pytest.mark.parametrize(
    ("input_shape", "grid_shape"),
    [
        ((0, 3, 4, 5), (0, 2, 2, 2)),
        ((2, 0, 4, 5), (2, 2, 2, 2)),
        ((2, 3, 4, 5), (2, 0, 2, 2)),
        ((2, 3, 4, 5, 2), (2, 1, 0, 2, 3)),
    ],
    ids=str,
)
def test_empty_tensors_have_empty_results_and_gradients_of_zeros(function, mode: str, input_shape, grid_shape) -> None:
    input, grid = random(*input_shape).requires_grad_(), points(*grid_shape).requires_grad_()
    y = function(input, grid, mode)
    assert y.shape == (*input_shape[:2], *grid_shape[1:-1])
    gradients = torch.autograd.grad(y.sum(), (input, grid))
    assert [g.shape for g in gradients] == [input.shape, grid.shape]
    assert not any(g.any() for g in gradients)


@EVERYWHERE
@AXES
@pytest.mark.parametrize("channels", [1, 4, 5, 16, 33])
@pytest.mark.parametrize("channels_last", [False, True])
def test_kernels_equal_the_definition_whatever_the_size(axes: int, channels: int, channels_last: bool) -> None:
    input = random(2, channels, *(11, 13, 5)[:axes])
    if channels_last:
        input = input.contiguous(memory_format=torch.channels_last if axes == 2 else torch.channels_last_3d)
    grid = points(2, *(23, 17, 3)[:axes], axes, reach=1.1)
    inputs = input.requires_grad_(), grid.requires_grad_()
    assert_all_close(
        *(derivatives(function, inputs) for function in (gan_ops.grid_sample, reference.grid_sample)), 1e-12
    )


@EVERYWHERE
def test_volumes_stay_channels_last() -> None:
    input = random(2, 5, 3, 4, 2).contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    y = gan_ops.grid_sample(input, points(2, 3, 4, 2, 3))
    (gradient,) = torch.autograd.grad(y.sum(), input)
    assert all(t.is_contiguous(memory_format=torch.channels_last_3d) for t in (y, gradient))


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (1, 32, 50, 60), (3, 40, 20, 20), (1, 2, 12, 20, 20)], ids=str)
@pytest.mark.parametrize("channels_last", [False, True])
def test_sums_do_not_depend_on_the_number_of_threads(shape: tuple[int, ...], channels_last: bool) -> None:
    """Few samples and channels are shared out otherwise than many, and channels_last otherwise than contiguous."""
    axes = len(shape) - 2
    input, grid = random(*shape, dtype=torch.float32), points(shape[0], *shape[2:], axes, dtype=torch.float32)
    if channels_last:
        input = input.contiguous(memory_format=torch.channels_last if axes == 2 else torch.channels_last_3d)
    # Many points in few pixels, so that the order of their sum shows.
    grid[:, : shape[2] // 2] *= 0.1
    inputs = input.requires_grad_(), grid.requires_grad_()
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        results.append(derivatives(gan_ops.grid_sample, inputs))
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(*pair) for pair in zip(results[0], other, strict=True))


@EVERYWHERE
def test_many_points_in_a_pixel_are_summed_in_float32() -> None:
    input = torch.zeros(1, 1, 2, 2, dtype=torch.bfloat16).requires_grad_()
    grid = torch.full((1, 50, 50, 2), -0.5, dtype=torch.bfloat16)
    y = gan_ops.grid_sample(input, grid)
    (gradient,) = torch.autograd.grad(y.sum(), input)
    assert gradient.flatten().tolist() == [2496.0, 0.0, 0.0, 0.0]  # 2500 rounded; a sum in bfloat16 would stop at 256


@EVERYWHERE
def test_only_what_is_wanted_is_recorded() -> None:
    input, grid, g = random(1, 2, 3, 3), points(1, 2, 2, 2), random(1, 2, 2, 2)
    for of in (input, grid):
        of.requires_grad_()
        (gradient,) = torch.autograd.grad(gan_ops.grid_sample(input, grid), of, g)
        (expected,) = torch.autograd.grad(reference.grid_sample(input, grid), of, g)
        torch.testing.assert_close(gradient, expected)
        of.requires_grad_(False)


@EVERYWHERE
def test_r1_through_a_warp_is_that_of_the_definition() -> None:
    """What torch's own grid_sample raises an error for."""
    weight, theta = random(2, 3, 4, 4).requires_grad_(), random(2, 2, 3).requires_grad_()
    real = random(2, 3, 4, 4).requires_grad_()
    results = []
    for function in (gan_ops.grid_sample, reference.grid_sample):
        scores = (function(real, gan_ops.affine_grid(theta, real.shape)).tanh() * weight).sum()
        (gradient,) = torch.autograd.grad(scores, real, create_graph=True)
        results.append(list(torch.autograd.grad(gradient.square().sum(), (weight, theta))))
    assert_all_close(*results, 1e-12)


@EVERYWHERE
@ALIGN_CORNERS
@pytest.mark.parametrize(("theta", "size"), [((2, 2, 3), (2, 5, 4, 3)), ((2, 3, 4), (2, 5, 4, 3, 2))], ids=str)
def test_affine_grids_are_torch_s_with_second_derivatives(theta, size, align_corners: bool) -> None:
    matrix = random(*theta).requires_grad_()
    ours, theirs = (of.affine_grid(matrix, size, align_corners=align_corners) for of in (gan_ops, F))
    assert torch.equal(ours, theirs) and torch.equal(reference.affine_grid(matrix, size, align_corners), theirs)
    assert gradgradcheck(lambda t: gan_ops.affine_grid(t, size, align_corners).sin(), matrix)


def test_no_warning_says_what_align_corners_is() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grid = gan_ops.affine_grid(torch.eye(2, 3)[None], (1, 1, 2, 2))
        gan_ops.grid_sample(torch.ones(1, 1, 2, 2), grid)


@BOTH
def test_under_autocast_the_wider_type_wins(function) -> None:
    input, grid = random(1, 2, 3, 3).bfloat16(), points(1, 2, 2, 2).float()
    with torch.autocast("cpu", torch.bfloat16):
        y = gan_ops.grid_sample(input, grid)
    assert torch.equal(y, gan_ops.grid_sample(input.float(), grid))


@BOTH
@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"mode": "bicubic"}, ValueError, "mode=.bicubic.* torch.nn.functional.grid_sample has it, with first derivat"),
        ({"mode": "cubic"}, ValueError, 'mode must be "bilinear" or "nearest", but is "cubic"'),
        ({"padding_mode": "wrap"}, ValueError, 'padding_mode must be .* or "reflection", but is "wrap"'),
        ({"input": torch.ones(2, 3)}, ValueError, r"input must be \[N, C, H, W\] or .*but its shape is \[2, 3\]"),
        ({"input": torch.ones(2, 3, 0, 4)}, ValueError, r"with at least one pixel, but its shape is \[2, 3, 0, 4\]"),
        ({"input": torch.ones(2, 3, 4, 4, dtype=torch.int64)}, TypeError, "input must be float64"),
        ({"grid": torch.ones(2, 4, 4, 3)}, ValueError, r"grid must be \[2, H', W', 2\] .* shape is \[2, 4, 4, 3\]"),
        ({"grid": torch.ones(1, 4, 4, 2)}, ValueError, r"grid must be \[2, H', W', 2\] .* shape is \[1, 4, 4, 2\]"),
        ({"grid": torch.ones(2, 4, 4, 2).double()}, TypeError, "grid must be .* as input is, but is"),
    ],
)
def test_bad_arguments_are_named(function, changed, error, message) -> None:
    with pytest.raises(error, match=message):
        function(**({"input": torch.ones(2, 3, 4, 4), "grid": torch.zeros(2, 4, 4, 2)} | changed))
