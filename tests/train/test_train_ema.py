"""The averaged generator forgets half in a half-life of images."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from models.pggan import Generator
from train.engine.ema import average, averaged_copy, weight_of


def generator() -> Generator:
    return Generator(8, latent_dim=4, fmap_base=8, fmap_max=4)


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_a_half_life_of_images_halves_what_was_whatever_the_batch(batch):
    network = generator()
    ema = averaged_copy(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    for _ in range(200 // batch):
        average(ema, network, weight_of(batch, half_life=100))
    for mine, theirs in zip(ema.active_parameters(), network.active_parameters(), strict=True):
        assert torch.allclose(theirs - mine, torch.tensor(0.25), atol=1e-5)


def test_growth_keeps_the_average_and_adds_the_new_layers_to_it():
    network = generator()
    ema = averaged_copy(network)
    kept = ema.conv.weight
    for each in (network, ema):
        each.grow(8, 0.5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    average(ema, network, weight_of(4, half_life=4))
    assert ema.conv.weight is kept
    assert len(ema.active_parameters()) == len(list(ema.parameters()))
    for mine, theirs in zip(ema.parameters(), network.parameters(), strict=True):
        assert torch.allclose(theirs - mine, torch.tensor(0.5), atol=1e-5)


def test_parameters_not_in_use_are_left_alone():
    network = generator()
    ema = averaged_copy(network)
    block = [p.clone() for p in ema.blocks.parameters()]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    average(ema, network, weight_of(4, half_life=0))
    assert all(torch.equal(a, b) for a, b in zip(block, ema.blocks.parameters(), strict=True))
    assert torch.equal(ema.conv.weight, network.conv.weight)


def test_the_average_trains_nothing():
    assert not any(p.requires_grad for p in averaged_copy(generator()).parameters())


def test_a_weight_on_the_device_moves_as_far_as_a_number():
    network = generator()
    by_number, by_tensor = averaged_copy(network), averaged_copy(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    average(by_number, network, 0.3)
    average(by_tensor, network, torch.tensor(0.3))
    for mine, theirs in zip(by_tensor.parameters(), by_number.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_running_statistics_of_the_average_are_those_that_its_weights_give():
    """Where activations are linear in the weights; what the newest weights give is something else."""
    torch.manual_seed(0)
    x = 1 + torch.randn(50, 3, dtype=torch.float64)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=1.0)).double()  # remembers the last batch
    network(x)
    ema = averaged_copy(network)
    for _ in range(5):
        with torch.no_grad():
            network[0].weight.add_(torch.randn(4, 3, dtype=torch.float64))
        network(x)
        average(ema, network, 0.3)
    torch.testing.assert_close(ema[1].running_mean, ema[0](x).mean(0))
    assert not torch.allclose(network[1].running_mean, ema[1].running_mean, atol=0.1)
    assert int(ema[1].num_batches_tracked) == 6
    variance = ema[1].running_var.clone()
    average(ema, network, torch.tensor(0.3, dtype=torch.float64))
    torch.testing.assert_close(ema[1].running_var, variance.lerp(network[1].running_var, 0.3))


def test_vectors_of_a_spectral_norm_are_copied():
    network = spectral_norm(nn.Linear(3, 4))
    ema = averaged_copy(network)
    with torch.no_grad():
        network.parametrizations.weight.original.normal_()
    network(torch.ones(1, 3))
    average(ema, network, 0.3)
    assert torch.equal(ema.parametrizations.weight[0]._u, network.parametrizations.weight[0]._u)
