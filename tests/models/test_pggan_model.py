"""PGGAN's networks: the paper's structure, growth as state, conditioning, precision, layout, and use by trainers."""

from __future__ import annotations

import copy
import io
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ops import nn as gnn
from gan_ops import reference, use_reference
from gan_ops._dispatch import reference_only
from models.pggan import Discriminator, Generator, fade_reals, feature_maps

SMALL = {"fmap_base": 64, "fmap_max": 8}
LATENT = 6


def generator(resolution: int = 32, dtype: torch.dtype = torch.float64, **options) -> Generator:
    return with_biases(Generator(resolution, latent_dim=LATENT, **{**SMALL, **options})).to(dtype)


def discriminator(resolution: int = 32, dtype: torch.dtype = torch.float64, **options) -> Discriminator:
    return with_biases(Discriminator(resolution, **{**SMALL, **options})).to(dtype)


def with_biases(network: nn.Module) -> nn.Module:
    """Biases start at 0, which would hide mistakes in them."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    return network


def latents(n: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, LATENT, dtype=dtype)


def images(resolution: int, n: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, 3, resolution, resolution, dtype=dtype)


def up(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def down(x: Tensor) -> Tensor:
    return x.unfold(2, 2, 2).unfold(3, 2, 2).mean((-2, -1))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


# --- structure
# ---------------------------------------------------------------------------------------------------------


def test_feature_maps_of_the_paper():
    maps = {2**r: feature_maps(r - 1) for r in range(2, 11)}
    assert maps == {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 64, 512: 32, 1024: 16}


def test_feature_maps_decay_and_maximum():
    assert [feature_maps(stage, 4096, 1.0, 128) for stage in (1, 4, 5, 6)] == [128, 128, 128, 64]
    assert [feature_maps(stage, 64, 0.5, 512) for stage in (0, 2, 4)] == [64, 32, 16]


def test_parameter_counts_of_the_paper():
    with torch.device("meta"):
        networks = Generator(1024), Discriminator(1024)
    assert [sum(p.numel() for p in network.parameters()) for network in networks] == [23_079_115, 23_087_249]


@pytest.mark.parametrize("resolution", [4, 8, 16, 32])
def test_sizes_at_every_resolution(resolution):
    g, d = generator(), discriminator()
    g.grow(resolution)
    d.grow(resolution)
    x = g(latents())
    assert x.shape == (4, 3, resolution, resolution)
    scores = d(x)
    assert scores.score.shape == (4,)
    assert scores.logits is None


def test_networks_start_at_4_px():
    assert (generator().resolution, discriminator().resolution) == (4, 4)


def test_a_network_made_for_4_px_works():
    assert discriminator(4)(generator(4)(latents())).score.shape == (4,)


def scaled_conv(x: Tensor, layer: nn.Module, gain: float = math.sqrt(2)) -> Tensor:
    size = layer.weight.shape[-1]
    scale = gain / math.sqrt(layer.weight[0].numel())
    return F.conv2d(x, layer.weight * scale, layer.bias, padding=size // 2)


def test_generator_is_the_recipe_written_out():
    g = generator(8)
    g.grow(8)
    z = latents()

    def epilogue(x):
        return reference.pixel_norm(F.leaky_relu(x, 0.2))

    weight = g.dense.weight.unflatten(1, (4, 4, -1)) * (math.sqrt(2) / 4 / math.sqrt(LATENT))  # [L, 4, 4, C]
    x = torch.einsum("nl,lhwc->nchw", reference.pixel_norm(z), weight) + g.dense.bias[:, None, None]
    x = epilogue(scaled_conv(epilogue(x), g.conv))
    x = epilogue(scaled_conv(up(x), g.blocks["8"].conv0))
    x = epilogue(scaled_conv(x, g.blocks["8"].conv1))
    torch.testing.assert_close(g(z), scaled_conv(x, g.to_rgb["8"], gain=1.0))


def test_discriminator_is_the_recipe_written_out():
    d = discriminator(8, group_size=2)
    d.grow(8)
    x = images(8)

    def activate(x):
        return F.leaky_relu(x, 0.2)

    h = activate(scaled_conv(x, d.from_rgb["8"]))
    h = activate(scaled_conv(h, d.blocks["8"].conv0))
    h = down(activate(scaled_conv(h, d.blocks["8"].conv1)))
    h = activate(scaled_conv(reference.minibatch_stddev(h, 2), d.conv))
    fan_in = h[0].numel()
    weight = d.dense.weight.unflatten(0, (4, 4, -1)) * math.sqrt(2 / fan_in)  # [4, 4, C, O]
    h = activate(torch.einsum("nchw,hwco->no", h, weight) + d.dense.bias)
    score = h @ d.head.score.weight[0] / math.sqrt(h.shape[1]) + d.head.score.bias
    torch.testing.assert_close(d(x).score, score)


def test_discriminator_widens_towards_low_resolutions():
    d = discriminator(32, fmap_base=64, fmap_max=512)
    shapes = {r: [tuple(c.weight.shape[:2]) for c in (b.conv0, b.conv1)] for r, b in d.blocks.items()}
    assert shapes == {"8": [(16, 16), (32, 16)], "16": [(8, 8), (16, 8)], "32": [(4, 4), (8, 4)]}
    assert (d.dense.weight.shape[1], d.head.score.weight.shape[1]) == (64, 64)


@pytest.mark.parametrize(
    "network", [Generator(32, latent_dim=LATENT, **SMALL), Discriminator(32, **SMALL)], ids=["g", "d"]
)
def test_weights_start_standard_normal_and_biases_zero(network):
    weights = torch.cat([p.flatten() for name, p in network.named_parameters() if name.endswith("weight")])
    assert weights.std().item() == pytest.approx(1, abs=0.05)
    assert not any(p.any() for name, p in network.named_parameters() if name.endswith("bias"))


def test_latent_length_does_not_matter():
    g, z = generator(), latents()
    torch.testing.assert_close(g(z * 7), g(z), rtol=1e-6, atol=1e-6)


def test_grey_images():
    assert discriminator(image_channels=1)(generator(image_channels=1)(latents())).score.shape == (4,)


def test_group_size_of_the_discriminator():
    assert discriminator(group_size=None).stddev.group(6) == 6
    with pytest.raises(ValueError, match="group_size=4 does not divide the batch of 6"):
        discriminator()(images(4, n=6))


# --- growth
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fade", [0.25, 0.5, 0.7])
def test_generator_fades_between_new_and_enlarged_old_image(fade):
    g, z = generator(), latents()
    g.grow(8)
    old = g(z)
    g.grow(16)
    new = g(z)
    g.grow(16, fade)
    torch.testing.assert_close(g(z), (1 - fade) * new + fade * up(old))


@pytest.mark.parametrize("as_tensor", [False, True])
def test_generator_at_fade_1_is_exactly_the_old_one(as_tensor):
    g, z = generator(), latents()
    g.grow(8)
    old = g(z)
    g.grow(16, torch.tensor(1.0) if as_tensor else 1)
    assert torch.equal(g(z), up(old))


@pytest.mark.parametrize("fade", [0.25, 0.7])
def test_discriminator_fades_between_new_block_and_old_input(fade):
    d = discriminator(8)
    d.grow(8, fade)
    x = images(8)
    seen = []
    hook = d.stddev.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    d(x)
    hook.remove()
    new = d.blocks["8"](F.leaky_relu(scaled_conv(x, d.from_rgb["8"]), 0.2))
    old = F.leaky_relu(scaled_conv(down(x), d.from_rgb["4"]), 0.2)
    torch.testing.assert_close(seen[0], (1 - fade) * new + fade * old)


@pytest.mark.parametrize("as_tensor", [False, True])
def test_discriminator_at_fade_1_is_exactly_the_old_one(as_tensor):
    d, x = discriminator(), images(16)
    d.grow(8)
    old = d(F.avg_pool2d(x, 2)).score
    d.grow(16, torch.tensor(1.0) if as_tensor else 1)
    assert torch.equal(d(x).score, old)


def test_reals_fade_to_their_box_filtered_selves():
    x = images(8)
    torch.testing.assert_close(fade_reals(x, 0.3), 0.7 * x + 0.3 * up(down(x)))
    torch.testing.assert_close(fade_reals(x, torch.tensor(0.3)), fade_reals(x, 0.3), rtol=0, atol=1e-7)
    assert fade_reals(x, 0.0) is x
    assert torch.equal(fade_reals(x, 1.0), up(F.avg_pool2d(x, 2)))


@pytest.mark.parametrize("fade", [0.0, 0.25, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("make", [generator, discriminator])
def test_fade_as_number_and_as_tensor_give_the_same(make, fade):
    network = make(dtype=torch.float32)
    x = latents(dtype=torch.float32) if make is generator else images(16, dtype=torch.float32)
    results = []
    for form in (fade, torch.tensor(fade), torch.tensor(fade, dtype=torch.float64)):
        network.grow(16, form)
        result = network(x)
        results.append(result if make is generator else result.score)
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-6, atol=1e-6)


def test_a_tensor_fade_is_followed_when_it_changes_in_place():
    g, z, fade = generator(), latents(), torch.tensor(1.0)
    g.grow(8, fade)
    before = g(z)
    fade.fill_(0.25)
    g_number = copy.deepcopy(g)
    g_number.grow(8, 0.25)
    assert not torch.equal(g(z), before)
    torch.testing.assert_close(g(z), g_number(z))


def test_a_tensor_fade_at_4_px_is_ignored():
    g, z = generator(), latents()
    expected = g(z)
    g.grow(4, torch.tensor(0.5))
    assert torch.equal(g(z), expected)
    assert g.get_extra_state() == {"resolution": 4, "fade": 0.0}


@pytest.mark.parametrize("make", [generator, discriminator])
def test_growth_keeps_every_parameter_and_its_name(make):
    network = make()
    before = dict(network.named_parameters())
    values = {name: p.detach().clone() for name, p in before.items()}
    network.grow(16, 0.5)
    after = dict(network.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] and torch.equal(after[name], values[name]) for name in before)


STAGES = [(4, 0.0), (8, 1.0), (8, 0.5), (8, 0.0), (16, 0.5), (32, 0.0), (32, "tensor"), (4, "tensor")]


@pytest.mark.parametrize(("resolution", "fade"), STAGES)
@pytest.mark.parametrize("condition", ["none", "cgan", "acgan", "projection"])
def test_active_parameters_are_those_that_get_a_gradient(resolution, fade, condition):
    num_classes = 0 if condition == "none" else 3
    g = generator(num_classes=num_classes)
    d = discriminator(num_classes=num_classes, condition=condition)
    labels = torch.tensor([0, 1, 2, 0]) if num_classes else None
    for network in (g, d):
        network.grow(resolution, torch.tensor(0.5) if fade == "tensor" else fade)
    scores = d(g(latents(), labels), labels if condition in ("cgan", "projection") else None)
    (scores.score.sum() + (0 if scores.logits is None else scores.logits.sum())).backward()
    for network in (g, d):
        active = {id(p) for p in network.active_parameters()}
        assert len(active) == len(network.active_parameters())
        assert active == {id(p) for p in network.parameters() if p.grad is not None}


@pytest.mark.parametrize("make", [generator, discriminator])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((12,), "resolution=12 is not a power of two"),
        ((2,), "resolution=2 is not a power of two from 4 on"),
        ((8.0,), "resolution=8.0 is not"),
        ((64,), "resolution=64 is above 32"),
        ((8, 1.5), "fade=1.5 is not between 0 and 1"),
        ((8, -0.1), "fade=-0.1 is not between 0 and 1"),
        ((8, math.nan), "fade=nan is not between 0 and 1"),
        ((4, 0.5), "fade=0.5 at 4 px"),
        ((8, torch.zeros(1)), "fade must be a 0-d"),
        ((8, torch.tensor(1)), "fade must be a 0-d"),
        ((8, torch.tensor(0.5, requires_grad=True)), "requires_grad=True"),
    ],
)
def test_bad_growth_is_named_and_changes_nothing(make, arguments, message):
    network = make()
    with pytest.raises(ValueError, match=message):
        network.grow(*arguments)
    assert (network.resolution, network.fade) == (4, 0.0)


@pytest.mark.parametrize("network", [Generator, Discriminator])
def test_bad_sizes_are_named(network):
    with pytest.raises(ValueError, match="resolution=48 is not a power of two"):
        network(48)
    with pytest.raises(ValueError, match="fmap_base=4"):
        network(32, fmap_base=4)


# --- inputs
# ------------------------------------------------------------------------------------------------------------


def test_wrong_inputs_are_named():
    with pytest.raises(ValueError, match=r"z is \[4, 7\], not \[N, 6\]"):
        generator()(torch.zeros(4, 7, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"x is \[4, 3, 8, 8\], not \[N, 3, 4, 4\]"):
        discriminator()(images(8))


@pytest.mark.parametrize("resolution", [4, 16])
@pytest.mark.parametrize("group_size", [2, None])
@pytest.mark.parametrize("fade", [0.0, 0.5])
def test_interleaved_real_and_fake_score_as_in_two_passes(resolution, group_size, fade):
    d = discriminator(group_size=group_size)
    d.grow(resolution, fade if resolution > 4 else 0.0)
    real, fake = images(resolution), images(resolution)
    both = d(torch.stack((real, fake), 1).flatten(0, 1), batches=2).score
    torch.testing.assert_close(both[0::2], d(real).score, rtol=0, atol=1e-12)
    torch.testing.assert_close(both[1::2], d(fake).score, rtol=0, atol=1e-12)


def test_statistics_of_interleaved_batches_are_needed():
    d = discriminator(group_size=None)
    real, fake = images(4), 3 * images(4)
    both = torch.stack((real, fake), 1).flatten(0, 1)
    assert not torch.allclose(d(both).score[0::2], d(real).score)


def test_gradients_of_an_interleaved_pass_are_those_of_two():
    d = discriminator()
    d.grow(8)
    real, fake = images(8), images(8)
    one = d(torch.stack((real, fake), 1).flatten(0, 1), batches=2).score
    together = torch.autograd.grad(one[1::2].mean() - one[0::2].mean(), d.active_parameters())
    apart = torch.autograd.grad(d(fake).score.mean() - d(real).score.mean(), d.active_parameters())
    torch.testing.assert_close(together, apart)


def test_minibatch_discrimination_joins_the_last_features_and_keeps_minibatches_apart():
    d = discriminator(8, minibatch_kernels=3, group_size=1)
    d.grow(8, 0.3)
    assert d.head.score.weight.shape[1] == d.dense.weight.shape[1] + 3
    assert any(p is d.minibatch.weight for p in d.active_parameters())
    real, fake = images(8), images(8)
    both = d(torch.stack((real, fake), 1).flatten(0, 1), batches=2).score
    torch.testing.assert_close(both[0::2], d(real).score)
    torch.testing.assert_close(both[1::2], d(fake).score)
    assert not torch.allclose(d(real[:1].expand_as(real)).score[0], d(real).score[0])


@pytest.mark.parametrize(("count", "group_size"), [(8, 3), (8, None), (2, 4), (10, 4)])
def test_minibatch_discrimination_is_fitted_to_images_of_whole_groups(count, group_size):
    d = discriminator(8, minibatch_kernels=3, group_size=group_size)
    d.grow(8)
    before = d.minibatch.weight.clone()
    d.fit_minibatch(images(8)[:1] + torch.randn(count, *images(8).shape[1:]))
    assert d.minibatch.weight.isfinite().all() and not torch.equal(d.minibatch.weight, before)


@pytest.mark.parametrize("fade", [0.0, 0.3])
def test_maps_go_from_the_first_layer_to_4_px_as_faded(fade):
    d = discriminator()
    d.grow(16, fade)
    x = images(16)
    maps = d(x).maps
    assert [m.shape[2:] for m in maps] == [(16, 16), (8, 8), (4, 4)]
    assert torch.equal(maps[0], d.from_rgb["16"](x))
    torch.testing.assert_close(maps[1], torch.lerp(d.blocks["16"](maps[0]), d.from_rgb["8"](down(x)), fade))
    assert torch.equal(maps[2], d.blocks["8"](maps[1]))


def test_labels_steer_the_generator():
    g, z = generator(num_classes=3), latents(2)
    one = g(z, torch.tensor([0, 1]))
    other = g(z, torch.tensor([0, 2]))
    assert torch.equal(one[0], other[0])
    assert not torch.allclose(one[1], other[1])


def test_labels_are_joined_to_z_as_one_hot_vectors():
    g, z = generator(num_classes=3), latents(3)
    plain = Generator(32, latent_dim=LATENT + 3, **SMALL).double()
    plain.load_state_dict(g.state_dict())
    expected = plain(torch.cat((z, torch.eye(3, dtype=torch.float64)), dim=1))
    torch.testing.assert_close(g(z, torch.arange(3)), expected)


def test_labels_are_joined_to_the_discriminator_as_planes_at_4_px():
    d = discriminator(num_classes=3, condition="cgan")
    d.grow(8)
    seen = []
    d.conv.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    d(images(8, n=4), torch.tensor([0, 2, 1, 0]))
    planes = seen[0][:, -3:]
    assert seen[0].shape == (4, 8 + 1 + 3, 4, 4)
    assert torch.equal(planes.argmax(1)[:, 0, 0], torch.tensor([0, 2, 1, 0]))
    assert torch.equal(planes.sum((1, 2, 3)), torch.full((4,), 16.0, dtype=torch.float64))


def test_acgan_gives_logits_with_the_score():
    d = discriminator(num_classes=3, condition="acgan")
    scores = d(images(4))
    assert (scores.score.shape, scores.logits.shape) == ((4,), (4, 3))


NO_LABELS = {"generator": lambda: generator(num_classes=3)(latents()), "cgan": lambda: cgan()(images(4))}


def cgan() -> Discriminator:
    return discriminator(num_classes=3, condition="cgan")


@pytest.mark.parametrize("call", NO_LABELS.values(), ids=NO_LABELS)
def test_missing_labels_are_named(call):
    with pytest.raises(ValueError, match="labels are needed by a network with num_classes=3"):
        call()


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0, 1, 2, 3], ValueError, "labels reach from 0 to 3, outside 0 to 2"),
        ([0, 1, -1, 0], ValueError, "labels reach from -1 to 1, outside 0 to 2"),
        ([0, 1], ValueError, r"labels are \[2\], not \[4\]"),
        ([0.0, 1.0, 2.0, 0.0], TypeError, "labels are torch.float32"),
    ],
)
def test_bad_labels_are_named(labels, error, message):
    with pytest.raises(error, match=message):
        generator(num_classes=3)(latents(), torch.tensor(labels))
    with pytest.raises(error, match=message):
        cgan()(images(4), torch.tensor(labels))


def test_labels_for_a_network_without_are_an_error():
    labels = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match="num_classes=0"):
        generator()(latents(), labels)
    with pytest.raises(ValueError, match="condition='none'"):
        discriminator()(images(4), labels)
    with pytest.raises(ValueError, match="condition='acgan'"):
        discriminator(num_classes=3, condition="acgan")(images(4), labels)


@pytest.mark.parametrize(
    "options",
    [{"condition": "joined"}, {"condition": "cgan"}, {"num_classes": 3}],
)
def test_contradicting_conditioning_is_an_error(options):
    with pytest.raises(ValueError, match="condition="):
        discriminator(**options)


# --- derivatives, precision, layout
# ------------------------------------------------------------------------------------


def penalty_step(g: Generator, d: Discriminator, z: Tensor, real: Tensor) -> list[Tensor]:
    """Gradients of a WGAN-GP-like step with respect to all weights of both networks."""
    x = real.clone().requires_grad_()
    (slope,) = torch.autograd.grad(d(x).score.sum(), x, create_graph=True)
    loss = (slope.flatten(1).norm(dim=1) - 1).square().mean() + d(g(z)).score.mean()
    return torch.autograd.grad(loss, [*g.active_parameters(), *d.active_parameters()])


@pytest.mark.parametrize("fade", [0.0, 0.4])
def test_a_step_through_second_derivatives_equals_the_reference(fade):
    g, d = generator(), discriminator()
    for network in (g, d):
        network.grow(16, fade)
    z, real = latents(), images(16)
    gradients = penalty_step(g, d, z, real)
    with use_reference():
        torch.testing.assert_close(gradients, penalty_step(g, d, z, real))


def test_second_derivatives_through_in_place_activations_are_right():
    d = discriminator(8, fmap_max=3, group_size=2)
    d.grow(8, 0.3)
    x = images(8, n=2).requires_grad_()
    torch.autograd.gradcheck(lambda x: d(x).score, x, fast_mode=True)
    torch.autograd.gradgradcheck(lambda x: d(x).score, x, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("fade", [0.0, 0.5, "tensor"])
def test_half_precision_under_autocast_gives_float32_images_and_scores(dtype, fade):
    g, d = generator(dtype=torch.float32), discriminator(dtype=torch.float32, num_classes=3, condition="acgan")
    for network in (g, d):
        network.grow(16, torch.tensor(0.5) if fade == "tensor" else fade)
    z = latents(dtype=torch.float32)
    expected_x = g(z)
    expected = d(expected_x)
    with torch.autocast("cpu", dtype):
        x = g(z)
        scores = d(expected_x)
    assert x.dtype == scores.score.dtype == scores.logits.dtype == torch.float32
    torch.testing.assert_close(x, expected_x, rtol=0.1, atol=0.1)
    torch.testing.assert_close(scores[:2], expected[:2], rtol=0.1, atol=0.1)


@pytest.mark.skipif(reference_only, reason="the ops' definitions do not keep the layout, only the kernels do")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fade", [0.0, 0.5])
def test_activations_stay_channels_last(dtype, fade):
    g = generator(dtype=torch.float32, num_classes=3).to(memory_format=torch.channels_last)
    d = discriminator(dtype=torch.float32, num_classes=3, condition="cgan").to(memory_format=torch.channels_last)
    outputs = {}

    def keep(name):
        return lambda module, args, y: outputs.update({name: y})

    for name, module in [*g.named_modules(prefix="g"), *d.named_modules(prefix="d")]:
        if not isinstance(module, nn.ModuleDict):
            module.register_forward_hook(keep(name))
    for network in (g, d):
        network.grow(16, fade)
    labels = torch.tensor([0, 1, 2, 0])
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        d(g(latents(dtype=torch.float32), labels), labels)
    maps = {name: y for name, y in outputs.items() if isinstance(y, Tensor) and y.dim() == 4}
    assert {"g.dense", "g.blocks.16.conv0", "g.to_rgb.16", "d.from_rgb.16", "d.blocks.8", "d.stddev", "d.conv"} <= set(
        maps
    )
    assert [name for name, y in maps.items() if not y.is_contiguous(memory_format=torch.channels_last)] == []


@pytest.mark.parametrize("fade", [0.0, 0.5])
def test_channels_last_gives_the_same_as_contiguous(fade):
    g, d = generator(), discriminator()
    for network in (g, d):
        network.grow(16, fade)
    z = latents()
    expected = d(g(z)).score
    g_last, d_last = (copy.deepcopy(network).to(memory_format=torch.channels_last) for network in (g, d))
    torch.testing.assert_close(d_last(g_last(z)).score, expected)
    torch.testing.assert_close(d(g_last(z)).score, expected)
    torch.testing.assert_close(d_last(g(z)).score, expected)


def test_no_samples_give_no_images_and_no_scores():
    assert discriminator()(generator()(latents(0))).score.shape == (0,)


# --- state, copies, compilers, processes
# -------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [generator, discriminator])
@pytest.mark.parametrize("fade", [0.25, "tensor"])
def test_state_of_growth_travels_in_plain_types_in_the_state_dict(make, fade):
    network = make()
    network.grow(16, torch.tensor(0.25) if fade == "tensor" else fade)
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    other = make()
    other.load_state_dict(torch.load(file, weights_only=True))
    assert (other.resolution, other.fade) == (16, 0.25)
    x = latents() if make is generator else images(16)
    result, expected = other(x), network(x)
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"resolution": 16}, r"\.32\..*weight is not known here"),
        ({"resolution": 64}, r"\.64\..*weight is missing"),
        ({"resolution": 32, "image_channels": 1}, r"rgb\.4\.weight is \[.*3.*\] there but \[.*1.*\] here"),
    ],
)
@pytest.mark.parametrize("make", [generator, discriminator])
def test_a_checkpoint_of_another_shape_is_refused_in_one_line_before_anything_changes(make, other, message):
    checkpoint = make()
    checkpoint.grow(8)
    network = make(**other)
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match=message) as refused:
        network.load_state_dict(checkpoint.state_dict())
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith(f"the checkpoint does not fit this {type(network).__name__}: ")
    after = network.state_dict()
    assert all(torch.equal(v, after[k]) if isinstance(v, Tensor) else v == after[k] for k, v in before.items())


@pytest.mark.parametrize("make", [generator, discriminator])
@pytest.mark.parametrize("fade", [0.25, "tensor"])
@pytest.mark.parametrize(
    "copier", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))], ids=["deepcopy", "pickle"]
)
def test_copies_are_equal_and_independent(make, fade, copier):
    network = make()
    network.grow(16, torch.tensor(0.25) if fade == "tensor" else fade)
    x = latents() if make is generator else images(16)
    expected = network(x)
    other = copier(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    network.grow(8)
    torch.testing.assert_close(other(x), expected)


@pytest.mark.parametrize("fade", [0.0, "tensor"])
def test_networks_compile_as_one_graph(fade):
    torch.compiler.reset()
    g = generator(8, torch.float32, num_classes=3)
    d = discriminator(8, torch.float32, num_classes=3, condition="cgan")
    for network in (g, d):
        network.grow(8, torch.tensor(0.3) if fade == "tensor" else fade)
    z, labels = latents(dtype=torch.float32), torch.tensor([0, 1, 2, 0])

    def score(z, labels):
        return d(g(z, labels), labels).score

    compiled = torch.compile(score, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(z, labels), score(z, labels), rtol=1e-5, atol=1e-5)
    weights = [*g.active_parameters(), *d.active_parameters()]
    results = [torch.autograd.grad(f(z, labels).sum(), weights) for f in (compiled, score)]
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


def test_a_network_is_wrapped_for_several_processes(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        d = discriminator()
        d.grow(8)
        wrapped = nn.parallel.DistributedDataParallel(d, find_unused_parameters=True)
        scores = wrapped(images(8), batches=1)
        scores.score.sum().backward()
        assert all(p.grad is not None for p in d.active_parameters())
    finally:
        torch.distributed.destroy_process_group()


def test_layers_are_those_of_gan_ops():
    kinds = {type(module) for module in generator().modules()} | {type(module) for module in discriminator().modules()}
    assert {gnn.PixelNorm, gnn.MinibatchStddev, gnn.EqualizedConv2d, gnn.EqualizedLinear} <= kinds
    assert not kinds & {nn.Conv2d, nn.Linear}


def test_a_generator_is_exported_for_batches_of_any_size():
    g = generator(8, torch.float32, num_classes=3).eval().requires_grad_(False)
    g.grow(8, 0.3)
    batch = torch.export.Dim("batch")
    labels = torch.tensor([0, 1])
    shapes = ({0: batch}, {0: batch})
    program = torch.export.export(g, (latents(2, torch.float32), labels), dynamic_shapes=shapes).module()
    for n in (1, 3, 100):  # of 100 the eager network fuses enlargement and convolution
        z, labels = latents(n, torch.float32), torch.arange(n) % 3
        torch.testing.assert_close(program(z, labels), g(z, labels), rtol=0, atol=1e-4)
