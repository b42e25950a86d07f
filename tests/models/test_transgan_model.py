"""TransGAN's networks: blocks against plain formulations, grids, positions, scales, and the paper's sizes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.parts.transformer import (
    TOKEN_NORMS,
    Attention,
    Block,
    Stage,
    as_maps,
    as_tokens,
    cell_height,
    cells,
    joined,
    shuffled,
    token_norm,
)
from models.transgan import Discriminator, Generator, generator_stages


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def tokens(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def generator(resolution: int = 16, **options) -> Generator:
    sizes = {"latent_dim": 5, "width": 32, "blocks": (1, 2), "heads": 2, "window": 4}
    return Generator(resolution, **{**sizes, **options}).double()


def discriminator(resolution: int = 16, **options) -> Discriminator:
    return Discriminator(resolution, **{"width": 16, "blocks": 1, "heads": 2, "window": 2, **options}).double()


def images(n: int = 3, resolution: int = 16) -> Tensor:
    return torch.randn(n, 3, resolution, resolution, dtype=torch.float64)


# ---- plain formulations


def plain_attention(layer: Attention, x: Tensor) -> Tensor:
    """Head by head and pair by pair."""
    _, length, channels = x.shape
    width = channels // layer.heads
    parts = (x @ layer.qkv.weight.T).split(channels, 2)
    heads = []
    for head in range(layer.heads):
        q, k, v = (part[..., head * width : (head + 1) * width] for part in parts)
        scores = q @ k.transpose(1, 2) / math.sqrt(width)
        if h := layer.height:
            bias = torch.stack(
                [
                    layer.positions[head, j // h - i // h + h - 1, j % h - i % h + h - 1]
                    for i in range(length)
                    for j in range(length)
                ]
            )
            scores = scores + bias.view(length, length)
        weights = scores.exp() / scores.exp().sum(2, keepdim=True)
        heads.append(weights @ v)
    return torch.cat(heads, 2) @ layer.output.weight.T + layer.output.bias


def plain_norm(norm: nn.Module, name: str, x: Tensor) -> Tensor:
    if name == "layer":
        centred = x - x.mean(-1, keepdim=True)
        normal = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return normal * norm.weight + norm.bias
    return x / (x.square().mean(-1, keepdim=True) + 1e-8).sqrt() if name == "pixel" else x


def plain_block(block: Block, name: str, x: Tensor) -> Tensor:
    x = x + plain_attention(block.attention, plain_norm(block.norm1, name, x))
    hidden = plain_norm(block.norm2, name, x) @ block.hidden.weight.T + block.hidden.bias
    gelu = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    return x + gelu @ block.output.weight.T + block.output.bias


def to_second_order(output: Tensor, x: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    """The output, its gradient by x, and that of this gradient's length by everything."""
    random = torch.Generator().manual_seed(1)
    weight = torch.randn(output.shape, generator=random, dtype=output.dtype)
    (gradient,) = torch.autograd.grad((output * weight).sum(), x, create_graph=True)
    second = torch.autograd.grad(gradient.square().sum(), [x, *parameters], allow_unused=True)
    return [output, gradient, *(torch.zeros(()) if one is None else one for one in second)]


@pytest.mark.parametrize("height", [0, 3])
@pytest.mark.parametrize("name", TOKEN_NORMS)
def test_a_block_is_the_plain_formulation_to_the_second_derivative(name: str, height: int) -> None:
    block = Block(6, 2, height, name).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, 0, 0.5)
    x, given = tokens(2, height**2 or 5, 6), list(block.parameters())
    ours, plain = (to_second_order(f(x), x, given) for f in (block, lambda x: plain_block(block, name, x)))
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_attention_with_the_class_token_has_no_positions() -> None:
    assert not any("positions" in name for name, _ in Attention(6, 2, 0).named_parameters())


def test_positions_count_by_their_distance_alone() -> None:
    layer = Attention(4, 2, 3).double()
    bias = layer.bias()
    assert bias.shape == (2, 9, 9)
    assert torch.equal(bias[:, 0, 4], bias[:, 4, 8]) and torch.equal(bias[:, 1, 3], bias[:, 4, 6])
    assert not torch.equal(bias[:, 0, 4], bias[:, 4, 0])


# ---- maps


def test_grid_attention_is_that_of_each_cell_by_itself() -> None:
    stage = Stage(6, 2, heads=2, height=6, window=2, norm="pixel").double()
    assert stage.cell == 2
    x = tokens(2, 36, 6)
    grid = as_maps(x + stage.positions, 6)
    expected = torch.empty_like(grid)
    for i in range(0, 6, 2):
        for j in range(0, 6, 2):
            cell = as_tokens(grid[:, :, i : i + 2, j : j + 2])
            for block in stage.blocks:
                cell = block(cell)
            expected[:, :, i : i + 2, j : j + 2] = as_maps(cell, 2)
    torch.testing.assert_close(as_maps(stage(x), 6), expected, rtol=0, atol=1e-12)


def test_maps_up_to_twice_the_window_are_attended_whole() -> None:
    assert [cell_height(height, 16) for height in (8, 16, 32, 48, 64, 128)] == [8, 16, 32, 16, 16, 16]
    with pytest.raises(ValueError, match="window=16 does not divide the 40 rows"):
        cell_height(40, 16)


@pytest.mark.parametrize("cell", [1, 2, 3, 6])
def test_cells_are_joined_to_what_they_were(cell: int) -> None:
    x = tokens(2, 36, 5)
    parts = cells(x, 6, cell)
    assert parts.shape == (2 * (6 // cell) ** 2, cell**2, 5)
    assert torch.equal(joined(parts, 6, cell), x)


def test_channels_become_pixels_as_torch_shuffles_them() -> None:
    x = tokens(2, 9, 8)
    assert torch.equal(as_maps(shuffled(x, 3), 6), F.pixel_shuffle(as_maps(x, 3), 2))


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="norm='batch' is not one of pixel, layer, none"):
        token_norm("batch", 4)


# ---- the generator


@pytest.mark.parametrize(
    ("resolution", "stages", "upsampling", "heights", "widths"),
    [
        (32, 3, "shuffle", [8, 16, 32], [1024, 256, 64]),  # CIFAR-10
        (48, 3, "shuffle", [12, 24, 48], [1024, 256, 64]),  # STL-10
        (256, 6, "bicubic", [8, 16, 32, 64, 128, 256], [1024, 1024, 1024, 256, 64, 16]),  # LSUN church, CelebA-HQ
    ],
)
def test_stages_are_the_papers(resolution, stages, upsampling, heights, widths) -> None:
    assert generator_stages(resolution, 1024, stages, upsampling, 4, 16) == (heights, widths)


def test_the_cifar_10_networks_have_the_papers_blocks() -> None:
    with torch.device("meta"):
        g, d = Generator(32), Discriminator(32)
    assert [len(stage.blocks) for stage in g.stages] == [5, 4, 2]
    assert [(len(stage.blocks), stage.height) for stage in d.stages] == [(3, 16), (3, 8)]
    assert [layer.out_features for layer in d.from_rgb] == [288, 96] and d.head.score.in_features == 384


def test_large_maps_alone_have_cells() -> None:
    with torch.device("meta"):
        g = Generator(128, width=256, blocks=(1,) * 5, upsampling="bicubic")
    assert [stage.cell for stage in g.stages] == [8, 16, 32, 16, 16]


@pytest.mark.parametrize("upsampling", ["shuffle", "bicubic"])
@pytest.mark.parametrize("norm", TOKEN_NORMS)
def test_images_are_of_the_resolution_in_channels_last(norm: str, upsampling: str) -> None:
    x = generator(norm=norm, upsampling=upsampling, image_channels=2)(torch.randn(3, 5).double())
    assert x.shape == (3, 2, 16, 16) and x.is_contiguous(memory_format=torch.channels_last)


def test_labels_are_joined_to_the_latents() -> None:
    g, z = generator(num_classes=3), torch.randn(2, 5).double()
    one, other = (g(z, torch.tensor(labels)) for labels in ([0, 1], [0, 2]))
    assert torch.equal(one[0], other[0]) and not torch.allclose(one[1], other[1])
    with pytest.raises(ValueError, match="labels are needed by a network with num_classes=3"):
        g(z)
    with pytest.raises(ValueError, match=r"^labels were given to a generator with num_classes=0"):
        generator()(z, torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"blocks": (1,) * 5}, "resolution=16 is no first height of 2 or more, doubled by 5 stages"),
        ({"width": 6}, "width=6 cannot be divided by 4 once more before the stage at 16x16"),
        ({"heads": 3}, "heads=3 does not divide the 32 channels at 8x8"),
        ({"upsampling": "nearest"}, "upsampling='nearest' is neither shuffle nor bicubic"),
    ],
)
def test_sizes_that_do_not_come_out_even_are_refused(options, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        generator(**options)


# ---- the discriminator


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_each_scale_has_a_map_of_half_the_height(scales: int) -> None:
    scores = discriminator(scales=scales)(images())
    widths = {1: [16], 2: [12, 16], 3: [12, 14, 16]}[scales]
    assert [tuple(m.shape[1:]) for m in scores.maps] == [(w, 8 >> i, 8 >> i) for i, w in enumerate(widths)]
    assert scores.score.shape == (3,)


def test_every_scale_sees_the_images() -> None:
    d, x = discriminator(scales=3), images()
    for layer in d.from_rgb:
        before = d(x).score
        nn.init.zeros_(layer.weight)
        assert not torch.allclose(d(x).score, before)


def test_patches_are_those_of_a_strided_convolution() -> None:
    d, x = discriminator(patch=4, scales=1), images()
    weight = d.from_rgb[0].weight.view(16, 3, 4, 4)
    expected = as_tokens(F.conv2d(x, weight, d.from_rgb[0].bias, stride=4))
    torch.testing.assert_close(d.from_rgb[0](as_tokens(F.pixel_unshuffle(x, 4))), expected)


def test_all_parameters_bear_on_the_score() -> None:
    for network in (discriminator(scales=3), generator()):
        x = images() if isinstance(network, Discriminator) else torch.randn(3, 5).double()
        out = network(x)
        (out.score if isinstance(network, Discriminator) else out.square()).sum().backward()
        assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("kernels", [0, 4])
def test_a_sample_is_judged_by_itself_unless_it_is_compared(kernels: int) -> None:
    d, x = discriminator(minibatch_kernels=kernels), images(4)
    d.fit_minibatch(x)
    alone = torch.cat([d(x[i : i + 1]).score for i in range(4)])
    assert d.sees_batch == (kernels > 0)
    assert torch.allclose(d(x).score, alone) == (kernels == 0)


def test_interleaved_minibatches_are_judged_one_by_one() -> None:
    d, x = discriminator(minibatch_kernels=4), images(6)
    both = d(x, batches=2).score
    torch.testing.assert_close(both[0::2], d(x[0::2]).score)
    torch.testing.assert_close(both[1::2], d(x[1::2]).score)


def test_vectors_are_kept() -> None:
    assert discriminator(outputs=5)(images()).score.shape == (3, 5)


def test_projection_adds_the_product_of_the_token_with_the_classs_vector() -> None:
    d, x = discriminator(condition="projection", num_classes=3), images(2)
    one, other = (d(x, torch.tensor(labels)).score for labels in ([0, 1], [0, 2]))
    token, vectors = d._features(x)[0], d.head.embed.weight
    torch.testing.assert_close(
        other - one, torch.stack([torch.zeros(()).double(), token[1] @ (vectors[2] - vectors[1])])
    )
    with pytest.raises(ValueError, match=r"labels were given to a discriminator with condition='none'"):
        discriminator()(x, torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"condition": "cgan", "num_classes": 3}, "condition='cgan': this discriminator has no maps"),
        ({"patch": 3}, "patch=3, doubled for each of scales=2, does not divide resolution=16"),
        ({"width": 18}, "width=18 is not divisible by 4, as scales=2 has it"),
        ({"heads": 5}, "heads=5 does not divide the 12 channels at 8x8"),
    ],
)
def test_a_discriminator_whose_sizes_do_not_come_out_even_is_refused(options, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        discriminator(**options)
