"""Residual networks of WGAN-GP and SNGAN: the papers' sizes, and where conditions, attention and norms are."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.parts.residual import EQUAL
from models.resnet import RESOLUTIONS, Discriminator, Generator

LATENT = 6


def generator(resolution: int = 16, **options) -> Generator:
    return Generator(resolution, latent_dim=LATENT, **{"width": 4, **options}).double()


def discriminator(resolution: int = 16, **options) -> Discriminator:
    return Discriminator(resolution, **{"width": 4, **options}).double()


def latents(n: int = 4) -> Tensor:
    return torch.randn(n, LATENT, dtype=torch.float64)


def images(resolution: int = 16, n: int = 4) -> Tensor:
    return torch.randn(n, 3, resolution, resolution, dtype=torch.float64)


LABELS = torch.tensor([0, 2, 1, 2])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("resolution", "g", "d"), [(32, 4_276_739, 1_053_825), (128, 32_150_787, 29_017_857)])
def test_the_papers_networks_have_as_many_parameters_as_others_count(resolution, g, d):
    with torch.device("meta"):
        assert parameters(Generator(resolution)) == g
        assert parameters(Discriminator(resolution)) == d


def test_hidden_layers_of_the_discriminator_are_as_wide_as_its_blocks_inputs():
    with torch.device("meta"):
        blocks = Discriminator(128).blocks
    assert [block.conv1.out_channels for block in blocks] == [64, 64, 128, 256, 512, 1024]
    assert [block.conv2.out_channels for block in blocks] == [64, 128, 256, 512, 1024, 1024]
    assert [block.down for block in blocks] == [True] * 5 + [False]


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_resolutions(resolution):
    x = generator(resolution, image_channels=1)(latents(2))
    assert x.shape == (2, 1, resolution, resolution) and x.abs().max() < 1
    scores = discriminator(resolution, image_channels=1)(x)
    assert scores.score.shape == (2,)
    assert [m.shape[2] for m in scores.maps][:2] == [resolution // 2, resolution // 4]


@pytest.mark.parametrize("resolution", EQUAL)
def test_maps_of_a_pyramid_halve_while_their_heights_double(resolution):
    g, d = generator(resolution, pyramid=True), discriminator(resolution, pyramid=True)
    widths = [block.conv2.out_channels for block in g.blocks]
    assert [g.dense.out_features // 4**2, *widths] == [4 * times for times in (16, 8, 4, 2)][: len(widths) + 1]
    x = g(latents(2))
    assert x.shape == (2, 3, resolution, resolution)
    shapes = [tuple(m.shape[1:3]) for m in d(x).maps]  # channels, height
    assert shapes == [(8, 16), (16, 8), (32, 4), (64, 4)][-len(widths) - 1 :]


def test_larger_networks_are_pyramids_anyway():
    for make in (generator, discriminator):
        plain, pyramid = (make(64, pyramid=pyramid).state_dict() for pyramid in (False, True))
        assert {name: t.shape for name, t in plain.items()} == {name: t.shape for name, t in pyramid.items()}


@pytest.mark.parametrize("pool", ["sum", "mean"])
def test_the_score_is_of_sums_or_means_over_the_last_maps(pool):
    d, x = discriminator(norm="layer", pool=pool), images()
    scores = d(x)
    features = getattr(scores.maps[-1].relu().flatten(2), pool)(2)
    torch.testing.assert_close(scores.score, features @ d.head.score.weight[0] + d.head.score.bias)


def test_projection_adds_the_product_of_features_and_class_vectors():
    d, x = discriminator(condition="projection", num_classes=3).eval(), images()
    with_labels = d(x, LABELS)
    features = with_labels.maps[-1].relu().sum((2, 3))
    alone = F.linear(features, d.head.score.weight, d.head.score.bias)[:, 0]
    torch.testing.assert_close(with_labels.score, alone + (d.head.embed.weight[LABELS] * features).sum(1))


def test_each_class_has_scales_and_shifts_of_its_own_but_in_the_last_norm():
    g = generator(num_classes=3)
    assert all(norm.gain.weight.shape[1] == 3 for block in g.blocks for norm in (block.norm1, block.norm2))
    assert isinstance(g.norm, nn.BatchNorm2d)
    z = latents(1).expand(4, -1)
    g.eval()
    torch.testing.assert_close(g(z, LABELS)[0], g(z, LABELS)[1])  # they start alike
    for block in g.blocks:
        nn.init.normal_(block.norm1.gain.weight)
    x = g(z, LABELS)
    torch.testing.assert_close(x[1], x[3])
    assert not torch.allclose(x[0], x[1])


def watched(g: Generator, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What its norms are given beside maps."""
    seen: list[Tensor] = []
    norms = [norm for block in g.blocks for norm in (block.norm1, block.norm2)]
    for norm in [*norms, g.norm]:
        norm.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    return seen


def test_self_modulation_gives_all_norms_the_latents(monkeypatch):
    g, z = generator(self_modulation=5), latents()
    seen = watched(g, monkeypatch)
    g(z)
    assert len(seen) == 2 * len(g.blocks) + 1 and all(torch.equal(y, z) for y in seen)
    assert g.norm.hidden.out_features == 5


def test_with_labels_self_modulation_sees_them_joined_to_the_latents(monkeypatch):
    g, z = generator(self_modulation=5, num_classes=3), latents()
    for table in (g.shift, g.product):
        nn.init.normal_(table.weight)
    seen = watched(g, monkeypatch)
    g(z, LABELS)
    expected = z + g.shift.weight.T[LABELS] + z * g.product.weight.T[LABELS]
    for y in seen:
        torch.testing.assert_close(y, expected)


def test_attention_starts_as_if_there_were_none():
    torch.manual_seed(1)
    with_attention, x, z = discriminator(norm="layer", attention=(8,)), images(), latents()
    g = generator(attention=(8,))
    without = discriminator(norm="layer")
    kept = {name: value for name, value in with_attention.state_dict().items() if "attention" not in name}
    without.load_state_dict(kept)
    torch.testing.assert_close(with_attention(x).score, without(x).score)
    assert list(with_attention.attention) == ["0"] and list(g.attention) == ["0"]
    before = g(z)
    nn.init.constant_(g.attention["0"].gamma, 1.0)
    assert not torch.allclose(g(z), before)


def layers(network: nn.Module) -> list[nn.Module]:
    kinds = (nn.Conv2d, nn.Linear)
    return [m for m in network.modules() if isinstance(m, kinds)]


@pytest.mark.parametrize("make", [discriminator, lambda **o: generator(spectral=True, **o)], ids=["D", "G"])
def test_spectral_norm_is_of_all_layers_attention_included(make):
    network = make(attention=(8,))
    given = images(n=1) if isinstance(network, Discriminator) else latents(2)
    with torch.no_grad():
        for _ in range(100):  # power iterations
            network(given)
    for layer in layers(network):
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=1e-2)


def test_weights_start_as_glorots_with_more_gain_behind_relus():
    d = discriminator(width=32, norm="none")
    block = d.blocks[1]
    for layer, gain in ((block.conv1, 2), (block.shortcut, 1)):
        fan = layer.weight[0].numel() + layer.weight[:, 0].numel()
        assert layer.weight.var().item() == pytest.approx(gain * 2 / fan, rel=0.05)
        assert not layer.bias.any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: generator(24), "resolution=24 is not one of 8, 16, 32, 48, 64, 128"),
        (lambda: generator(upsampling="cubic"), "upsampling='cubic'"),
        (lambda: generator(scale=1.5), "scale=1.5"),
        (lambda: generator(attention=(5,)), "attention=5 is not the height of a block"),
        (lambda: discriminator(norm="batch"), "norm='batch'"),
        (lambda: discriminator(pool="max"), "pool='max'"),
        (lambda: discriminator(condition="cgan", num_classes=3), "condition='cgan'"),
        (lambda: generator()(torch.zeros(2, LATENT + 1)), r"z is \[2, 7\], not \[N, 6\]"),
        (lambda: generator()(latents(), LABELS), "num_classes=0"),
        (lambda: generator(num_classes=3)(latents()), "labels are needed"),
        (lambda: discriminator()(images(8)), r"x is \[4, 3, 8, 8\], not \[N, 3, 16, 16\]"),
        (lambda: discriminator()(images(), LABELS), "takes none"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
