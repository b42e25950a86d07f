"""StyleGAN's networks: adaptive instance norm and layers against plain formulations, and how they grow."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.parts.adain import adain
from models.pggan import Discriminator as PgganDiscriminator
from models.stylegan import AdaptiveConv, Discriminator, Generator

SMALL = {"latent_dim": 5, "w_dim": 4, "mapping_layers": 2, "fmap_base": 32, "fmap_max": 6}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def grown(resolution: int = 16, fade: float = 0.0, **options) -> Generator:
    g = Generator(16, **SMALL, **options)
    g.grow(resolution, fade)
    return g


def randomised(network: nn.Module) -> nn.Module:
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0.3, 0.7)
    return network.double()


def plain_adain(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Karras et al. 2019, equation 1, map by map."""
    maps = []
    for image, factors, terms in zip(x, scale, shift, strict=True):
        for one, factor, term in zip(image, factors, terms, strict=True):
            deviation = ((one - one.mean()) ** 2).mean().add(1e-8).sqrt()
            maps.append((1 + factor) * (one - one.mean()) / deviation + term)
    return torch.stack(maps).view_as(x)


def check_derivatives(ours, plain, inputs: list[Tensor]) -> None:
    """Values, gradients, and gradients of a gradient penalty."""
    inputs = [x.detach().requires_grad_() for x in inputs]
    results = []
    for function in (ours, plain):
        y = function(*inputs)
        torch.manual_seed(1)
        first = torch.autograd.grad((y * torch.randn_like(y)).sum(), inputs, create_graph=True)
        second = torch.autograd.grad(sum((gradient**2).sum() for gradient in first), inputs, allow_unused=True)
        results.append([y, *first, *(torch.zeros(()) if x is None else x for x in second)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_adaptive_instance_norm_gives_each_map_the_styles_deviation_and_mean():
    inputs = [torch.randn(2, 3, 4, 4).double(), torch.randn(2, 3).double(), torch.randn(2, 3).double()]
    check_derivatives(adain, plain_adain, inputs)
    y = adain(torch.randn(2, 3, 8, 8) * 5 + 7, inputs[1].float(), inputs[2].float())
    torch.testing.assert_close(y.mean((2, 3)), inputs[2].float(), rtol=0, atol=1e-5)
    torch.testing.assert_close(y.std((2, 3), unbiased=False), (1 + inputs[1].float()).abs(), rtol=1e-4, atol=1e-5)
    flat, zero = torch.full((1, 2, 4, 4), 0.3), torch.zeros(1, 2)
    assert not adain(flat, zero, zero).any()  # what does not vary becomes 0, and no rounding is magnified


def test_in_half_precision_statistics_are_taken_in_float32():
    x = (torch.randn(2, 3, 32, 32) + 300).half()
    zero = torch.zeros(2, 3)
    expected = adain(x.float(), zero, zero)
    assert adain(x, zero, zero).dtype == torch.float16
    torch.testing.assert_close(adain(x, zero, zero).float(), expected, rtol=0, atol=0.3)


@pytest.mark.parametrize("up", [1, 2])
def test_a_layer_is_a_convolution_noise_and_a_style(up):
    layer = randomised(AdaptiveConv(3, 4, 5, 6 * up, up=up))
    noise = torch.randn(2, 1, 6 * up, 6 * up).double()
    epilogue = layer.epilogue

    def plain(x: Tensor, w: Tensor) -> Tensor:
        weight = layer.weight / math.sqrt(27)
        if up == 2:  # pixels are repeated, in an endless image with zeros around x, and blurred after the convolution
            wide = F.interpolate(F.pad(x, (2, 2, 2, 2)), scale_factor=2.0, mode="nearest")
            taps = torch.tensor([1.0, 2, 1]).double() / 4
            blur = torch.outer(taps, taps).expand(4, 1, 3, 3)
            y = F.conv2d(F.conv2d(wide, weight, padding=1), blur, padding=1, groups=4)[..., 4:-4, 4:-4]
        else:
            y = F.conv2d(x, weight, padding=1)
        y = y + epilogue.strength[:, None, None] * noise + epilogue.bias[:, None, None]
        y = math.sqrt(2) * torch.where(y > 0, y, 0.2 * y)
        style = w @ epilogue.affine.weight.T / math.sqrt(5) + epilogue.affine.bias
        return plain_adain(y, style[:, :4], style[:, 4:])

    check_derivatives(
        lambda x, w: layer(x, w, noise), plain, [torch.randn(2, 3, 6, 6).double(), torch.randn(2, 5).double()]
    )


def test_images_have_the_present_resolution_and_as_many_styles_and_noise_as_it_needs():
    for resolution in (4, 8, 16):
        g = grown(resolution)
        drawn = g(torch.randn(2, 5), with_styles=True)
        layers = 2 * int(math.log2(resolution) - 1)
        assert drawn.images.shape == (2, 3, resolution, resolution)
        assert g.layers == drawn.styles.shape[1] == layers == len(g.noise_heights)
        noise = torch.randn(2, g.noise_values)
        assert torch.equal(g(torch.ones(2, 5), noise=noise), g(torch.ones(2, 5)))  # of no strength at the start
    g = randomised(grown(8))
    z = torch.ones(2, 5).double()
    assert not torch.allclose(g(z, noise=torch.randn(2, g.noise_values).double()), g(z))


def test_a_faded_image_lies_between_the_resolutions():
    g, z = grown(16), torch.randn(2, 5)
    new = g(z)
    g.grow(8)
    old = F.interpolate(g(z), scale_factor=2.0, mode="nearest")
    for fade in (0.25, torch.tensor(0.25)):
        g.grow(16, fade)
        torch.testing.assert_close(g(z), torch.lerp(new, old, 0.25))


@pytest.mark.parametrize(("resolution", "fade"), [(4, 0.0), (8, 0.0), (16, 0.5)])
def test_active_parameters_are_those_that_an_image_depends_on(resolution, fade):
    g = grown(resolution, fade)
    g(torch.randn(2, 5)).square().sum().backward()
    active = {id(p) for p in g.active_parameters()}
    for name, parameter in g.named_parameters():
        assert (parameter.grad is not None) == (id(parameter) in active), name


def test_mixed_and_truncated_images_are_those_of_their_styles():
    g, z, other = grown(8), torch.randn(2, 5), torch.randn(2, 5)
    g.mapping.average.mean.normal_()
    own, others = (g(x, with_styles=True).styles for x in (z, other))
    mix = g(z, other=other, cutoffs=torch.tensor([1, 4]), with_styles=True).styles
    assert torch.equal(mix[0], torch.cat((own[0, :1], others[0, 1:]))) and torch.equal(mix[1], own[1])
    mean = g.mapping.average.mean
    expected = torch.cat((mean + 0.5 * (own[:, :2] - mean), own[:, 2:]), 1)
    torch.testing.assert_close(g(z, psi=0.5, cutoff=2), g.synthesis(expected))


def test_the_discriminator_is_pggans_with_a_wider_filter():
    d, plain = Discriminator(16, fmap_base=32, fmap_max=6), PgganDiscriminator(16, fmap_base=32, fmap_max=6)
    assert [p.shape for p in d.parameters()] == [p.shape for p in plain.parameters()]
    for network in (d, plain):
        network.grow(16, 0.5)
    x = torch.randn(4, 3, 16, 16)
    assert [m.shape for m in d(x).maps] == [m.shape for m in plain(x).maps]
    ramp = torch.linspace(0, 1, 16).expand(1, 4, 16, 16)  # what no filter of sum 1 changes far from the edges
    halved = d.blocks["16"].conv1
    with torch.no_grad():
        halved.weight.zero_()
        halved.weight[:, :, 1, 1] = 1 / halved.scale / 4
    torch.testing.assert_close(halved(ramp)[0, 0, 3:-3, 2:-2], math.sqrt(2) * F.avg_pool2d(ramp, 2)[0, 0, 3:-3, 2:-2])


def test_what_does_not_fit_is_refused():
    g = grown(8, num_classes=2)
    for call, message in (
        (lambda: g(torch.zeros(2, 6), torch.tensor([0, 1])), r"z is \[2, 6\], not \[N, 5\]"),
        (lambda: g(torch.zeros(2, 5)), "labels are needed by a network with num_classes=2"),
        (lambda: g.synthesis(torch.zeros(2, 6, 4)), r"styles are \[2, 6, 4\], not \[N, 4, 4\]"),
        (lambda: g(torch.zeros(2, 5), torch.tensor([0, 1]), noise=torch.zeros(2, 7)), r"noise is \[2, 7\], not"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
