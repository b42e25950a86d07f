"""R3GAN's networks: their sizes, their start, and the authors' own weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.r3gan import Block, Discriminator, Down, Generator, Up, from_authors

AUTHORS = Path(__file__).parent / "authors"
WIDTHS = [16, 16, 8]
SMALL = {"blocks": 2, "group_width": 8}
LABELLED = {**SMALL, "num_classes": 3}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("widths", "classes", "g", "d"),
    [([768] * 4, 10, 20_781_952, 21_280_512), ([768] * 4 + [384], 0, 22_429_824, 22_381_440)],
    ids=["cifar10", "ffhq-64"],
)
def test_the_networks_have_the_parameters_of_the_authors(widths, classes, g, d):
    with torch.device("meta"):
        assert count(Generator(widths, num_classes=classes)) == g
        condition = "projection" if classes else "none"
        assert count(Discriminator(widths, num_classes=classes, condition=condition)) == d


def test_blocks_are_the_identity_at_the_start_and_only_then():
    block, x = Block(16, 32, 8, depth=4), torch.randn(2, 16, 5, 5)
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)
    torch.nn.init.normal_(block.leave)
    assert (block(x) - x).abs().mean() > 0.1


def test_all_parameters_but_those_before_a_zero_learn_from_the_first_step():
    """Of a block's convolutions the last alone: it starts at 0, and no gradient passes it."""
    for network, given in ((Generator(WIDTHS, **SMALL), (2, 64)), (Discriminator(WIDTHS, **SMALL), (2, 3, 16, 16))):
        out = network(torch.randn(given))
        (out if isinstance(out, Tensor) else out.score).square().sum().backward()
        for name, parameter in network.named_parameters():
            waits = name.rsplit(".")[-1] in ("enter", "enter_bias", "mix", "mix_bias")
            assert parameter.grad.any() != waits, name


@pytest.mark.parametrize("depth", [1, 16])
def test_the_first_convolutions_of_a_block_start_smaller_in_a_deep_network(depth):
    block = Block(256, 512, 64, depth)
    gain = (2 / (1 + 0.2**2)) ** 0.5 * depth**-0.25
    for weight, inputs in ((block.enter, 256), (block.mix, 64 * 9)):
        assert weight.std().item() == pytest.approx(gain / inputs**0.5, rel=0.02)


@pytest.mark.parametrize("layer", [Up(3, 3), Up(3, 5), Down(3, 3), Down(3, 5)], ids=lambda layer: type(layer).__name__)
def test_resampling_keeps_what_is_constant(layer):
    x = torch.arange(3.0).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    y = layer(x)[0, :, 3:-3, 3:-3]
    expected = x[0, :, 0, 0] if layer.weight is None else layer.weight[:, :, 0, 0] @ x[0, :, 0, 0]
    torch.testing.assert_close(y, expected[:, None, None].expand_as(y))


def test_each_score_and_its_gradient_are_of_one_image_alone():
    d = Discriminator(WIDTHS, **SMALL)
    for parameter in d.parameters():
        torch.nn.init.normal_(parameter, 0, 0.2)
    x = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(d(x).score, torch.cat([d(one[None]).score for one in x]))


def test_the_discriminator_gives_the_maps_of_every_stage():
    assert [list(m.shape) for m in Discriminator(WIDTHS, **SMALL)(torch.randn(2, 3, 16, 16)).maps] == [
        [2, 8, 16, 16],
        [2, 16, 8, 8],
        [2, 16, 4, 4],
    ]


def test_labels_change_images_and_scores():
    g = Generator(WIDTHS, **LABELLED)
    d = Discriminator(WIDTHS, **LABELLED, condition="projection")
    z, x, one, other = torch.randn(2, 64), torch.randn(2, 3, 16, 16), torch.tensor([0, 1]), torch.tensor([0, 2])
    for a, b in ((g(z, one), g(z, other)), (d(x, one).score, d(x, other).score)):
        assert torch.equal(a[0], b[0]) and not torch.allclose(a[1], b[1])


@pytest.mark.parametrize(
    ("make", "args", "message"),
    [
        (
            lambda: Generator(WIDTHS, **LABELLED),
            [torch.zeros(2, 64)],
            "labels are needed by a network with num_classes=3",
        ),
        (
            lambda: Generator(WIDTHS, **SMALL),
            [torch.zeros(2, 64), torch.tensor([0, 1])],
            "labels were given to a generator",
        ),
        (lambda: Discriminator(WIDTHS, **LABELLED), [], "num_classes=3 does not go with condition='none'"),
        (lambda: Generator(WIDTHS, **SMALL), [torch.zeros(2, 63)], r"z is \[2, 63\], not \[N, 64\]"),
        (lambda: Discriminator(WIDTHS, **SMALL), [torch.zeros(2, 3, 8, 8)], r"x is \[2, 3, 8, 8\], not \[N, 3, 16, 16"),
        (lambda: Block(6, 12, 8, 1), [], "group_width=8 does not divide the 12 channels"),
    ],
)
def test_what_does_not_fit_is_refused(make, args, message):
    with pytest.raises(ValueError, match=message):
        make()(*args)


# ---- the authors' weights


def authors(name: str) -> dict[str, Tensor]:
    with np.load(AUTHORS / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files if file[key].dtype.kind == "f"}


def of(tensors: dict[str, Tensor], role: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"net.{role}."): t for name, t in tensors.items() if name.startswith(f"net.{role}.")}


@pytest.mark.parametrize("name", ["r3gan-16", "r3gan-16-labels"])
def test_networks_of_the_authors_code_draw_and_judge_as_they_did_there(name):
    tensors = authors(name)
    labels = [tensors["c"].argmax(1)] if tensors["c"].shape[1] else []
    for role, kind in (("G", Generator), ("D", Discriminator)):
        options, state = from_authors(of(tensors, role))
        network = kind(**options)
        network.load_state_dict(state)
        if role == "G":
            torch.testing.assert_close(network(tensors["z"], *labels), tensors["image"], rtol=0, atol=1e-5)
        else:
            torch.testing.assert_close(network(tensors["image"], *labels).score, tensors["score"], rtol=0, atol=1e-5)


def test_what_networks_here_cannot_be_is_refused():
    g = of(authors("r3gan-16"), "G")
    other = {**g, "MainLayers.1.Layers.0.Resampler.Kernel": torch.full((4, 4), 1 / 16)}
    with pytest.raises(ValueError, match=r"MainLayers.1.Layers.0.Resampler.Kernel is not the filter \[1, 3, 3, 1\]"):
        from_authors(other)
    fewer = {name: t for name, t in g.items() if "MainLayers.2.Layers.2" not in name}
    with pytest.raises(ValueError, match="blocks is 2, 2, 1, and must be the same everywhere"):
        from_authors(fewer)
    for some in ({}, {"weight": torch.zeros(2)}, {n: t for n, t in g.items() if "Basis" not in n}):
        with pytest.raises(ValueError, match="not the tensors of an R3GAN"):
            from_authors(some)
