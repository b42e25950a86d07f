"""Critics that are autoencoders, and BEGAN's generator."""

from __future__ import annotations

import pytest
import torch
from torch import nn, tensor

from models.dcgan import Discriminator
from models.energy import ENERGIES, AutoencoderCritic, BeganDecoder, Uniform, began_critic, convolutional_critic
from models.parts.norms import D_NORMS


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class Halving(nn.Module):
    """Gives half of what it takes."""

    def forward(self, x):
        return x / 2


def halving(energy: str) -> AutoencoderCritic:
    """The error of its reconstruction is half an image."""
    shape = {"resolution": 2, "image_channels": 1}
    return AutoencoderCritic(nn.Flatten(), nn.Sequential(nn.Unflatten(1, (1, 2, 2)), Halving()), energy=energy, **shape)


@pytest.mark.parametrize(
    ("energy", "of_first", "of_second"),
    # The errors are 3, −4, 0, 0 and 1, 1, 1, 1.
    [("l1", 7 / 4, 1.0), ("mse", 25 / 4, 1.0), ("l2", 5.0, 2.0), ("sse", 25.0, 4.0)],
)
def test_a_score_is_minus_the_energy(energy: str, of_first: float, of_second: float):
    x = tensor([[6.0, -8.0, 0.0, 0.0], [2.0, 2.0, 2.0, 2.0]]).view(2, 1, 2, 2)
    scores = halving(energy)(x)
    torch.testing.assert_close(scores.score, tensor([-of_first, -of_second]))
    torch.testing.assert_close(scores.maps[-1], x.flatten(1))


@pytest.mark.parametrize("energy", ENERGIES)
def test_a_perfect_reconstruction_has_a_finite_gradient(energy: str):
    x = torch.zeros(2, 1, 2, 2, requires_grad=True)
    score = halving(energy)(x).score
    assert score.count_nonzero() == 0
    assert torch.autograd.grad(score.sum(), x)[0].isfinite().all()


def critics(resolution: int, **options) -> dict[str, AutoencoderCritic]:
    return {
        "BEGAN's": began_critic(resolution, width=2, code=3, **options),
        "convolutional": convolutional_critic(resolution, width=4, **options),
        "of dense code": convolutional_critic(resolution, width=4, code=3, kernel_size=5, norm="none", **options),
    }


@pytest.mark.parametrize("kind", critics(16))
@pytest.mark.parametrize("resolution", [16, 32, 64, 128])
def test_critics_of_all_sizes_give_energies_and_codes(kind: str, resolution: int):
    critic = critics(resolution, image_channels=1)[kind]
    x = torch.randn(3, 1, resolution, resolution).contiguous(memory_format=torch.channels_last)
    score, _, (code,), _ = critic(x)
    assert score.shape == (3,) and (score < 0).all()
    assert code.shape == (3, (4 * resolution // 8) * 16 if kind == "convolutional" else 3)
    gradients = torch.autograd.grad(score.sum(), list(critic.parameters()), allow_unused=True)
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("kind", critics(16))
def test_the_energy_is_that_of_encoding_and_decoding(kind: str):
    critic = critics(16)[kind].eval()
    x = torch.randn(2, 3, 16, 16)
    again = critic.decoder(critic.encoder(x))
    torch.testing.assert_close(critic(x).score, -ENERGIES[critic.energy]((x - again).flatten(1)))


def test_the_code_without_a_dense_layer_is_what_dcgans_last_block_gives():
    critic = convolutional_critic(32, width=4, norm="layer")
    d = Discriminator(32, width=4, norm="layer")
    for mine, theirs in zip(list(critic.encoder)[:-1], d.blocks.values(), strict=True):
        theirs.load_state_dict(mine.state_dict())
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(critic(x).maps[-1], d(x).maps[-1].flatten(1))


@pytest.mark.parametrize("norm", D_NORMS)
def test_interleaved_minibatches_are_judged_as_if_they_came_one_by_one(norm: str):
    critic = convolutional_critic(16, width=4, norm=norm)
    assert critic.sees_batch == (norm == "batch")
    x = torch.randn(2, 4, 3, 16, 16)
    both = critic(x.transpose(0, 1).flatten(0, 1), batches=2)
    for i, part in enumerate(both.parted(2)):
        alone = critic(x[i])
        if norm != "spectral":  # each pass moves its vectors on
            torch.testing.assert_close((part.score, part.maps[0]), (alone.score, alone.maps[0]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", critics(16))
def test_energies_are_float32_under_autocast(kind: str):
    with torch.autocast("cpu", torch.bfloat16):
        assert critics(16)[kind](torch.randn(2, 3, 16, 16)).score.dtype == torch.float32


@pytest.mark.parametrize("shape", [(2, 1, 16, 16), (2, 3, 32, 32), (3, 16, 16)])
def test_other_images_are_refused(shape):
    with pytest.raises(ValueError, match=r"x is \[.*\], not \[N, 3, 16, 16\]"):
        critics(16)["BEGAN's"](torch.zeros(shape))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: began_critic(8), "resolution=8 is not a power of two from 16 on"),
        (lambda: BeganDecoder(48), "resolution=48"),
        (lambda: halving("l3"), "energy='l3' is not one of l1, mse, l2, sse"),
    ],
)
def test_what_cannot_be_is_refused(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()


# --- BEGAN


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


def test_began_at_64_pixels_is_the_papers():
    """Two 3×3 convolutions at each size, filters that rise linearly in the encoder alone, a code of 64, ELU."""
    critic, generator = began_critic(64, width=16), BeganDecoder(64, width=16)
    there = [(c.out_channels, c.stride[0]) for c in convolutions(critic.encoder)]
    expected = [(16, 1), (16, 1), (16, 1), (32, 2), (32, 1), (32, 1), (48, 2), (48, 1), (48, 1), (64, 2)]
    assert there == [*expected, (64, 1), (64, 1)]
    assert [c.out_channels for c in convolutions(generator)] == [16] * 8 + [3]
    assert {c.kernel_size for c in convolutions(critic)} == {(3, 3)}
    assert critic.encoder[-1].out_features == generator.layers[1].in_features == 64
    kinds = {type(module) for module in [*critic.modules(), *generator.modules()]}
    assert nn.ELU in kinds and not kinds & {nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.BatchNorm2d}
    assert {m.mode for m in generator.modules() if isinstance(m, nn.Upsample)} == {"nearest"}


def test_began_draws_with_the_decoder_of_its_critic():
    critic, generator = began_critic(32, width=4, code=6), BeganDecoder(32, width=4, latent_dim=6)
    ours, theirs = (sum(p.numel() for p in network.parameters()) for network in (generator, critic.decoder))
    assert ours == theirs
    for mine, other in zip(list(generator.layers)[1:], critic.decoder.layers, strict=True):
        mine.load_state_dict(other.state_dict())
    z = torch.randn(2, 6)
    torch.testing.assert_close(generator(z), critic.decoder(Uniform()(z)))


def test_normal_latents_become_uniform():
    quantiles = tensor([0.001, 0.25, 0.5, 0.9])
    torch.testing.assert_close(Uniform()(torch.special.ndtri(quantiles)), 2 * quantiles - 1)
