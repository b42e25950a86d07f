"""StyleGAN2's networks: their sizes, plain formulations of their layers, and the authors' own weights."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gan_ops
from models.parts.equalized import Conv, Dense
from models.parts.mapping import Mapping
from models.parts.moving_mean import MovingMean
from models.parts.noise import noise_maps
from models.parts.styled import StyledConv, ToRgb
from models.parts.styles import mixed, styles_of
from models.stylegan2 import FILTER, Discriminator, DownBlock, Generator, from_authors

AUTHORS = Path(__file__).parent / "authors"
WIDTHS = [6, 6, 4]
SMALL = {"latent_dim": 5, "w_dim": 4, "mapping_layers": 2}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def widths(resolution: int, base: int) -> list[int]:
    return [min(base // (4 << i), 512) for i in range((resolution // 4).bit_length())]


def randomised(network: nn.Module) -> nn.Module:
    """In float64, with nothing left that is 0 or 1 at the start."""
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0.3, 0.7)
    return network.double()


@pytest.mark.parametrize(
    ("resolution", "base", "g", "d"),
    [(1024, 32768, 30_370_060, 29_012_513), (256, 16384, 24_767_458, 24_001_089)],
)
def test_the_networks_have_the_parameters_of_the_authors(resolution, base, g, d):
    with torch.device("meta"):
        generator = Generator(widths(resolution, base))
        assert count(generator) == g and count(generator.mapping) == 2_101_248
        assert count(Discriminator(widths(resolution, base))) == d


# ---- plain formulations, in float64, with first and second derivatives


def check_derivatives(ours, plain, inputs: list[Tensor]) -> None:
    """Values, gradients, and gradients of a gradient penalty."""
    inputs = [x.detach().requires_grad_() for x in inputs]
    results = []
    for function in (ours, plain):
        y = function(*inputs)
        torch.manual_seed(1)
        first = torch.autograd.grad((y * torch.randn_like(y)).sum(), inputs, create_graph=True)
        total = sum((gradient**2).sum() for gradient in first)
        second = torch.autograd.grad(total, inputs, allow_unused=True)
        results.append([y, *first, *(torch.zeros(()) if x is None else x for x in second)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def leaky(x: Tensor) -> Tensor:
    return math.sqrt(2) * torch.where(x > 0, x, 0.2 * x)


def enlarged(x: Tensor) -> Tensor:
    """[H, W] → [2H, 2W]: zeros between the pixels, then [1, 3, 3, 1] along both axes, of sum 2."""
    kernel = torch.tensor([1.0, 3, 3, 1], dtype=x.dtype) / 4
    y = F.conv_transpose1d(x.reshape(-1, 1, x.shape[-1]), kernel.view(1, 1, -1), stride=2, padding=1)
    y = y.view(x.shape[0], -1).T
    y = F.conv_transpose1d(y.reshape(-1, 1, y.shape[-1]), kernel.view(1, 1, -1), stride=2, padding=1)
    return y.view(-1, 2 * x.shape[0]).T


def shrunk(x: Tensor) -> Tensor:
    """[N, C, H, W] → [N, C, H/2, W/2]: by [1, 3, 3, 1] along both axes, of sum 1."""
    taps = torch.tensor([1.0, 3, 3, 1], dtype=x.dtype) / 8
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(F.pad(x, (1, 1, 1, 1)), kernel, stride=2, groups=x.shape[1])


@pytest.mark.parametrize("up", [1, 2])
def test_a_styled_convolution_is_modulation_convolution_and_demodulation_one_sample_after_the_other(up):
    filter = torch.tensor(FILTER).outer(torch.tensor(FILTER)) if up == 2 else None
    layer = randomised(StyledConv(3, 4, 5, 6 * up, up=up, filter=filter))
    noise = torch.randn(2, 1, 6 * up, 6 * up, dtype=torch.float64)

    def plain(x: Tensor, w: Tensor) -> Tensor:
        images = []
        for one, style_of, added in zip(x, w, noise, strict=True):
            style = layer.affine.weight @ style_of / math.sqrt(5) + layer.affine.bias
            weight = layer.weight * style[None, :, None, None]
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
            if up == 2:  # a kernel turned around, of an endless enlarged image with zeros around x
                wide = torch.stack([enlarged(F.pad(channel, (1, 1, 1, 1))) for channel in one])
                y = F.conv2d(wide[None], weight.flip(2, 3), padding=1)[0, :, 2:-2, 2:-2]
            else:
                y = F.conv2d(one[None], weight, padding=1)[0]
            images.append(leaky(y + layer.noise.strength * added + layer.bias[:, None, None]))
        return torch.stack(images)

    inputs = [torch.randn(2, 3, 6, 6, dtype=torch.float64), torch.randn(2, 5, dtype=torch.float64)]
    check_derivatives(lambda x, w: layer(x, w, noise), plain, inputs)


def test_colours_are_a_modulated_convolution_without_demodulation():
    layer = randomised(ToRgb(4, 3, 5))

    def plain(x: Tensor, w: Tensor) -> Tensor:
        style = (w @ layer.affine.weight.T / math.sqrt(5) + layer.affine.bias) / 2
        weight = layer.weight[None, :, :, 0, 0] * style[:, None]  # [N, 3, 4]
        return torch.einsum("noi,nihw->nohw", weight, x) + layer.bias[:, None, None]

    check_derivatives(layer, plain, [torch.randn(2, 4, 3, 3).double(), torch.randn(2, 5).double()])


@pytest.mark.parametrize("residual", [True, False])
def test_a_block_of_the_discriminator_halves_its_branches_variances(residual):
    block = randomised(DownBlock(3, 5, residual=residual))

    def plain(x: Tensor) -> Tensor:
        first, second = block.conv0, block.conv1
        y = leaky(F.conv2d(x, first.weight / math.sqrt(27), first.bias, padding=1))
        y = leaky(then_shrunk(y, second.weight / math.sqrt(27)) + second.bias[:, None, None])
        if not residual:
            return y
        return math.sqrt(0.5) * (y + F.conv2d(shrunk(x), block.skip.weight / math.sqrt(3)))

    check_derivatives(block, plain, [torch.randn(2, 3, 8, 8).double()])


def then_shrunk(x: Tensor, weight: Tensor) -> Tensor:
    """A 3×3 convolution of an endless image with zeros around x, and of that what [1, 3, 3, 1] makes."""
    wide = F.conv2d(F.pad(x, (4, 4, 4, 4)), weight, padding=1)
    return shrunk(wide)[:, :, 2:-2, 2:-2]


def test_a_mapping_normalises_latents_and_labels_and_goes_through_its_layers():
    mapping = randomised(Mapping(4, 3, layers=2, num_classes=2))
    labels = torch.tensor([0, 1])

    def plain(z: Tensor) -> Tensor:
        embedded = mapping.embed.weight.T[labels] / math.sqrt(2) + mapping.embed.bias
        h = torch.cat([x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt() for x in (z, embedded)], 1)
        for layer in mapping.layers:
            h = leaky(h @ layer.weight.T * 0.01 / math.sqrt(h.shape[1]) + 0.01 * layer.bias)
        return h

    check_derivatives(lambda z: mapping(z, labels), plain, [torch.randn(2, 4).double()])


# ---- the start


def test_layers_give_unit_variance_at_the_start_whatever_their_learning_rate():
    x = torch.randn(2000, 64)
    for multiplier in (1.0, 0.01):
        layer = Dense(64, 32, lr_multiplier=multiplier, start=3.0)
        assert layer.weight.std().item() == pytest.approx(1 / multiplier, rel=0.05)
        y = layer(x)
        assert y.std(0).mean().item() == pytest.approx(1, rel=0.1) and y.mean().item() == pytest.approx(3, abs=0.1)
    y = Conv(16, 32, 3, act="linear")(torch.randn(8, 16, 12, 12))[..., 1:-1, 1:-1]
    assert y.std().item() == pytest.approx(1, rel=0.1)


def test_noise_counts_for_nothing_at_the_start():
    g, z = Generator(WIDTHS, **SMALL), torch.randn(2, 5)
    assert torch.equal(g(z), g(z, noise=torch.randn(2, g.noise_values)))


# ---- styles


def test_truncation_draws_the_first_layers_towards_the_mean():
    g, z = Generator(WIDTHS, **SMALL), torch.randn(2, 5)
    g.mapping.average.mean.normal_()
    w, mean = g.mapping(z), g.mapping.average.mean
    styles = styles_of(g.mapping, z, None, 6, psi=0.3, cutoff=2)
    torch.testing.assert_close(styles[:, 0], mean + 0.3 * (w - mean))
    assert torch.equal(styles[:, 1], styles[:, 0]) and all(torch.equal(styles[:, i], w) for i in range(2, 6))
    assert torch.equal(g(z, psi=0.3), g.synthesis(styles_of(g.mapping, z, None, 6, psi=0.3)))
    torch.testing.assert_close(g(z, psi=0.0)[0], g(z, psi=0.0)[1])


def test_a_mixed_image_has_the_others_styles_from_its_own_cutoff_on():
    styles, others = torch.randn(3, 4, 2), torch.randn(3, 4, 2)
    mix = mixed(styles, others, torch.tensor([1, 3, 4]))
    for sample, cutoff in enumerate((1, 3, 4)):
        assert torch.equal(mix[sample, :cutoff], styles[sample, :cutoff])
        assert torch.equal(mix[sample, cutoff:], others[sample, cutoff:])
    g, z, other = Generator(WIDTHS, **SMALL), torch.randn(3, 5), torch.randn(3, 5)
    cutoffs = torch.tensor([1, 3, 6])
    drawn = g(z, other=other, cutoffs=cutoffs, with_styles=True)
    assert torch.equal(drawn.styles, mixed(g(z, with_styles=True).styles, g(other, with_styles=True).styles, cutoffs))
    assert torch.equal(drawn.images, g.synthesis(drawn.styles))


def test_each_layer_has_noise_of_its_own():
    g, z = Generator(WIDTHS, **SMALL), torch.randn(1, 5)
    assert g.noise_heights == [4, 8, 8, 16, 16] and g.noise_values == 16 + 2 * 64 + 2 * 256
    for parameter in g.parameters():
        if parameter.dim() == 0:
            nn.init.constant_(parameter, 0.5)
    constant = torch.cat([conv.noise.constant.flatten() for conv in g.convs])[None]
    torch.testing.assert_close(g(z, noise=constant), g(z))
    for place in (0, 16, 16 + 64, 16 + 2 * 64, 16 + 2 * 64 + 256):
        other = constant.clone()
        other[0, place] += 1
        assert not torch.equal(g(z, noise=other), g(z))
    maps = noise_maps(torch.arange(20.0)[None], [4, 2])
    assert [list(m.shape) for m in maps] == [[1, 1, 4, 4], [1, 1, 2, 2]] and maps[1].flatten().tolist() == [
        16,
        17,
        18,
        19,
    ]


def test_a_mean_keeps_beta_of_itself():
    mean = MovingMean((2,), 0.9, start=1.0)
    mean.move_(torch.tensor([2.0, -1.0], dtype=torch.float64))
    torch.testing.assert_close(mean.mean, torch.tensor([1.1, 0.8]))


# ---- the discriminator


def test_minibatches_that_are_interleaved_are_judged_as_if_apart():
    d = Discriminator(WIDTHS, group_size=2)
    x = torch.randn(8, 3, 16, 16)
    apart = [d(x[i::2]).score for i in range(2)]
    torch.testing.assert_close(d(x, batches=2).score, torch.stack(apart, 1).flatten())
    assert not torch.allclose(d(x[:2]).score[0], d(torch.cat((x[:1], x[:1]))).score[0])


def test_the_discriminator_gives_the_maps_of_every_height():
    maps = Discriminator(WIDTHS)(torch.randn(2, 3, 16, 16)).maps
    assert [list(m.shape) for m in maps] == [[2, 4, 16, 16], [2, 6, 8, 8], [2, 6, 4, 4]]
    assert [list(m.shape) for m in Discriminator([6])(torch.randn(2, 3, 4, 4)).maps] == [[2, 6, 4, 4]]


@pytest.mark.parametrize(("residual", "names"), [(True, "rgb 0.0 0.1 0.s 1.0"), (False, "rgb 0.0 0.1 1.0 1.1")])
def test_layers_are_frozen_from_the_image_on(residual, names):
    d = Discriminator(WIDTHS, residual=residual)
    d.freeze(5)
    short = {"rgb": "from_rgb."} | {
        f"{i}.{part}": f"blocks.{i}.{layer}."
        for i in (0, 1)
        for part, layer in (("0", "conv0"), ("1", "conv1"), ("s", "skip"))
    }
    frozen = tuple(short[name] for name in names.split())
    for name, parameter in d.named_parameters():
        assert parameter.requires_grad != name.startswith(frozen), name


def test_labels_change_images_and_scores():
    g = Generator(WIDTHS, **SMALL, num_classes=3)
    d = Discriminator(WIDTHS, num_classes=3, condition="projection", group_size=1)
    z, x, one, other = torch.randn(2, 5), torch.randn(2, 3, 16, 16), torch.tensor([0, 1]), torch.tensor([0, 2])
    for a, b in ((g(z, one), g(z, other)), (d(x, one).score, d(x, other).score)):
        torch.testing.assert_close(a[0], b[0])
        assert not torch.allclose(a[1], b[1])


# ---- half precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_high_resolutions_alone_are_in_half_precision_and_maps_are_bounded(dtype):
    g, d = Generator(WIDTHS, **SMALL, half=1, clamp=0.5), Discriminator(WIDTHS, half=1, clamp=0.5)
    types: dict[str, torch.dtype] = {}
    for network in (g, d):
        for name, module in network.named_modules():
            if isinstance(module, StyledConv | ToRgb | Conv | Dense):
                module.register_forward_hook(lambda _, args, y, name=name: types.update({name: y.dtype}))
    with torch.autocast("cpu", dtype):
        image = g(torch.randn(2, 5))
        score = d(image).score
    assert image.dtype == score.dtype == torch.float32
    half = {name for name, kind in types.items() if kind == dtype}
    assert half == {
        "convs.3",
        "convs.4",
        "to_rgb.2",
        "from_rgb",
        *(f"blocks.0.{x}" for x in ("conv0", "conv1", "skip")),
    }
    assert set(types.values()) == {dtype, torch.float32}
    assert all(m.abs().max() <= 0.5 for m in d(torch.randn(2, 3, 16, 16) * 100).maps[:1])


def test_below_8_px_and_without_autocast_nothing_is_in_half_precision():
    assert (
        Generator([4, 4], **SMALL, half=2).half_from == 8 and Generator(WIDTHS, **SMALL, half=0).half_from == math.inf
    )
    assert Generator(WIDTHS, **SMALL, half=4)(torch.randn(1, 5)).dtype == torch.float32


def test_an_exported_generator_draws_batches_of_any_size():
    g = Generator([6, 4], **SMALL, num_classes=3).eval().requires_grad_(False)
    batch = torch.export.Dim("batch")
    with gan_ops.use_reference():
        given = torch.randn(2, 5), torch.tensor([0, 1])
        program = torch.export.export(g, given, dynamic_shapes=({0: batch}, {0: batch}))
    z, labels = torch.randn(3, 5), torch.tensor([2, 0, 1])
    torch.testing.assert_close(program.module()(z, labels), g(z, labels), rtol=1e-4, atol=1e-5)


# ---- what does not fit


G = partial(Generator, WIDTHS, **SMALL)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: G()(torch.zeros(2, 6)), r"z is \[2, 6\], not \[N, 5\]"),
        (lambda: G()(torch.zeros(2, 5), torch.tensor([0, 1])), "labels were given to a network"),
        (lambda: G(num_classes=3)(torch.zeros(2, 5)), "labels are needed by a network"),
        (
            lambda: G()(torch.zeros(2, 5), psi=0.5, cutoff=7),
            "cutoff=7 is not between 0 and the 6",
        ),
        (lambda: G()(torch.zeros(2, 5), noise=torch.zeros(2, 5)), r"noise is \[2, 5\], not"),
        (
            lambda: G().synthesis(torch.zeros(2, 5, 4)),
            r"styles are \[2, 5, 4\], not \[N, 6, 4\]",
        ),
        (lambda: Discriminator(WIDTHS)(torch.zeros(2, 3, 8, 8)), r"x is \[2, 3, 8, 8\], not \[N, 3, 16, 16\]"),
        (lambda: Discriminator(WIDTHS, num_classes=3), "num_classes=3 does not go with condition='none'"),
        (lambda: Discriminator(WIDTHS).freeze(8), "layers=8 is not between 0 and 7"),
        (lambda: Mapping(0, 4), "latent_dim=0 and num_classes=0"),
        (lambda: Mapping(4, 4, layers=0), "layers=0: a mapping has at least one"),
        (lambda: Mapping(4, 4, w_beta=None).truncated(torch.zeros(1, 4), 0.5), "psi=0.5 needs a mapping with a mean"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ---- the authors' weights


def authors(name: str) -> dict[str, Tensor]:
    with np.load(AUTHORS / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files if file[key].dtype.kind == "f"}


def of(tensors: dict[str, Tensor], role: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"net.{role}."): t for name, t in tensors.items() if name.startswith(f"net.{role}.")}


@pytest.mark.parametrize("name", ["stylegan2-32", "stylegan2-16-labels"])
def test_networks_of_the_authors_code_draw_and_judge_as_they_did_there(name):
    tensors = authors(name)
    labels = [tensors["c"].argmax(1)] if tensors["c"].shape[1] else []
    for role, kind in (("G", Generator), ("D", Discriminator)):
        options, state = from_authors(of(tensors, role))
        network = kind(**options)
        network.load_state_dict(state)
        if role == "G":
            for psi, image in ((1.0, "image"), (0.5, "image_psi_half")):
                drawn = network(tensors["z"], *labels, psi=psi)
                torch.testing.assert_close(drawn, tensors[image], rtol=0, atol=1e-4)
        else:
            score = network(tensors["image"], *labels).score
            torch.testing.assert_close(score, tensors["score"][:, 0], rtol=0, atol=1e-4)


def test_what_networks_here_cannot_be_is_refused():
    tensors = authors("stylegan2-32")
    g, d = of(tensors, "G"), of(tensors, "D")
    rgb = d["b32.fromrgb.weight"]
    for state, message in (
        ({}, "not the tensors of a StyleGAN2"),
        ({"weight": rgb}, "not the tensors of a StyleGAN2"),
        ({n: t for n, t in g.items() if "b16" not in n}, "not the tensors of a StyleGAN2"),
        ({n: t for n, t in g.items() if "b16.torgb" not in n}, "there is no synthesis.b16.torgb.weight"),
        ({**g, "synthesis.b8.skip.weight": rgb}, "a residual generator is not known here"),
        ({**d, "b16.fromrgb.weight": rgb}, "a discriminator of images of all sizes is not known here"),
        ({**g, "synthesis.b8.resample_filter": torch.ones(4, 4)}, "synthesis.b8.resample_filter is not the filter"),
    ):
        with pytest.raises(ValueError, match=message):
            from_authors(state)
