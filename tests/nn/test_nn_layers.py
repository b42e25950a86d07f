"""Layers of gan_ops.nn against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck
from torch.utils._python_dispatch import TorchDispatchMode

from gan_ops import nn as gnn
from gan_ops import reference

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one


def double(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@EVERYWHERE
def test_pixel_norm_layer_is_the_op():
    x = double(3, 5, 2, 2)
    torch.testing.assert_close(gnn.PixelNorm(eps=0.1)(x), reference.pixel_norm(x, 0.1))


@EVERYWHERE
def test_stddev_layer_is_the_op():
    x = double(4, 6, 2, 2)
    torch.testing.assert_close(gnn.MinibatchStddev(2, 3)(x), reference.minibatch_stddev(x, 2, 3))


@pytest.mark.parametrize("group_size", [1, 2, 4, 6, 100, None])
@pytest.mark.parametrize("batches", [2, 3])
@EVERYWHERE
def test_stddev_of_interleaved_minibatches_equals_one_by_one(group_size, batches):
    layer = gnn.MinibatchStddev(group_size)
    parts = [double(12, 2, 3, 3) for _ in range(batches)]
    together = layer(torch.stack(parts, 1).flatten(0, 1), batches)
    for m, part in enumerate(parts):
        torch.testing.assert_close(together[m::batches], layer(part), rtol=0, atol=1e-14)


def test_stddev_group_must_divide_each_minibatch_and_not_just_all_of_them():
    with pytest.raises(ValueError, match="group_size=4 does not divide the batch of 6"):
        gnn.MinibatchStddev(4)(double(12, 2, 3, 3), batches=2)


@pytest.mark.parametrize("batches", [0, 2])
def test_stddev_batches_must_divide_the_samples(batches):
    with pytest.raises(ValueError, match=f"batches={batches} does not divide x, which has 3 samples"):
        gnn.MinibatchStddev()(double(3, 2, 3, 3), batches=batches)


@pytest.mark.parametrize("batches", [1, 2])
def test_stddev_of_no_samples_is_empty(batches):
    assert gnn.MinibatchStddev()(double(0, 2, 3, 3), batches=batches).shape == (0, 3, 3, 3)


def test_stddev_group_size_is_checked_at_once():
    with pytest.raises(ValueError, match="group_size=0"):
        gnn.MinibatchStddev(0)


def test_stddev_group_of_a_batch_is_known_beforehand():
    assert [gnn.MinibatchStddev(g).group(8) for g in (4, 100, None)] == [4, 8, 8]
    with pytest.raises(ValueError, match="group_size=3 does not divide the batch of 8"):
        gnn.MinibatchStddev(3).group(8)


@EVERYWHERE
def test_discrimination_layer_appends_the_op_of_its_projection():
    layer = gnn.MinibatchDiscrimination(6, 4, 3).double()
    x = double(5, 6)
    m = torch.einsum("na,abc->nbc", x, layer.weight)
    torch.testing.assert_close(layer(x), torch.cat([x, reference.minibatch_discrimination(m)], dim=1))


@EVERYWHERE
def test_discrimination_options_are_the_authors_code():
    layer = gnn.MinibatchDiscrimination(6, 4, 3, include_self=False, weight_norm=True, bias=True).double()
    assert not layer.log_scale.any() and (layer.bias == -1).all()
    torch.nn.init.normal_(layer.log_scale)
    torch.nn.init.normal_(layer.bias)
    x = double(5, 6)
    columns = layer.weight / layer.weight.square().sum(0).sqrt() * layer.log_scale.exp()
    m = torch.einsum("na,abc->nbc", x, columns)
    o = reference.minibatch_discrimination(m, include_self=False) + layer.bias
    torch.testing.assert_close(layer(x), torch.cat([x, o], dim=1))


def test_discrimination_starts_with_samples_about_one_apart():
    layer = gnn.MinibatchDiscrimination(64, 50, 8)
    m = (torch.randn(256, 64) @ layer.weight.flatten(1)).view(256, 50, 8)
    assert (m[:128] - m[128:]).abs().sum(2).mean().item() == pytest.approx(1.13, abs=0.05)  # 2/√π


@pytest.mark.parametrize("batches", [2, 3])
@EVERYWHERE
def test_discrimination_of_interleaved_minibatches_equals_one_by_one(batches):
    layer = gnn.MinibatchDiscrimination(6, 4, 3).double()
    parts = [double(5, 6) for _ in range(batches)]
    together = layer(torch.stack(parts, 1).flatten(0, 1), batches)
    for m, part in enumerate(parts):
        torch.testing.assert_close(together[m::batches], layer(part), rtol=0, atol=1e-14)


@pytest.mark.parametrize("weight_norm", [False, True])
@pytest.mark.parametrize("batches", [1, 2])
@EVERYWHERE
def test_discrimination_scale_fits_half_the_distance_to_the_nearest_neighbour(weight_norm, batches):
    layer = gnn.MinibatchDiscrimination(6, 4, 3, weight_norm=weight_norm)
    x = torch.randn(10, 6) * 100
    layer.fit_scale(x, batches)
    for _ in range(2):  # at the second time there is nothing to do
        m = layer._features(x, batches)
        distances = (m[:, None] - m[None]).abs().sum(3) + torch.diag(torch.full((len(m),), math.inf))[..., None]
        means = distances.amin(1).view(10, 4).mean(0)
        torch.testing.assert_close(means, torch.full((4,), 2.0))
        layer.fit_scale(x, batches)


@pytest.mark.parametrize("batches", [1, 2])
def test_discrimination_of_no_samples_is_empty(batches):
    assert gnn.MinibatchDiscrimination(6, 4, 3)(torch.ones(0, 6), batches).shape == (0, 10)


@pytest.mark.parametrize(
    ("shape", "batches", "message"),
    [
        ((4, 5), 1, r"x must be \[N, 6\], but its shape is \[4, 5\]"),
        ((4, 6, 1), 1, r"x must be \[N, 6\], but its shape is \[4, 6, 1\]"),
        ((4, 6), 3, "batches=3 does not divide x, which has 4 samples"),
        ((4, 6), 0, "batches=0 does not divide x"),
    ],
)
def test_discrimination_names_bad_arguments(shape, batches, message):
    with pytest.raises(ValueError, match=message):
        gnn.MinibatchDiscrimination(6, 4, 3)(torch.ones(shape), batches)


def test_discrimination_fit_centres_the_bias_as_the_authors_code_does():
    layer, x = gnn.MinibatchDiscrimination(6, 4, 3, bias=True), torch.randn(10, 6)
    layer.fit_scale(x)
    torch.testing.assert_close(layer(x)[:, 6:].mean(0), torch.zeros(4))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.randn(1, 6), "x must have two samples in a minibatch at least, but has 1 in 1"),
        (torch.ones(4, 6), "kernel 0 gives the same result for every sample of x"),
    ],
)
def test_discrimination_scale_is_not_fitted_to_what_has_no_distances(x, message):
    with pytest.raises(ValueError, match=message):
        gnn.MinibatchDiscrimination(6, 4, 3).fit_scale(x)


@pytest.mark.parametrize("weight_norm", [False, True])
@EVERYWHERE
def test_discrimination_layer_differentiates_twice(weight_norm):
    layer = gnn.MinibatchDiscrimination(4, 3, 2, weight_norm=weight_norm, bias=True).double()
    parameters = dict(layer.named_parameters())

    def run(x, *values):
        return torch.func.functional_call(layer, dict(zip(parameters, values, strict=True)), x)

    inputs = (double(5, 4).requires_grad_(), *parameters.values())
    assert gradcheck(run, inputs, fast_mode=True)
    assert gradgradcheck(run, inputs, fast_mode=True)


LAYERS = {
    "linear": (lambda **kw: gnn.EqualizedLinear(6, 5, **kw), (3, 6), 6),
    "conv": (lambda **kw: gnn.EqualizedConv2d(6, 5, 3, padding=1, **kw), (2, 6, 4, 4), 54),
    "conv1x1": (lambda **kw: gnn.EqualizedConv2d(6, 5, 1, **kw), (2, 6, 4, 4), 6),
    "up_conv": (lambda **kw: gnn.EqualizedUpConv2d(6, 5, **kw), (2, 6, 4, 4), 54),
}


def plain(name: str, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    if name == "linear":
        return F.linear(x, weight, bias)
    if name == "up_conv":
        x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("copies", [1, 100])  # few and many samples: either the input or the weight is the smaller one
@EVERYWHERE
def test_weight_is_scaled_by_gain_over_root_fan_in_and_bias_is_not(name, copies):
    make, (n, *shape), fan_in = LAYERS[name]
    layer = make(gain=3.0).double()
    torch.nn.init.normal_(layer.bias)
    x = double(n * copies, *shape)
    expected = plain(name, x, layer.weight * (3 / math.sqrt(fan_in)), layer.bias)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("name", LAYERS)
def test_default_gain_is_root_two(name):
    make, _, fan_in = LAYERS[name]
    assert make().scale == pytest.approx(math.sqrt(2 / fan_in))


@pytest.mark.parametrize("name", LAYERS)
def test_bias_can_be_left_out(name):
    make, shape, _ = LAYERS[name]
    layer = make(bias=False).double()
    assert layer.bias is None
    assert not layer(torch.zeros(*shape, dtype=torch.float64)).any()


@pytest.mark.parametrize(
    "layer",
    [gnn.EqualizedLinear(512, 512), gnn.EqualizedConv2d(128, 128, 3), gnn.EqualizedUpConv2d(128, 128)],
    ids=["linear", "conv", "up_conv"],
)
def test_weights_start_standard_normal_and_biases_zero(layer):
    assert layer.weight.std().item() == pytest.approx(1, abs=0.01)
    assert layer.weight.mean().item() == pytest.approx(0, abs=0.01)
    assert not layer.bias.any()


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("copies", [1, 40])
@EVERYWHERE
def test_layers_differentiate_twice(name, copies):
    make, (n, *shape), _ = LAYERS[name]
    layer = make().double()
    x = double(n * copies, *shape).requires_grad_()

    def run(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, x)

    inputs = (x, layer.weight, layer.bias)
    assert gradcheck(run, inputs, fast_mode=True)
    assert gradgradcheck(run, inputs, fast_mode=True)


@EVERYWHERE
def test_up_conv_is_the_same_on_both_its_paths():
    layer = gnn.EqualizedUpConv2d(6, 5).double()
    torch.nn.init.normal_(layer.bias)
    few, many = double(2, 6, 4, 4), double(2, 6, 32, 32)
    for x in (few, many):
        fused = x.shape[0] * x.shape[2] * x.shape[3] >= layer._FUSED_FROM_PIXELS
        assert fused == (x is many)
        expected = plain("up_conv", x, layer.weight * layer.scale, layer.bias)
        torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("name", ["conv", "conv1x1", "up_conv"])
@pytest.mark.parametrize("copies", [1, 40])
@pytest.mark.parametrize("negative_slope", [None, 0.2])
@pytest.mark.parametrize("pixel_norm", [False, True])
@EVERYWHERE
def test_the_epilogue_of_a_convolution_is_leaky_relu_then_pixel_norm(name, copies, negative_slope, pixel_norm):
    make, (n, *shape), _ = LAYERS[name]
    layer = make(negative_slope=negative_slope, pixel_norm=pixel_norm).double()
    torch.nn.init.normal_(layer.bias)
    x = double(n * copies, *shape)
    expected = plain(name, x, layer.weight * layer.scale, layer.bias)
    if negative_slope is not None:
        expected = F.leaky_relu(expected, negative_slope)
    if pixel_norm:
        expected = reference.pixel_norm(expected)
    torch.testing.assert_close(layer(x), expected)
    assert set(layer.state_dict()) == {"weight", "bias"}


@pytest.mark.parametrize("size", [4, 32])
@pytest.mark.parametrize("layer", [gnn.EqualizedConv2d(6, 5, 3, padding=1), gnn.EqualizedUpConv2d(6, 5)], ids=str)
def test_convolutions_keep_channels_last(layer, size):
    layer = layer.to(memory_format=torch.channels_last)
    x = torch.randn(2, 6, size, size).to(memory_format=torch.channels_last)
    assert layer(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@EVERYWHERE
def test_layers_run_in_half_precision_under_autocast(name, dtype):
    make, shape, _ = LAYERS[name]
    layer, x = make(), torch.randn(shape)
    with torch.autocast(torch.get_default_device().type, dtype):
        y = layer(x)
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), layer(x), rtol=0.05, atol=0.05)


# The products with plain weights ~ N(0, 1) of these inputs reach 1e5, those with scaled ones 4e3.
LARGE = {
    "conv": (lambda: gnn.EqualizedConv2d(256, 8, 3, padding=1, negative_slope=0.2), (2, 256, 4, 4)),
    "up_conv": (lambda: gnn.EqualizedUpConv2d(256, 8, negative_slope=0.2, pixel_norm=True), (2, 256, 4, 4)),
    "fused_up_conv": (lambda: gnn.EqualizedUpConv2d(256, 8, negative_slope=0.2, pixel_norm=True), (64, 256, 4, 4)),
}


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("autocast", [False, True], ids=["half", "autocast"])
@EVERYWHERE
def test_the_epilogue_does_not_scale_in_float16_which_cannot_hold_the_plain_product(name, autocast):
    make, shape = LARGE[name]
    layer, x = make(), 1000 * torch.randn(shape)
    expected = layer(x)
    if autocast:
        with torch.autocast(torch.get_default_device().type, torch.float16):
            y = layer(x)
    else:
        y = layer.half()(x.half())
    assert y.dtype == torch.float16 and y.isfinite().all()
    assert (y.float() - expected).norm() <= 0.01 * expected.norm()


class Multiplications(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        self.count += op._schema.name in ("aten::mul", "aten::div")
        return op(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["conv", "conv1x1", "up_conv"])
@pytest.mark.parametrize("copies", [1, 40])
@pytest.mark.parametrize("epilogue", [{"negative_slope": 0.2}, {"negative_slope": 0.2, "pixel_norm": True}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@EVERYWHERE
def test_with_an_epilogue_no_derivative_scales_in_a_pass_of_its_own(name, copies, epilogue, dtype):
    make, (n, *shape), _ = LAYERS[name]
    layer, x = make(**epilogue), torch.randn(n * copies, *shape, requires_grad=True)
    with Multiplications() as found:
        with torch.autocast(torch.get_default_device().type, dtype, enabled=dtype != torch.float32):
            y = layer(x)
        (first,) = torch.autograd.grad(y, x, torch.ones_like(y), create_graph=True)
        torch.autograd.grad(first, list(layer.parameters()), torch.ones_like(first), allow_unused=True)
    assert found.count == 0
