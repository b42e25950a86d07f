"""Spectral norm: torch's, in float32 under autocast, and without values too."""

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


@pytest.mark.parametrize("make", LAYERS.values(), ids=list(LAYERS))
def test_it_is_torchs(make):
    layer, theirs = make(), make()
    theirs.load_state_dict(layer.state_dict())
    torch.manual_seed(0)
    layer = spectral(layer)
    torch.manual_seed(0)
    theirs = torch.nn.utils.parametrizations.spectral_norm(theirs)
    assert torch.equal(layer.weight, theirs.weight)
    assert list(layer.state_dict()) == list(theirs.state_dict())


def test_singular_values_are_not_computed_in_half_precision(monkeypatch):
    layer, mv, enabled = spectral(nn.Linear(3, 5)), torch.mv, []

    def watched(*args):
        enabled.append(torch.is_autocast_enabled("cpu"))
        return mv(*args)

    monkeypatch.setattr(torch, "mv", watched)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.ones(2, 3)).dtype == torch.bfloat16
    assert enabled and not any(enabled)
