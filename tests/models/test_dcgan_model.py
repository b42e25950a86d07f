"""DCGAN's networks: the paper's structure, every norm, and what a discriminator may see of the batch."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from models.dcgan import Discriminator, Generator
from models.parts.norms import D_NORMS, G_NORMS, norm_layer

LATENT = 6
SIZES = {"width": 4}


def generator(resolution: int = 16, **options) -> Generator:
    return Generator(resolution, latent_dim=LATENT, **{**SIZES, "reference_batch": 5, **options}).double()


def discriminator(resolution: int = 16, **options) -> Discriminator:
    return Discriminator(resolution, **{**SIZES, **options}).double()


def latents(n: int = 8) -> Tensor:
    return torch.randn(n, LATENT, dtype=torch.float64)


def images(resolution: int = 16, n: int = 8) -> Tensor:
    return torch.randn(n, 3, resolution, resolution, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def convolutions(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]


# --- structure


def test_the_papers_networks_at_64_pixels():
    g, d = Generator(64, width=128, kernel_size=5), Discriminator(64, width=64, kernel_size=5)
    assert [c.out_channels for c in convolutions(g)] == [1024, 512, 256, 128, 3]
    assert [c.out_channels for c in convolutions(d)] == [64, 128, 256, 512]
    assert {c.stride for c in convolutions(d)} == {(2, 2)}
    assert [isinstance(m, nn.Tanh | nn.ReLU) for m in g.layers if not convolutions(m)].count(True) == 5
    assert not any(isinstance(m, nn.MaxPool2d | nn.AvgPool2d) for m in [*g.modules(), *d.modules()])
    assert d.head.score.in_features == 512 * 4 * 4  # no hidden dense layer between the last maps and the score


def test_no_norm_at_gs_output_and_ds_input():
    norms = nn.BatchNorm2d
    assert sum(isinstance(m, norms) for m in generator(64).modules()) == 4
    assert not isinstance(generator().layers[-2], norms)
    d = discriminator(64)
    assert [any(isinstance(m, norms) for m in block) for block in d.blocks.values()] == [False, True, True, True]


def test_weights_start_as_in_the_paper():
    g, d = Generator(64), Discriminator(64)
    for module in [*convolutions(g), *convolutions(d), d.head.score]:
        assert module.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert module.bias is None or not module.bias.any()
    for module in g.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.weight.mean().item() == pytest.approx(1, abs=0.02) and not module.bias.any()


@pytest.mark.parametrize("kernel_size", [4, 5])
@pytest.mark.parametrize("resolution", [8, 16, 32, 64, 128])
def test_resolutions(resolution, kernel_size):
    options = {"image_channels": 1, "kernel_size": kernel_size}
    x = generator(resolution, **options)(latents(2))
    assert x.shape == (2, 1, resolution, resolution) and x.abs().max() < 1
    assert discriminator(resolution, **options)(x).score.shape == (2,)


@pytest.mark.parametrize("weight_norm", [False, True])
@pytest.mark.parametrize("norm", G_NORMS)
def test_every_norm_in_both_networks_keeps_the_scale_of_signals_and_has_two_derivatives(norm, weight_norm):
    if weight_norm and norm == "spectral":
        with pytest.raises(ValueError, match="weight_norm cannot be combined with norm='spectral'"):
            generator(norm=norm, weight_norm=True)
        return
    x = generator(norm=norm, weight_norm=weight_norm)(latents())
    assert 0.05 < x.std() < 0.9 or norm == "spectral"  # which bounds layers and does not normalise signals
    x.square().sum().backward()
    if norm not in D_NORMS:
        return
    d = discriminator(norm=norm, weight_norm=weight_norm)
    x = images().requires_grad_()
    (gradient,) = torch.autograd.grad(d(x).score.sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert gradient.abs().max() > 1e-4
    # The score's gradient does not depend on the bias of the score.
    assert all(
        p.grad is not None and p.grad.isfinite().all() for n, p in d.named_parameters() if n != "head.score.bias"
    )


@pytest.mark.parametrize("resolution", [16, 64, 128])
def test_without_a_norm_signals_keep_their_scale_through_every_layer(resolution):
    g = generator(resolution, norm="none", width=16)
    h, scales = latents(16), []
    for layer in g.layers:
        h = layer(h)
        if isinstance(layer, nn.ConvTranspose2d):
            scales.append(h.std().item())
    assert all(0.5 < scale < 2 for scale in scales), scales


@pytest.mark.parametrize(("channels", "groups"), [(16, 1), (32, 2), (128, 8), (8, 1), (48, 3), (6, 3)])
def test_groups_have_16_channels_where_that_divides(channels, groups):
    (norm,) = norm_layer("group", channels)
    assert norm.num_groups == groups


def test_spectral_norm_makes_every_layer_1_lipschitz():
    d = discriminator(norm="spectral")
    for _ in range(200):  # power iterations
        d(images(n=1))
    for module in [*convolutions(d), d.head.score]:
        assert torch.linalg.matrix_norm(module.weight.flatten(1), 2).item() == pytest.approx(1, abs=1e-3)


def test_weight_norm_makes_length_and_direction_of_filters_parameters():
    d = discriminator(norm="none", weight_norm=True)
    layer = d.blocks["4"][0]
    with torch.no_grad():
        layer.parametrizations.weight.original0.fill_(3)
    lengths = layer.weight.flatten(1).norm(dim=1)  # one an output channel
    torch.testing.assert_close(lengths, torch.full_like(lengths, 3))
    transposed = generator(weight_norm=True).layers[1]
    assert transposed.parametrizations.weight.original0.numel() == transposed.out_channels


# --- batches


@pytest.mark.parametrize("options", [{"minibatch_kernels": 3}, {"num_classes": 4, "condition": "k+1"}], ids=str)
@pytest.mark.parametrize("norm", D_NORMS)
def test_interleaved_minibatches_are_scored_as_one_by_one(norm, options):
    d = discriminator(norm=norm, **options).eval()  # eval stops the spectral norm's iterations
    if norm == "batch":
        d.train()
    x = images()
    for together, part in zip(d(x, batches=2).parted(2), (x[0::2], x[1::2]), strict=True):
        torch.testing.assert_close(together, d(part))


@pytest.mark.parametrize(("norm", "kernels", "sees"), [("batch", 0, True), ("layer", 0, False), ("none", 3, True)])
def test_what_compares_samples_says_so(norm, kernels, sees):
    assert discriminator(norm=norm, minibatch_kernels=kernels).sees_batch is sees


@pytest.mark.parametrize("norm", sorted(set(G_NORMS) - {"batch"}))
def test_an_image_does_not_depend_on_its_batch_companions(norm):
    g = generator(norm=norm).eval()
    z = latents()
    for context in (torch.enable_grad, torch.no_grad):
        with context():
            torch.testing.assert_close(g(z)[:2], g(z[:2]))


def test_with_batch_norm_it_does():
    g = generator()
    z = latents()
    assert not torch.allclose(g(z)[:2], g(z[:2]), rtol=1e-3)


def test_a_copy_and_a_checkpoint_carry_the_reference_batch():
    g, other = generator(norm="virtual"), generator(norm="virtual")
    z = latents()
    expected = g(z)
    assert not torch.allclose(other(z), expected)
    other.load_state_dict(g.state_dict())
    torch.testing.assert_close(other(z), expected, rtol=0, atol=0)
    torch.testing.assert_close(copy.deepcopy(g)(z), expected, rtol=0, atol=0)


def test_minibatch_discrimination_tells_a_collapsed_batch_from_a_varied_one():
    d = discriminator(minibatch_kernels=5, norm="layer")
    x = images()
    d.fit_minibatch(x)
    same = x[:1].expand_as(x)
    assert not torch.allclose(d(same).score[0], d(x).score[0])
    without = discriminator(norm="layer")
    torch.testing.assert_close(without(same).score[0], without(x).score[0])


def test_fitted_kernels_see_neighbours():
    d = discriminator(minibatch_kernels=5)
    x = images()
    d.fit_minibatch(x)
    maps = d(x).maps[-1]
    closeness = d.minibatch(maps.mean((2, 3)))[:, maps.shape[1] :] - 1  # without the sample itself
    assert 0.01 < closeness.mean() < 7 * math.exp(-0.5)


# --- classes and maps


def test_k_logits_score_real_against_generated():
    d = discriminator(num_classes=4, condition="k+1")
    scores = d(images())
    assert scores.logits.shape == (8, 4)
    torch.testing.assert_close(scores.score, scores.logits.exp().sum(1).log())


def test_maps_are_what_the_blocks_give():
    d, x = discriminator(), images()
    maps = d(x).maps
    assert [tuple(m.shape) for m in maps] == [(8, 4, 8, 8), (8, 8, 4, 4)]
    assert torch.equal(d.blocks["8"](x), maps[0]) and torch.equal(d.blocks["4"](maps[0]), maps[1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: generator(24), "resolution=24"),
        (lambda: discriminator(4), "resolution=4"),
        (lambda: generator(kernel_size=3), "kernel_size=3"),
        (lambda: generator(norm="bacth"), "norm='bacth'"),
        (lambda: discriminator(norm="virtual"), "norm='virtual'"),
        (lambda: generator()(torch.zeros(2, LATENT + 1)), r"z is \[2, 7\], not \[N, 6\]"),
        (lambda: discriminator()(torch.zeros(2, 3, 8, 8)), r"x is \[2, 3, 8, 8\], not \[N, 3, 16, 16\]"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
