"""CycleGAN's networks: the paper's structure, what a score depends on, and sizes that cannot be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gan_ops.objectives import Hinge, LeastSquares, NonSaturating
from models.translation import PatchCritic, Translator, most_layers


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def of_kind(network: nn.Module, *kinds: type[nn.Module]) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, kinds)]


# --- the translator


def test_the_papers_translator_at_256_pixels():
    with torch.device("meta"):
        network = Translator(256)
    layers = of_kind(network, nn.Conv2d, nn.ConvTranspose2d)
    c7s1, down, blocks, up, last = layers[:1], layers[1:3], layers[3:21], layers[21:23], layers[23:]
    assert [(c.kernel_size, c.stride, c.out_channels) for c in c7s1] == [((7, 7), (1, 1), 64)]
    assert [(c.kernel_size, c.stride, c.out_channels) for c in down] == [((3, 3), (2, 2), 128), ((3, 3), (2, 2), 256)]
    assert {(c.kernel_size, c.stride, c.in_channels, c.out_channels) for c in blocks} == {((3, 3), (1, 1), 256, 256)}
    assert [(c.kernel_size, c.stride, c.out_channels) for c in up] == [((3, 3), (2, 2), 128), ((3, 3), (2, 2), 64)]
    assert [(c.kernel_size, c.out_channels) for c in last] == [((7, 7), 3)]
    assert isinstance(network.layers[-1], nn.Tanh)
    assert len(of_kind(network, nn.InstanceNorm2d)) == len(layers) - 1
    # 11.378 million, as the authors' code says of its "resnet_9blocks".
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(11.378e6, abs=15e3)


@pytest.mark.parametrize("resolution", [8, 16, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_translation_is_an_image_like_its_input(resolution, channels):
    x = torch.rand(2, channels, resolution, resolution) * 2 - 1
    y = Translator(resolution, image_channels=channels, width=4, blocks=1)(x)
    assert y.shape == x.shape and y.dtype == torch.float32 and y.abs().max() < 1


def test_a_translation_depends_on_its_own_input_alone():
    network = Translator(16, width=4, blocks=2).double()
    x = torch.rand(3, 3, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(network(x)[1:2], network(x[1:2]), rtol=1e-12, atol=1e-12)


def test_a_block_adds_to_its_input():
    block = Translator(16, width=4, blocks=1).layers[10]
    for parameter in block.parameters():
        parameter.data.zero_()
    x = torch.randn(2, 16, 4, 4)
    assert torch.equal(block(x), x)


def test_nothing_is_seen_beyond_the_edge():
    """Reflection at the border (appendix 7.2): zeros there would be an edge that flat images have not."""
    network = Translator(32, width=4, blocks=1).double()
    with torch.no_grad():
        stem = network.layers[:2](torch.full((1, 3, 32, 32), 0.3, dtype=torch.float64))
    torch.testing.assert_close(stem, stem[:, :, 16:17, 16:17].expand_as(stem), rtol=1e-12, atol=1e-12)


# --- the critic


def test_the_papers_critic_at_256_pixels():
    with torch.device("meta"):
        network = PatchCritic(256)
    layers = of_kind(network, nn.Conv2d)
    assert [c.out_channels for c in layers] == [64, 128, 256, 512, 1]
    assert [c.stride[0] for c in layers] == [2, 2, 2, 1, 1]
    assert {c.kernel_size for c in layers} == {(4, 4)}
    assert [len(of_kind(block, nn.InstanceNorm2d)) for block in network.blocks] == [0, 1, 1, 1]
    assert {m.negative_slope for m in of_kind(network, nn.LeakyReLU)} == {0.2}
    # 2.765 million, as the authors' code says of its "basic" one of three layers.
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(2.765e6, abs=5e3)


@pytest.mark.parametrize(("layers", "patch"), [(1, 16), (2, 34), (3, 70)])
def test_a_score_depends_on_a_patch(layers, patch):
    """What is beyond acts through instance norm alone, which is left out here."""
    network = PatchCritic(256, width=2, layers=layers).double()
    for block in network.blocks:
        for i, module in enumerate(block):
            if isinstance(module, nn.InstanceNorm2d):
                block[i] = nn.Identity()
    for convolution in of_kind(network, nn.Conv2d):
        nn.init.uniform_(convolution.weight, 0.5, 1)  # no two paths cancel
    x = torch.rand(1, 3, 256, 256, dtype=torch.float64, requires_grad=True)
    score = network(x).score
    middle = score.shape[1] // 2
    (gradient,) = torch.autograd.grad(score[0, middle, middle], x)
    rows, columns = gradient[0].abs().sum(0).nonzero().unbind(1)
    assert [int(axis.max() - axis.min()) + 1 for axis in (rows, columns)] == [patch, patch]


@pytest.mark.parametrize(
    ("resolution", "layers", "height"), [(256, 3, 30), (32, 1, 14), (32, 2, 6), (32, 3, 2), (8, 1, 2)]
)
def test_scores_are_maps_and_maps_are_those_of_all_blocks(resolution, layers, height):
    scores = PatchCritic(resolution, width=2, layers=layers)(torch.rand(2, 3, resolution, resolution))
    assert scores.score.shape == (2, height, height)
    assert [m.shape[1] for m in scores.maps] == [2 * min(2**i, 8) for i in range(layers + 1)]


@pytest.mark.parametrize("objective", [LeastSquares(), NonSaturating(), Hinge()], ids=lambda o: type(o).__name__)
def test_objectives_take_means_over_all_patches(objective):
    real, fake = (PatchCritic(16, width=2, layers=1)(torch.rand(3, 3, 16, 16)) for _ in range(2))
    patches = [list(scores.score.flatten()) for scores in (real, fake)]
    d = sum(objective.d(r[None], f[None]) for r, f in zip(*patches, strict=True)) / len(patches[0])
    torch.testing.assert_close(objective.d(real, fake), d)
    torch.testing.assert_close(objective.g(fake), sum(objective.g(f[None]) for f in patches[1]) / len(patches[1]))


@pytest.mark.parametrize("resolution", [8, 12, 16, 24, 32, 256])
def test_the_deepest_critic_leaves_scores_and_a_deeper_one_would_not(resolution):
    most = most_layers(resolution)
    with torch.device("meta"):
        assert PatchCritic(resolution, width=2, layers=most)(torch.rand(1, 3, resolution, resolution)).score.numel()
        with pytest.raises(ValueError, match=f"layers={most + 1} is not from 1 to {most}"):
            PatchCritic(resolution, width=2, layers=most + 1)
    assert resolution // 2 ** (most + 1) - 2 < 1


# --- both


def networks(resolution: int = 16) -> list[nn.Module]:
    return [Translator(resolution, width=4, blocks=1), PatchCritic(resolution, width=4, layers=2)]


def test_weights_start_as_in_the_paper():
    for network in (Translator(32, width=32, blocks=2), PatchCritic(32, width=32, layers=2)):
        for convolution in of_kind(network, nn.Conv2d, nn.ConvTranspose2d):
            assert convolution.weight.std().item() == pytest.approx(0.02, rel=0.06)
            assert convolution.bias is None or not convolution.bias.any()


def test_outputs_are_wider_than_what_networks_compute_in():
    for network in networks():
        with torch.autocast("cpu", torch.bfloat16):
            result = network(torch.rand(2, 3, 16, 16))
        assert (result if isinstance(result, Tensor) else result.score).dtype == torch.float32


def test_a_critics_bias_before_a_norm_would_be_lost_and_is_not_there():
    for network in networks():
        for parameter in network.parameters():
            parameter.grad = None
        result = network(torch.rand(2, 3, 16, 16))
        (result if isinstance(result, Tensor) else result.score).square().mean().backward()
        assert all(p.grad.abs().max() > 1e-9 for p in network.parameters())


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 1, 16, 16), (3, 16, 16)])
def test_images_of_another_shape_are_refused(shape):
    for network in networks():
        with pytest.raises(ValueError, match=r"not \[N, 3, 16, 16\]"):
            network(torch.zeros(shape))


@pytest.mark.parametrize("resolution", [4, 10])
def test_resolutions_that_a_translator_cannot_have(resolution):
    with pytest.raises(ValueError, match=f"resolution={resolution} is not a multiple of 4 from 8 on"):
        Translator(resolution)
