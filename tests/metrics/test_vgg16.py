"""VGG-16 with torchvision's names of weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gan_ops.metrics.vgg16 import Vgg16

CONVOLUTIONS = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 17: 512, 19: 512, 21: 512}
CONVOLUTIONS |= {24: 512, 26: 512, 28: 512}
"""Channels by places in torchvision's ``vgg16().features``."""


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    random, inputs, state = torch.Generator().manual_seed(0), 3, {}
    for place, width in CONVOLUTIONS.items():
        weight = torch.randn(width, inputs, 3, 3, generator=random) / (4.5 * inputs) ** 0.5
        state |= {f"features.{place}.weight": weight, f"features.{place}.bias": 0.1 * torch.randn(width)}
        inputs = width
    return state


@pytest.fixture(scope="module")
def images() -> Tensor:
    return 2 * torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) - 1


def plain(images: Tensor, state: dict[str, Tensor]) -> list[Tensor]:
    """The maps before each pooling and at the end, in float64."""
    mean, deviation = (torch.tensor(v).double()[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    x, maps = ((images.double() + 1) / 2 - mean) / deviation, []
    for place in range(31):
        if place in CONVOLUTIONS:
            x = F.conv2d(x, state[f"features.{place}.weight"].double(), state[f"features.{place}.bias"].double(), 1, 1)
        elif place - 1 in CONVOLUTIONS:
            x = x.clamp_min(0)
        else:
            maps.append(x)
            x = F.max_pool2d(x, 2)
    return maps


def test_its_distances_are_those_of_the_normalised_maps_before_each_pooling(weights, images) -> None:
    maps = plain(images, weights)
    assert [tuple(m.shape[1:]) for m in maps] == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2)]
    expected = torch.zeros(()).double()
    for m in maps:
        unit = m / m.norm(dim=1, keepdim=True)
        expected += (unit[0] - unit[1]).square().sum(0).mean()
    features = Vgg16(weights)(images)
    assert (features[0] - features[1]).square().sum().item() == pytest.approx(expected.item(), rel=1e-4)


def test_it_sees_grey_images_in_three_equal_colours(weights, images) -> None:
    network, grey = Vgg16(weights), images[:, :1]
    torch.testing.assert_close(network(grey), network(grey.expand(-1, 3, -1, -1)))


def test_gradients_flow_to_the_images_and_to_no_weight(weights, images) -> None:
    network, images = Vgg16(weights), images.clone().requires_grad_()
    network(images).square().sum().backward()
    assert images.grad.abs().sum() > 0 and all(p.grad is None for p in network.parameters())


def test_large_images_are_averaged_to_256(weights) -> None:
    images = torch.rand(1, 1, 512, 512, generator=torch.Generator().manual_seed(0)) * 2 - 1
    network = Vgg16(weights)
    torch.testing.assert_close(network(images), network(F.avg_pool2d(images, 2)))


def test_other_weights_and_other_images_are_named(weights, images) -> None:
    with pytest.raises(ValueError, match=r"there is no features\.28\.bias: these are not the weights of torchvision's"):
        Vgg16({name: tensor for name, tensor in weights.items() if name != "features.28.bias"})
    with pytest.raises(ValueError, match=r"features\.0\.weight is \[64, 1, 3, 3\], and of vgg16 \[64, 3, 3, 3\]"):
        Vgg16({**weights, "features.0.weight": torch.zeros(64, 1, 3, 3)})
    with pytest.raises(ValueError, match=r"images are \[2, 3, 8, 8\], not \[N, 1 or 3, H, W\] of at least 16 pixels"):
        Vgg16(weights)(images[:, :, :8, :8])
