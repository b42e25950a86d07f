"""Spectral norm without values has the state of one with values."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.parts.norms import spectral

LAYERS = {
    "dense": lambda: nn.Linear(3, 5),
    "convolution": lambda: nn.Conv2d(3, 5, 3),
    "transposed convolution": lambda: nn.ConvTranspose2d(3, 5, 4),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=list(LAYERS))
def test_on_the_meta_device_spectral_norm_has_the_same_tensors(make):
    with torch.device("meta"):
        described = spectral(make())
    layer = spectral(make())
    described_state, state = described.state_dict(), layer.state_dict()
    assert {name: t.shape for name, t in described_state.items()} == {name: t.shape for name, t in state.items()}
    assert all(t.is_meta for t in described_state.values())
    assert described.weight.shape == layer.weight.shape and described.weight.is_meta
    assert [name for name, _ in described.named_parameters()] == [name for name, _ in layer.named_parameters()]
