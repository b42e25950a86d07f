"""Demodulation and modulated convolution: the paper's equations, two ways that agree in all derivatives, float16."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import gan_ops

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one
DEMODULATION = pytest.mark.parametrize(
    "demodulation", [gan_ops.demodulation, gan_ops.reference.demodulation], ids=["op", "reference"]
)
CONVOLUTION = pytest.mark.parametrize(
    "convolution", [gan_ops.modulated_conv2d, gan_ops.reference.modulated_conv2d], ids=["op", "reference"]
)
FUSED = pytest.mark.parametrize("fused", [False, True], ids=["apart", "fused"])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def double(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


@DEMODULATION
@EVERYWHERE
def test_demodulation_is_the_inverse_norm_of_each_sample_s_weights(demodulation) -> None:
    weight, style = double(7, 5, 3, 2), double(4, 5)
    norms = torch.stack([(weight * s[:, None, None]).flatten(1).norm(dim=1) for s in style])  # [N, O]
    torch.testing.assert_close(demodulation(weight, style, eps=0.0), 1 / norms)
    torch.testing.assert_close(demodulation(weight, style, eps=0.1), (norms.square() + 0.1).rsqrt())


@EVERYWHERE
def test_demodulation_is_exact_to_the_second_derivative() -> None:
    inputs = double(3, 4, 2, 2).requires_grad_(), double(2, 4).requires_grad_()
    assert gradcheck(gan_ops.demodulation, inputs)
    assert gradgradcheck(gan_ops.demodulation, inputs)


@EVERYWHERE
def test_demodulation_of_float16_is_float32_and_in_range() -> None:
    weight, style = torch.full((2, 3, 3, 3), 200.0).half(), torch.full((1, 3), 500.0).half()
    d = gan_ops.demodulation(weight, style)
    torch.testing.assert_close(d, torch.full((1, 2), 1 / (27**0.5 * 1e5)))
    assert gan_ops.demodulation(weight, style.double()).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_demodulation_ignores_autocast(dtype: torch.dtype) -> None:
    weight, style = torch.randn(7, 5, 3, 3).to(dtype), torch.randn(4, 5).to(dtype)
    expected = gan_ops.demodulation(weight, style)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(gan_ops.demodulation(weight, style), expected)


def by_sample(x: Tensor, weight: Tensor, style: Tensor, noise: Tensor | float = 0.0) -> Tensor:
    """Equations 1 to 3 of the paper, sample by sample."""
    images = []
    for image, s in zip(x, style, strict=True):
        w = weight * s[:, None, None]
        w = w / (w.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        images.append(F.conv2d(image[None], w, padding=1))
    return torch.cat(images) + noise


@CONVOLUTION
@FUSED
@EVERYWHERE
def test_is_the_convolution_by_each_sample_s_demodulated_weights(convolution, fused: bool) -> None:
    x, weight, style, noise = double(3, 4, 6, 5), double(7, 4, 3, 3), double(3, 4), double(3, 1, 6, 5)
    y = convolution(x, weight, style, noise=noise, padding=1, fused=fused)
    torch.testing.assert_close(y, by_sample(x, weight, style, noise))


@CONVOLUTION
@FUSED
@EVERYWHERE
@pytest.mark.parametrize("gain", [(), (4,), (3, 4)], ids=str)
def test_the_input_s_gain_has_no_share_in_the_demodulation(convolution, fused: bool, gain) -> None:
    x, weight, style, gain = double(3, 4, 6, 5), double(7, 4, 3, 3), double(3, 4), double(*gain)
    y = convolution(x, weight, style, padding=1, input_gain=gain, fused=fused)
    columns = gain if gain.dim() == 0 else gain.expand(3, 4)[..., None, None]
    torch.testing.assert_close(y, by_sample(x * columns, weight, style))


OPTIONS = [
    {"padding": 1},
    {"padding": 1, "demodulate": False},
    {"padding": 1, "up": 2, "filter": True, "flip_weight": False},
    {"padding": 1, "down": 2, "filter": True},
]


@FUSED
@EVERYWHERE
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_both_ways_are_exact_to_the_second_derivative(fused: bool, options: dict) -> None:
    if "filter" in options:
        options = options | {"filter": gan_ops.setup_filter([1, 3, 3, 1])}
    inputs = double(2, 2, 4, 3).requires_grad_(), double(3, 2, 3, 3).requires_grad_(), double(2, 2).requires_grad_()

    def convolution(*tensors: Tensor) -> Tensor:
        return gan_ops.modulated_conv2d(*tensors, **options, fused=fused)

    torch.testing.assert_close(convolution(*inputs), gan_ops.reference.modulated_conv2d(*inputs, **options))
    assert gradcheck(convolution, inputs, fast_mode=True)
    assert gradgradcheck(convolution, inputs, fast_mode=True)


@CONVOLUTION
@FUSED
@EVERYWHERE
def test_an_empty_batch_works(convolution, fused: bool) -> None:
    y = convolution(double(0, 4, 6, 5), double(7, 4, 3, 3), double(0, 4), padding=1, fused=fused)
    assert y.shape == (0, 7, 6, 5)


@FUSED
@EVERYWHERE
def test_large_styles_do_not_overflow_float16(fused: bool) -> None:
    x, weight, style = torch.randn(2, 64, 8, 8), torch.randn(16, 64, 3, 3), 3000 * torch.randn(2, 64)
    expected = by_sample(x.double(), weight.double(), style.double())
    inputs = [t.requires_grad_() for t in (x.half(), weight, style)]
    y = gan_ops.modulated_conv2d(*inputs, padding=1, fused=fused)
    # Roundings of the inputs, of the modulated ones and of the result.
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=2e-2)
    assert y.dtype == torch.float16
    assert all(t.isfinite().all() for t in torch.autograd.grad(y.sum(), inputs))


def test_the_faster_way_is_apart() -> None:
    x, weight, style = double(1, 4, 6, 5), double(7, 4, 3, 3), double(1, 4)
    y = gan_ops.modulated_conv2d(x, weight, style, padding=1)
    assert torch.equal(y, gan_ops.modulated_conv2d(x, weight, style, padding=1, fused=False))


@EVERYWHERE
def test_compiles_as_one_graph_to_the_first_derivative() -> None:
    inputs = [t.requires_grad_() for t in (double(2, 4, 6, 5), double(7, 4, 3, 3), double(2, 4))]
    torch._dynamo.reset()
    compiled = torch.compile(lambda *t: gan_ops.modulated_conv2d(*t, padding=1), fullgraph=True, backend="aot_eager")
    for function in (compiled, lambda *t: gan_ops.modulated_conv2d(*t, padding=1)):
        y = function(*inputs)
        grads = torch.autograd.grad(y.square().sum(), inputs)
        if function is compiled:
            expected = [y, *grads]
    torch.testing.assert_close([y, *grads], expected)


@CONVOLUTION
@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"style": torch.ones(2, 4)}, ValueError, r"style must be \[N, 3\], but its shape is \[2, 4\]"),
        ({"style": torch.ones(1, 3)}, ValueError, r"style must be \[2, 3\] as x's samples.*, but is \[1, 3\]"),
        ({"weight": torch.ones(5, 3)}, ValueError, r"weight must be \[O, I, K', K\], but its shape is \[5, 3\]"),
        ({"weight": torch.ones(5, 3, 1, 1, dtype=torch.int64)}, TypeError, "weight must be float64"),
        ({"eps": -1.0}, ValueError, "eps must not be negative, but is -1"),
        ({"input_gain": torch.ones(2)}, ValueError, r"input_gain must be a number.* \[2, 3\], but is \[2\]"),
        ({"noise": torch.ones(3, 3)}, ValueError, r"noise must have the shape \[2, 1, 4, 4\]"),
        ({"up": 0}, ValueError, "up must be an integer of at least 1, but is 0"),
    ],
)
def test_bad_arguments_are_named(convolution, changed, error, message) -> None:
    arguments = {"x": torch.ones(2, 3, 4, 4), "weight": torch.ones(5, 3, 1, 1), "style": torch.ones(2, 3)}
    with pytest.raises(error, match=message):
        convolution(**(arguments | changed))
