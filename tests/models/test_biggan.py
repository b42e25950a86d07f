"""BigGAN's networks: the authors' sizes and numbers, and where classes and chunks of z go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.biggan import Discriminator, Generator, from_authors
from models.parts.residual import EQUAL

AUTHORS = Path(__file__).parent / "authors" / "biggan-32.npz"
"""A tiny random network of the authors' PyTorch code, in evaluation: its tensors, and what it makes of some latents."""
LATENT = 12
LABELS = torch.tensor([0, 2, 1])


def generator(resolution: int = 16, **options) -> Generator:
    given = {"latent_dim": LATENT, "width": 2, "num_classes": 3, "embedding": 5, "hierarchical": True, **options}
    return Generator(resolution, **given).double()


def discriminator(resolution: int = 16, **options) -> Discriminator:
    return Discriminator(resolution, **{"width": 2, "condition": "projection", "num_classes": 3, **options}).double()


def latents() -> Tensor:
    return torch.randn(len(LABELS), LATENT, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("resolution", EQUAL)
def test_maps_of_a_pyramid_halve_while_their_heights_double(resolution, deep):
    chunks = (resolution // 4).bit_length()
    options = {"latent_dim": chunks * 2, "hierarchical": not deep, "deep": deep, "width": 4, "pyramid": True}
    g, d = generator(resolution, **options), discriminator(resolution, deep=deep, width=4, pyramid=True)
    x = g(torch.randn(len(LABELS), chunks * 2, dtype=torch.float64), LABELS)
    assert x.shape == (len(LABELS), 3, resolution, resolution)
    assert g.dense.out_features == 16 * 4 * 16 and g.to_image.in_channels == 4 * (16 >> (chunks - 1))
    shapes = [tuple(m.shape[1:3]) for m in d(x, LABELS).maps]  # channels, height
    plain = [(8, 16), (16, 8), (32, 4), (64, 4)][-chunks:]
    assert shapes == ([(2 * width, height) for width, height in plain[:-1]] if deep else plain)


# --- the authors'


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_networks_of_the_authors_code_have_as_many_parameters():
    with torch.device("meta"):
        shared = {"num_classes": 1000, "embedding": 128, "hierarchical": True, "latent_dim": 120}
        assert parameters(Generator(128, width=96, attention=(64,), **shared)) == 70_433_988
        classes = {"condition": "projection", "num_classes": 1000}
        assert parameters(Discriminator(128, width=96, attention=(64,), **classes)) == 87_982_370
        assert parameters(Generator(32, num_classes=10)) == 4_304_387
        assert parameters(Discriminator(32, condition="projection", num_classes=10)) == 4_207_361


def test_biggan_deep_has_as_many_parameters_as_the_paper_says():
    """Table 2: 50.4 and 34.6 million. There G's last convolution makes 128 maps, of which 3 are the image."""
    with torch.device("meta"):
        g = Generator(128, width=128, num_classes=1000, embedding=128, deep=True, attention=(64,))
        d = Discriminator(128, width=128, condition="projection", num_classes=1000, deep=True, attention=(64,))
    spare = 125 * (128 * 9 + 1)
    assert round((parameters(g) + spare) / 1e6, 1) == 50.4
    assert round(parameters(d) / 1e6, 1) == 34.6


@pytest.fixture
def authors() -> dict[str, Tensor]:
    with np.load(AUTHORS) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files if name != "options"}


def of(role: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    start = f"net.{role}."
    return {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}


def test_a_network_of_the_authors_draws_its_images_and_scores_them(authors):
    made = []
    for role, kind in (("G", Generator), ("D", Discriminator)):
        options, state = from_authors(of(role, authors))
        network = kind(**options).eval()
        network.load_state_dict(state)
        made.append(network)
    g, d = made
    with torch.no_grad():
        x, score = g(authors["z"], authors["y"]), d(authors["image"], authors["y"]).score
    torch.testing.assert_close(x, authors["image"], rtol=0, atol=1e-5)
    torch.testing.assert_close(score, authors["score"][:, 0], rtol=1e-5, atol=1e-5)


def theirs(network: nn.Module, deep: bool) -> dict[str, Tensor]:
    """A state of ours by the authors' names, as they would have written it."""
    names = {"dense": "linear", "norm": "output_layer.0", "to_image": "output_layer.2", "from_image": "input_conv"}
    names |= {"head.score": "linear", "head.embed": "embed", "embed": "shared"}
    attention = {"query": "theta", "key": "phi", "value": "g", "output": "o"}
    state: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        to, parts = names.get(name, name), name.split(".")
        if parts[0] == "attention" and len(parts) > 1:
            to = ".".join([f"blocks.{parts[1]}.{2 if deep else 1}", *(attention.get(p, p) for p in parts[2:])])
        to = to.removesuffix(".normal").replace("norm", "bn").replace("shortcut", "conv_sc").replace("more", "conv_sc")
        if hasattr(module, "gamma"):
            state[f"{to}.gamma"] = module.gamma
        if isinstance(module, nn.BatchNorm2d):
            state |= {f"{to}.stored_mean": module.running_mean, f"{to}.stored_var": module.running_var}
            if module.affine:
                state |= {f"{to}.gain": module.weight, f"{to}.bias": module.bias}
        elif hasattr(module, "parametrizations"):
            spectral = module.parametrizations.weight
            state |= {f"{to}.weight": spectral.original, f"{to}.u0": spectral[0]._u[None], f"{to}.sv0": torch.ones(1)}
        elif isinstance(module, nn.Linear):
            state[f"{to}.weight"] = module.weight.T
        if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
            state[f"{to}.bias"] = module.bias
    return {name: value.detach() for name, value in state.items()}


SHAPES = [
    {},
    {"attention": (8,)},
    {"deep": True, "hierarchical": False, "attention": (16, 64)},
    {"hierarchical": False},
    {"hierarchical": False, "embedding": 0},
]


@pytest.mark.parametrize("resolution", [32, 64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_authors_names_tell_the_networks_options(resolution, shape):
    given = {"latent_dim": 60, "width": 2, "num_classes": 3, "embedding": 5, "hierarchical": True, **shape}
    heights = tuple(height for height in given.pop("attention", ()) if height < resolution)
    deep, z = given.get("deep", False), torch.randn(3, 60)
    both = {"resolution": resolution, "attention": heights, "deep": deep, "width": 8}
    for kind, options, call in (
        (Generator, {**given, **both}, (z, LABELS)),
        (
            Discriminator,
            {**both, "condition": "projection", "num_classes": 3},
            (torch.randn(3, 3, resolution, resolution), LABELS),
        ),
    ):
        network = kind(**options)
        with torch.no_grad():
            for _ in range(60):  # where the power iteration stands still, one step more changes nothing
                for module in network.modules():
                    if hasattr(module, "parametrizations"):
                        module.weight  # noqa: B018
        found, state = from_authors(theirs(network, deep))
        again = kind(**found)
        again.load_state_dict(state)
        with torch.no_grad():
            results = [made.eval()(*call) for made in (network, again)]
        results = [result if isinstance(result, Tensor) else result.score for result in results]
        torch.testing.assert_close(*results, rtol=1e-3, atol=1e-3)


def test_tensors_of_something_else_are_refused(authors):
    g, d = of("G", authors), of("D", authors)
    for state in (
        {},
        {"weight": torch.zeros(2)},
        {name: value for name, value in g.items() if not name.startswith("linear")},
        {name: value for name, value in d.items() if not name.startswith("blocks.0")},
        {**g, "linear.weight": torch.zeros(16 * 5, 3)},
    ):
        with pytest.raises(ValueError, match="these are not the tensors of a BigGAN's generator or discriminator"):
            from_authors(state)


# --- conditions


def test_each_block_is_given_the_classes_vector_and_a_chunk_of_its_own():
    g, z = generator(), latents()
    seen: list[Tensor] = []
    for stage in g.blocks:
        for norm in (stage[0].norm1, stage[0].norm2):
            norm.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    g.dense.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    g(z, LABELS)
    first, *chunks = z.split(LATENT // 3, 1)
    e = g.embed.weight.T[LABELS]
    expected = [first, *(torch.cat([e, chunk], 1) for chunk in chunks for _ in range(2))]
    torch.testing.assert_close(seen, expected)


def test_biggan_deep_gives_the_classes_vector_and_all_of_z_to_all_norms_and_the_dense_layer():
    g, z = generator(deep=True, hierarchical=False, width=4), latents()
    seen: list[Tensor] = []
    norms = [norm for stage in g.blocks for block in stage for norm in (block.norm1, block.norm4)]
    for module, place in [*((norm, 1) for norm in norms), (g.dense, 0)]:
        module.register_forward_pre_hook(lambda _, given, place=place: seen.append(given[place]))
    g(z, LABELS)
    assert len(seen) == 2 * 2 * 2 + 1
    for y in seen:
        torch.testing.assert_close(y, torch.cat([g.embed.weight.T[LABELS], z], 1))


def test_without_a_shared_vector_each_norm_has_a_table_of_the_classes():
    g = generator(embedding=0, hierarchical=False)
    norm = g.blocks[0][0].norm1
    assert norm.gain.weight.shape == (8, 3) and not hasattr(norm.gain, "parametrizations")
    x, y = torch.randn(3, 8, 4, 4, dtype=torch.float64), F.one_hot(LABELS, 3).double()
    gain, bias = (table.weight.T[LABELS][..., None, None] for table in (norm.gain, norm.bias))
    torch.testing.assert_close(norm(x, y), (1 + gain) * F.batch_norm(x, None, None, training=True) + bias)


def test_without_labels_chunks_alone_modulate():
    g, z = generator(num_classes=0, embedding=0), latents()
    assert g.blocks[0][0].norm1.gain.weight.shape == (8, LATENT // 3)
    changed = z.clone()
    changed[:, -1] += 1
    assert not torch.allclose(g(z), g(changed))
    assert isinstance(generator(num_classes=0, embedding=0, hierarchical=False).blocks[0][0].norm1, nn.BatchNorm2d)


def test_weights_start_orthogonal():
    for network in (generator(), discriminator(), generator(deep=True, hierarchical=False, width=4)):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                matrix = layer.parametrizations.weight.original if hasattr(layer, "parametrizations") else layer.weight
                matrix = matrix.flatten(1)
                square = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
                torch.testing.assert_close(square, torch.eye(len(square), dtype=torch.float64), rtol=0, atol=1e-6)
                assert layer.bias is None or not layer.bias.any()


def test_all_layers_but_tables_of_classes_have_spectral_norm():
    for network in (generator(attention=(16,), width=8), discriminator(attention=(8,), width=8)):
        plain = [
            name
            for name, layer in network.named_modules()
            if isinstance(layer, nn.Conv2d | nn.Linear) and not hasattr(layer, "parametrizations")
        ]
        assert plain == (["embed"] if isinstance(network, Generator) else [])


def test_maps_are_what_the_stages_give():
    scores = discriminator(deep=True)(torch.randn(3, 3, 16, 16, dtype=torch.float64), LABELS)
    assert [m.shape[1:] for m in scores.maps] == [(8, 8, 8), (8, 4, 4), (8, 4, 4)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: generator(48), "resolution=48 is not one of 8, 16, 32, 64, 128, 256"),
        (lambda: generator(latent_dim=13), "latent_dim=13 is no multiple of the 3 chunks"),
        (lambda: generator(embedding=0), "embedding=0: z joins the vectors"),
        (lambda: generator(num_classes=0), "embedding=5 is of classes"),
        (lambda: generator(deep=True), "hierarchical=True with deep=True"),
        (lambda: discriminator(condition="cgan"), "condition='cgan'"),
        (lambda: generator()(latents()), "labels are needed"),
        (lambda: generator()(latents()[:, :5], LABELS), r"z is \[3, 5\], not \[N, 12\]"),
        (lambda: discriminator()(torch.zeros(2, 3, 8, 8)), r"x is \[2, 3, 8, 8\], not \[N, 3, 16, 16\]"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
