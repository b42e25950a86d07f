"""StyleGAN3's generator: its bands and filters, what its input and layers do, and the authors' own weights."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.parts.bands import bands
from models.parts.fourier import FourierInput
from models.parts.lowpass import attenuation, kaiser_beta, lowpass
from models.stylegan3 import Generator, Layer, from_authors

AUTHORS = Path(__file__).parent / "authors"
SMALL = {"latent_dim": 4, "channel_base": 64, "channel_max": 6, "layers": 5, "critical": 2, "margin": 3}
R = {"kernel_size": 1, "radial": True}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("options", "parameters"),
    [({}, 28_472_133), ({"channel_base": 65536, "channel_max": 1024, **R}, 18_816_387)],
    ids=["T", "R"],
)
def test_the_generator_has_the_parameters_of_the_authors(options, parameters):
    with torch.device("meta"):
        assert count(Generator(256, **options)) == parameters


# ---- bands


def test_sampling_rates_of_a_picture_of_256():
    plan = bands(256, 14, 2, 10)
    given, made = [plan[0], *plan[:-1]], plan  # to each of the 15 layers, and by it
    assert [band.rate for band in given] == [16] * 4 + [32] * 2 + [64] * 2 + [128] * 3 + [256] * 4
    assert [band.size for band in made] == [36] * 3 + [52] * 2 + [84] * 2 + [148] * 3 + [276] * 3 + [256] * 2
    assert [band.critical for band in made] == [False] * 12 + [True] * 3


def test_cutoffs_and_stopbands_grow_geometrically_up_to_the_critical_layers():
    for i, band in enumerate(bands(256, 14, 2, 10)):
        part = min(i / 12, 1)
        stopband = 2**2.1 * (256 / 2 * 2**0.3 / 2**2.1) ** part
        assert band.cutoff == pytest.approx(2 * (256 / 4) ** part, rel=1e-12)
        assert band.half_width == pytest.approx(max(stopband, band.rate / 2) - band.cutoff, rel=1e-12)
        assert band.rate / 2 >= min(stopband, 128) * (1 - 1e-12), "the grid carries what the filter lets through"


# ---- filters


def gains(filter: Tensor, frequency: Tensor, rate: float) -> Tensor:
    """Amplitudes that pass at frequencies along the first axis."""
    taps = filter.double() if filter.dim() == 1 else filter.double().sum(1)
    t = torch.arange(len(taps), dtype=torch.float64) - (len(taps) - 1) / 2
    return (taps * torch.cos(2 * math.pi * frequency[:, None] / rate * t)).sum(1)


@pytest.mark.parametrize("radial", [False, True])
def test_a_filter_passes_below_its_band_of_transition_and_stops_above(radial):
    taps, cutoff, width, rate = 48, 10.0, 8.0, 64.0
    filter = lowpass(taps, cutoff, width, rate, radial=radial)
    assert filter.sum().item() == pytest.approx(1, abs=1e-6)
    assert torch.equal(filter, filter.flip(list(range(filter.dim()))))
    stopped = 10 ** (-attenuation(taps, width, rate) / 20)
    error = 2 * stopped if not radial else 8 * stopped
    below, above = torch.linspace(0, cutoff - width / 2, 50), torch.linspace(cutoff + width / 2, rate / 2, 50)
    assert (gains(filter, below, rate) - 1).abs().max() < error
    assert gains(filter, above, rate).abs().max() < error
    assert gains(filter, torch.tensor([cutoff]), rate).item() == pytest.approx(0.5, abs=0.04)


def test_a_radial_filter_is_alike_in_all_directions():
    filter = lowpass(24, 10.0, 8.0, 64.0, radial=True).double()
    t = (torch.arange(24, dtype=torch.float64) - 11.5) / 64

    def gain(x: float, y: float) -> float:
        return float((filter * torch.cos(2 * math.pi * (y * t[:, None] + x * t))).sum())

    for f in (4.0, 8.0, 10.0, 12.0):
        assert gain(f, 0) == pytest.approx(gain(0.6 * f, 0.8 * f), abs=0.01)


def test_kaisers_windows():
    """Kaiser 1974, as Oppenheim and Schafer have it (section 7.5.3): the example of 60 dB."""
    assert kaiser_beta(60) == pytest.approx(5.653, abs=1e-3)
    assert kaiser_beta(40) == pytest.approx(0.5842 * 19**0.4 + 0.07886 * 19)
    assert kaiser_beta(20) == 0
    assert attenuation(38, 0.2 * 0.5, 1) == pytest.approx(2.285 * 37 * math.pi * 0.2 + 7.95)


def test_one_tap_is_no_filter():
    assert lowpass(1, 2.0, 1.0, 16.0) is None


# ---- the input


@torch.no_grad()
def plain_input(layer: FourierInput, w: Tensor, transform: Tensor) -> Tensor:
    """Karras et al. 2021, section 3.2, wave by wave."""
    images = []
    for t in w @ layer.affine.weight.T / w.shape[1] ** 0.5 + layer.affine.bias:
        cos, sin, x, y = t / t[:2].norm()
        of_w = torch.tensor([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], dtype=torch.float64)
        of_w = of_w @ torch.tensor([[1, 0, -x], [0, 1, -y], [0, 0, 1]], dtype=torch.float64)
        matrix = of_w @ transform
        places = (torch.arange(layer.size, dtype=torch.float64) - (layer.size - 1) / 2) / layer.rate
        waves = []
        for f, phase in zip(layer.frequencies, layer.phases, strict=True):
            points = torch.stack([places.expand(layer.size, -1), places[:, None].expand(-1, layer.size)])
            points = torch.einsum("ab,bhw->ahw", matrix[:2, :2], points) + matrix[:2, 2, None, None]
            seen = (matrix[:2, :2].T @ f).norm()
            amplitude = (1 - (seen - layer.band) / (layer.rate / 2 - layer.band)).clamp(0, 1)
            waves.append(amplitude * torch.sin(2 * math.pi * ((f[:, None, None] * points).sum(0) + phase)))
        images.append(torch.einsum("oc,chw->ohw", layer.weight, torch.stack(waves)) / len(layer.weight) ** 0.5)
    return torch.stack(images)


@pytest.mark.parametrize("given", [False, True], ids=["by w", "by w and a transform"])
def test_the_input_is_waves_that_w_and_a_transform_move(given):
    layer = FourierInput(3, 4, 9, 6, 2.0).double()
    torch.nn.init.normal_(layer.affine.weight)
    w, angle = torch.randn(2, 3, dtype=torch.float64), 0.4
    transform = torch.eye(3, dtype=torch.float64)
    if given:
        transform[:2, :2] = 1.4 * torch.tensor(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        )
        transform[:2, 2] = torch.tensor([0.1, -0.2])
    expected = plain_input(layer, w, transform)
    torch.testing.assert_close(layer(w, transform if given else None), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer(w, transform.expand(2, 3, 3)), expected, rtol=0, atol=1e-12)


def test_frequencies_cover_a_disk_evenly():
    lengths = FourierInput(4, 20000, 4, 4, 2.0).frequencies.norm(dim=1)
    assert lengths.max() <= 2.0
    for part in (0.3, 0.6, 0.9):
        assert (lengths < 2 * part).double().mean().item() == pytest.approx(part**2, abs=0.02)


def test_w_neither_moves_nor_turns_the_input_at_the_start():
    layer = FourierInput(3, 4, 8, 8, 2.0)
    a, b = layer(torch.randn(2, 3))
    assert torch.equal(a, b)


# ---- layers


def plain_layer(layer: Layer, x: Tensor, w: Tensor, gain: float) -> Tensor:
    """Karras et al. 2021, figure 4b, sample by sample: zeros between samples, filters as convolutions."""

    def filtered(x: Tensor, filter: Tensor | None) -> Tensor:
        if filter is None:
            return x
        taps = filter.double() if filter.dim() == 2 else torch.outer(filter.double(), filter.double())
        return F.conv2d(x.transpose(0, 1), taps.flip((0, 1))[None, None]).transpose(0, 1)

    made = []
    for one, style in zip(x, w @ layer.affine.weight.T / w.shape[1] ** 0.5 + layer.affine.bias, strict=True):
        weight = layer.weight * style[:, None, None]
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        y = F.conv2d(gain * one[None], weight, padding=weight.shape[-1] - 1) + layer.bias[:, None, None]
        if not layer.filtered:
            y = (F.leaky_relu(y, 0.2) * 2**0.5).clamp(-256, 256)
        wide = y.new_zeros(1, y.shape[1], y.shape[2] * layer.up, y.shape[3] * layer.up)
        wide[:, :, :: layer.up, :: layer.up] = y
        wide = filtered(F.pad(wide, layer.padding), layer.up_filter) * layer.up**2
        if layer.filtered:
            wide = (F.leaky_relu(wide, 0.2) * 2**0.5).clamp(-256, 256)
        made.append(filtered(wide, layer.down_filter)[0, :, :: layer.down, :: layer.down])
    return torch.stack(made)


@pytest.mark.parametrize("filtered", [True, False], ids=["filtered", "pointwise"])
@pytest.mark.parametrize("options", [{"kernel_size": 3}, R], ids=["T", "R"])
def test_layers_and_their_derivatives_are_those_of_the_plain_formulation(options, filtered):
    g = Generator(16, **SMALL, **options, filtered=filtered).double()
    for layer, before in zip(g.convs, [g.input.size, *(b.size for b in bands(16, 5, 2, 3))], strict=False):
        x = torch.randn(2, layer.weight.shape[1], before, before, dtype=torch.float64, requires_grad=True)
        w = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
        y, expected = layer(x, w, torch.tensor(0.7, dtype=torch.float64)), plain_layer(layer, x, w, 0.7)
        torch.testing.assert_close(y, expected, rtol=0, atol=1e-10)
        inputs, v = (x, w, layer.weight, layer.bias), torch.randn_like(y)
        firsts = [torch.autograd.grad((each * v).sum(), inputs, create_graph=True) for each in (y, expected)]
        torch.testing.assert_close(*firsts, rtol=0, atol=1e-9)
        seconds = [torch.autograd.grad(sum(t.square().sum() for t in first), (w, layer.weight)) for first in firsts]
        torch.testing.assert_close(*seconds, rtol=1e-8, atol=1e-8)


def test_layers_divide_their_input_by_the_root_of_what_is_kept_of_its_mean_squares():
    g = Generator(16, **SMALL).double()
    z = torch.randn(2, 4, dtype=torch.float64)
    before = g(z, with_styles=True)
    assert before.squares.shape == (2, 6) and before.styles.shape == (2, 7, 4)
    torch.testing.assert_close(before.squares[:, 0], g.input(before.styles[:, 0]).square().mean((1, 2, 3)))
    g.squares.mean.copy_(torch.tensor([1.0, 1, 1, 1, 1, 4]))
    torch.testing.assert_close(g(z), before.images / 2)


@pytest.mark.parametrize("filtered", [True, False], ids=["filtered", "pointwise"])
def test_all_parameters_learn(filtered):
    g = Generator(16, **SMALL, filtered=filtered, num_classes=3)
    torch.nn.init.normal_(g.input.affine.weight)
    g(torch.randn(2, 4), torch.tensor([0, 2])).square().sum().backward()
    assert all(parameter.grad.any() for parameter in g.parameters())


def test_only_the_highest_resolutions_are_in_half_precision():
    """And never the waves, whose phases it would spoil, nor the picture."""
    networks = {}
    for half in (0, 1, 4):
        torch.manual_seed(0)
        networks[half] = Generator(16, **SMALL, half=half)
    assert [layer.half for layer in networks[1].convs] == [b.rate > 8 for b in bands(16, 5, 2, 3)[:-1]]
    z = torch.randn(2, 4)
    plain = networks[4](z)
    with torch.autocast("cpu", torch.bfloat16):
        none, drawn = networks[0](z), networks[4](z, with_styles=True)
    assert torch.equal(none, plain)
    assert drawn.images.dtype == drawn.squares.dtype == torch.float32
    assert 0 < (drawn.images - plain).abs().max() < 0.05 * plain.abs().max()


def shifted(x: Tensor, right: int, down: int) -> Tensor:
    return x.roll((down, right), (2, 3))


def decibel(x: Tensor, y: Tensor) -> float:
    return float(-10 * ((x - y).square().mean() / 4).log10())


def test_a_shift_of_the_input_is_a_shift_of_the_image_as_filters_have_it():
    """Before any training; and more so than where nonlinearities act on samples."""
    found = {}
    for filtered in (True, False):
        torch.manual_seed(0)
        g = Generator(32, latent_dim=8, channel_base=256, channel_max=16, layers=6, margin=6, filtered=filtered)
        z, transform = torch.randn(4, 8), torch.eye(3)
        transform[0, 2], transform[1, 2] = -3 / 32, -1 / 32
        with torch.no_grad():
            plain, moved = 8 * g(z), 8 * g(z, transform=transform)
        inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))
        found[filtered] = decibel(shifted(plain, 3, 1)[inner], moved[inner])
    assert found[True] > 35 and found[True] > found[False] + 5, found


# ---- what is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bands(24, 6, 2, 4), "resolution=24 is not a power of two of at least 8"),
        (lambda: bands(32, 6, 6, 4), "critical=6 is not between 0 and layers=6"),
        (lambda: bands(32, 6, 2, -1), "margin=-1 is below 0"),
        (lambda: lowpass(0, 2.0, 1.0, 16.0), "taps=0 is not a positive number"),
        (lambda: lowpass(12, 0.0, 1.0, 16.0), "cutoff=0.0 is not a finite number above 0"),
        (lambda: lowpass(12, 1.0, math.inf, 16.0), "width=inf is not a finite number above 0"),
        (lambda: Generator(16, **SMALL)(torch.zeros(2, 3)), r"z is \[2, 3\], not \[N, 4\]"),
        (lambda: Generator(16, **SMALL)(torch.zeros(1, 4), torch.tensor([0])), "labels were given"),
        (lambda: Generator(16, **SMALL).synthesis(torch.zeros(2, 6, 4)), r"styles are \[2, 6, 4\], not \[N, 7, 4\]"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ---- the authors' weights


def authors(name: str) -> dict[str, Tensor]:
    with np.load(AUTHORS / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files if file[key].dtype.kind == "f"}


def generator_of(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("net.G."): t for name, t in tensors.items() if name.startswith("net.G.")}


@pytest.mark.parametrize("name", ["stylegan3t-32", "stylegan3r-32"])
def test_networks_of_the_authors_code_draw_as_they_did_there(name):
    tensors = authors(name)
    options, state = from_authors(generator_of(tensors))
    network = Generator(**options)
    network.load_state_dict(state)
    torch.testing.assert_close(network(tensors["z"]), tensors["image"], rtol=0, atol=1e-5)
    torch.testing.assert_close(network(tensors["z"], psi=0.5), tensors["image_psi_half"], rtol=0, atol=1e-5)


def test_what_the_generator_cannot_be_is_refused():
    g = generator_of(authors("stylegan3t-32"))
    turned = {**g, "synthesis.input.transform": torch.diag(torch.tensor([-1.0, -1.0, 1.0]))}
    with pytest.raises(ValueError, match=r"synthesis.input.transform is not the identity"):
        from_authors(turned)
    with pytest.raises(ValueError, match=r"no bands known here give layers of the sizes 24, 24, 40, 40, 40, 32, 32"):
        from_authors({**g, "synthesis.L2_40_16.up_filter": g["synthesis.L2_40_16.up_filter"].flip(0) * 2})
    with pytest.raises(
        ValueError, match="channels are 16, 16, 16, 14, 8, 8, and by their cutoffs 16, 16, 16, 13, 8, 8"
    ):
        from_authors({name.replace("L3_40_13", "L3_40_14"): tensor for name, tensor in g.items()})
    with pytest.raises(ValueError, match=r"there is no mapping.w_avg: this is no StyleGAN3 that is known here"):
        from_authors({name: tensor for name, tensor in g.items() if name != "mapping.w_avg"})
    for some in ({}, {"weight": torch.zeros(2)}, {n: t for n, t in g.items() if "L2_" not in n}):
        with pytest.raises(ValueError, match="not the tensors of a StyleGAN3's generator"):
            from_authors(some)
