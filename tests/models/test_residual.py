"""Residual blocks, modulated norms and attention, against plain formulations in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.parts.attending import attention_after
from models.parts.bottlenecks import DownBottleneck, UpBottleneck
from models.parts.modulation import Modulated, Unmodulated
from models.parts.residual import DownBlock, UpBlock

N = 3


@pytest.fixture(autouse=True)
def _float64():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def weighed(layer: nn.Module) -> nn.Module:
    """Weights and biases of the size that signals keep theirs."""
    for parameter in layer.parameters():
        nn.init.normal_(parameter, 0.0, 0.2)
    return layer


def modulated(channels: int, inputs: int = 4, hidden: int = 0) -> Modulated:
    gain, bias = (weighed(nn.Linear(hidden or inputs, channels, bias=bool(hidden))) for _ in range(2))
    return Modulated(channels, gain, bias, weighed(nn.Linear(inputs, hidden)) if hidden else None)


def plain_norm(norm: Modulated, x: Tensor, y: Tensor) -> Tensor:
    """Each sample and channel by itself."""
    if norm.hidden is not None:
        y = (y @ norm.hidden.weight.T + norm.hidden.bias).clamp(min=0)
    result = torch.empty_like(x)
    for n in range(len(x)):
        for c in range(x.shape[1]):
            gamma = 1 + norm.gain.weight[c] @ y[n] + (0 if norm.gain.bias is None else norm.gain.bias[c])
            beta = norm.bias.weight[c] @ y[n] + (0 if norm.bias.bias is None else norm.bias.bias[c])
            mean, variance = x[:, c].mean(), x[:, c].var(unbiased=False)
            result[n, c] = gamma * (x[n, c] - mean) / (variance + 1e-5).sqrt() + beta
    return result


def same_with_gradients(network: Callable[..., Tensor], plain: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Results are alike, and gradients to the inputs, and the gradients of these gradients' squares."""
    found = []
    for function in (network, plain):
        given = [x.clone().requires_grad_() for x in inputs]
        y = function(*given)
        first = torch.autograd.grad((y**3).sum(), given, create_graph=True)
        second = torch.autograd.grad(sum((g**2).sum() for g in first), given)
        found.append((y, first, second))
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("hidden", [0, 5])
def test_scales_and_shifts_are_each_samples_own(hidden):
    norm, x, y = modulated(6, hidden=hidden), torch.randn(N, 6, 4, 4), torch.randn(N, 4)
    same_with_gradients(norm, lambda x, y: plain_norm(norm, x, y), x, y)


def test_one_hot_conditions_choose_a_row_of_a_table():
    norm, x = modulated(6), torch.randn(N, 6, 4, 4)
    labels = torch.tensor([2, 0, 2])
    normal = F.batch_norm(x, None, None, training=True)
    gamma, beta = norm.gain.weight.T[labels], norm.bias.weight.T[labels]
    expected = (1 + gamma)[..., None, None] * normal + beta[..., None, None]
    torch.testing.assert_close(norm(x, F.one_hot(labels, 4).double()), expected)


def test_statistics_of_training_are_used_in_evaluation():
    norm, y = modulated(6), torch.randn(N, 4)
    for _ in range(200):
        norm(3 + 2 * torch.randn(N, 6, 8, 8), y)
    torch.testing.assert_close(norm.normal.running_mean, torch.full((6,), 3.0), rtol=0, atol=0.2)
    x = torch.randn(1, 6, 8, 8)
    scale, shift = 1 + norm.gain(y[:1]), norm.bias(y[:1])
    normal = F.batch_norm(x, norm.normal.running_mean, norm.normal.running_var)
    torch.testing.assert_close(norm.eval()(x, y[:1]), scale[..., None, None] * normal + shift[..., None, None])


def convolved(x: Tensor, layer: nn.Conv2d) -> Tensor:
    return F.conv2d(x, layer.weight, layer.bias, padding="same")


@pytest.mark.parametrize(("upsampling", "scale"), [("nearest", 1.0), ("bilinear", 0.3)])
def test_a_block_of_the_generator_is_the_papers(upsampling, scale):
    """Which doubles before the convolution of the shortcut."""
    block = UpBlock(6, 4, modulated, weighed, scale=scale, upsampling=upsampling)

    def plain(x: Tensor, y: Tensor) -> Tensor:
        def up(t: Tensor) -> Tensor:
            return nn.Upsample(scale_factor=2, mode=upsampling)(t)

        h = convolved(up(plain_norm(block.norm1, x, y).relu()), block.conv1)
        h = convolved(plain_norm(block.norm2, h, y).relu(), block.conv2)
        return scale * h + convolved(up(x), block.shortcut)

    same_with_gradients(block, plain, torch.randn(N, 6, 4, 4), torch.randn(N, 4))


def halved(x: Tensor) -> Tensor:
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def layer_normed(x: Tensor, norm: nn.Sequential) -> Tensor:
    (layer,) = norm
    return F.layer_norm(x, x.shape[1:]) * layer.weight.view(-1, 1, 1) + layer.bias.view(-1, 1, 1)


@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("down", [True, False])
def test_a_block_of_the_discriminator_is_the_papers(norm, down):
    """Which takes means behind the convolution of the shortcut."""
    block = weighed(DownBlock(4, 6, weighed, hidden=5, down=down, norm=norm, scale=0.4))

    def plain(x: Tensor) -> Tensor:
        def normed(t: Tensor, layers: nn.Sequential) -> Tensor:
            return layer_normed(t, layers) if norm == "layer" else t

        h = convolved(normed(x, block.norm1).relu(), block.conv1)
        h = 0.4 * convolved(normed(h, block.norm2).relu(), block.conv2) + convolved(x, block.shortcut)
        return halved(h) if down else h

    same_with_gradients(block, plain, torch.randn(N, 4, 4, 4))


def test_the_first_block_sees_images_without_norm_or_relu_and_takes_means_before_its_shortcut():
    block = DownBlock(3, 6, weighed, hidden=6, first=True, norm="layer")
    assert not len(block.norm1) and not len(block.norm2)

    def plain(x: Tensor) -> Tensor:
        h = convolved(convolved(x, block.conv1).relu(), block.conv2)
        return halved(h) + convolved(halved(x), block.shortcut)

    same_with_gradients(block, plain, torch.randn(N, 3, 4, 4))


def test_where_nothing_changes_the_shortcut_has_no_weights():
    block, x = DownBlock(4, 4, weighed, hidden=4, down=False), torch.randn(N, 4, 4, 4)
    h = convolved(convolved(x.relu(), block.conv1).relu(), block.conv2)
    torch.testing.assert_close(block(x), x + h)


def test_a_bottleneck_of_the_generator_leaves_out_channels():
    block = UpBottleneck(8, 6, modulated, weighed, up=True)

    def plain(x: Tensor, y: Tensor) -> Tensor:
        up = nn.Upsample(scale_factor=2)
        h = convolved(plain_norm(block.norm1, x, y).relu(), block.conv1)
        h = convolved(up(plain_norm(block.norm2, h, y).relu()), block.conv2)
        h = convolved(plain_norm(block.norm3, h, y).relu(), block.conv3)
        return up(x[:, :6]) + convolved(plain_norm(block.norm4, h, y).relu(), block.conv4)

    same_with_gradients(block, plain, torch.randn(N, 8, 4, 4), torch.randn(N, 4))


@pytest.mark.parametrize("down", [True, False])
def test_a_bottleneck_of_the_discriminator_adds_channels(down):
    block = DownBottleneck(4, 8, weighed, down=down)

    def plain(x: Tensor) -> Tensor:
        h = convolved(x.relu(), block.conv1)
        for layer in (block.conv2, block.conv3):
            h = convolved(h.relu(), layer)
        h, x = (halved(h.relu()), halved(x)) if down else (h.relu(), x)
        return convolved(h, block.conv4) + torch.cat([x, convolved(x, block.more)], 1)

    same_with_gradients(block, plain, torch.randn(N, 4, 4, 4))


def test_attention_is_that_of_sagan():
    """Zhang et al. 2019, equations 1 to 3, with the 2x2 maxima of the authors' code; each pixel by itself."""
    layer = attention_after([8, 4], [8, 16], [4], weighed)["1"]
    nn.init.constant_(layer.gamma, 0.7)

    def plain(x: Tensor) -> Tensor:
        result = []
        for image in x:
            f, g, h = (
                torch.einsum("oc,chw->ohw", part.weight[..., 0, 0], image)
                for part in (layer.query, layer.key, layer.value)
            )
            g, h = (F.max_pool2d(t[None], 2)[0].flatten(1) for t in (g, h))
            beta = torch.stack([(f.flatten(1)[:, j] @ g).softmax(0) for j in range(16)])  # of each pixel j
            attended = layer.output.weight[..., 0, 0] @ h @ beta.T
            result.append(0.7 * attended.unflatten(1, (4, 4)) + image)
        return torch.stack(result)

    same_with_gradients(layer, plain, torch.randn(N, 16, 4, 4))


def test_attention_follows_every_block_of_its_height():
    assert list(attention_after([16, 8, 8, 8], [8] * 4, [8], weighed)) == ["1", "2", "3"]
    with pytest.raises(ValueError, match=r"attention=32 is not the height of a block: there are \[8, 16\]"):
        attention_after([16, 8], [8, 8], [8, 32], weighed)


def test_a_norm_without_modulation_takes_conditions_and_ignores_them():
    norm, x = Unmodulated(4), torch.randn(N, 4, 4, 4)
    torch.testing.assert_close(norm(x, torch.randn(N, 2)), F.batch_norm(x, None, None, training=True))
