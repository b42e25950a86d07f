"""The statistic of images and latents, and the Markov chain among latents."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from gan_ops.objectives import Scores
from models.maximum_entropy import LatentLangevin, Statistics


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("resolution", [16, 64])
def test_pairs_of_images_and_latents_have_a_number(resolution: int):
    t = Statistics(resolution, image_channels=1, latent_dim=5, width=4, hidden=7)
    x, z = torch.randn(3, 1, resolution, resolution), torch.randn(3, 5)
    found = t(x, z)
    assert found.shape == (3,)
    assert not torch.equal(found, t(x, z.roll(1, 0)))
    torch.testing.assert_close(t(x[1:], z[1:]), found[1:])  # each pair by itself
    gradients = torch.autograd.grad(found.square().sum(), list(t.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)
    with torch.autocast("cpu", torch.bfloat16):
        assert t(x, z).dtype == torch.float32


class Same(nn.Module):
    """The generator whose images are its latents."""

    resolution, latent_dim, num_classes = 1, 2, 0

    def forward(self, z: Tensor) -> Tensor:
        return z


class Bowl(nn.Module):
    """U(x) = (x₀ − 3)² + x₁²/8."""

    def forward(self, x: Tensor) -> Scores:
        return Scores(-((x[:, 0] - 3) ** 2 + x[:, 1] ** 2 / 8))


def chain(steps: int, rate: float, temperature: float = 1.0) -> LatentLangevin:
    return LatentLangevin(Same(), Bowl(), steps=steps, rate=rate, temperature=temperature)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_chain_ends_at_the_density_of_the_energy(temperature: float):
    """exp(−U/T) is normal here, with mean (3, 0) and variances T/2 and 4T. With these large steps a chain without
    rejections would be far too wide."""
    with torch.no_grad():
        refine = chain(400, 0.6 * temperature, temperature)
        found = refine(torch.randn(3000, refine.latent_dim))
    torch.testing.assert_close(found.mean(0), torch.tensor([3.0, 0.0]), rtol=0, atol=0.15 * math.sqrt(temperature))
    torch.testing.assert_close(found.var(0), torch.tensor([temperature / 2, 4 * temperature]), rtol=0.12, atol=0)


def test_a_step_is_that_of_the_metropolis_adjusted_algorithm():
    refine, rate = chain(1, 0.1), 0.1
    z, eps, number = torch.tensor([0.5, 1.0]), torch.tensor([0.3, -0.2]), 0.0  # a uniform number of ½

    def u(at: Tensor) -> Tensor:
        return (at[0] - 3) ** 2 + at[1] ** 2 / 8

    def slope(at: Tensor) -> Tensor:
        return torch.tensor([2 * (at[0] - 3), at[1] / 4])

    there = z - rate * slope(z) + math.sqrt(2 * rate) * eps
    forth = (there - z + rate * slope(z)).square().sum() / (4 * rate)
    back = (z - there + rate * slope(there)).square().sum() / (4 * rate)
    probability = (u(z) - u(there) + forth - back).exp().item()
    for quantile in (probability / 2, (1 + probability) / 2):
        number = torch.special.ndtri(torch.tensor(min(quantile, 1 - 1e-6))).item()
        found = refine(torch.cat((z, eps, torch.tensor([number])))[None])[0]
        torch.testing.assert_close(found, there if quantile < probability else z)


def test_energies_fall():
    refine = chain(50, 0.05)
    numbers = torch.randn(200, refine.latent_dim)
    assert Bowl()(refine(numbers)).score.mean() > Bowl()(numbers[:, :2]).score.mean() + 5


def test_a_chain_without_steps_is_the_generator():
    refine = chain(0, 0.1)
    z = torch.randn(4, refine.latent_dim)
    assert torch.equal(refine(z), z)


def test_all_random_numbers_are_given():
    refine = chain(3, 0.1)
    numbers = torch.randn(4, refine.latent_dim)
    assert refine.latent_dim == 2 + 3 * (2 + 1)
    assert torch.equal(refine(numbers), refine(numbers))
    torch.testing.assert_close(refine(numbers[1:]), refine(numbers)[1:])
    with pytest.raises(ValueError, match=r"z is \[4, 2\], not \[N, 11\]"):
        refine(numbers[:, :2])
