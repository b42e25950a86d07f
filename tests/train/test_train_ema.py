"""The averaged generator forgets half in a half-life of images."""

import pytest
import torch

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
