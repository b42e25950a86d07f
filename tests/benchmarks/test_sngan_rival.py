"""The plain step that the residual networks' with WGAN-GP is measured against does the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks import test_sngan_step as bench
from benchmarks.test_sngan_step import Ceiling, Ours, Plain, PlainCompiled, columns

ABSORBED = ("conv1.bias", "conv2.bias", "shortcut.bias")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"G_WIDTH": 2, "D_WIDTH": 4, "BATCH": 4}.items():
        monkeypatch.setattr(bench, name, size)
    made = bench.networks

    def lively() -> tuple[nn.Module, nn.Module]:
        """Networks whose gradients are larger than at the start, where rounding decides on Adam's steps."""
        networks = made()
        for network in networks:
            for parameter in network.parameters():
                parameter.data.add_(torch.randn_like(parameter), alpha=0.2)
        return networks

    monkeypatch.setattr(bench, "networks", lively)
    monkeypatch.setattr(bench, "AT", bench.AT.__class__(0, 0, 32, 0.0, 4, 4, bench.LR))


@pytest.mark.parametrize("kind", [Plain, PlainCompiled])
def test_the_plain_step_moves_the_networks_as_ours_does(kind, without_code_generation) -> None:
    torch.compiler.reset()
    ours, plain = Ours(torch.float32), kind(torch.float32)
    start = [p.clone() for p in plain.g.parameters()]
    for _ in range(3):
        batch = columns()
        ours.step(batch)
        plain.step(batch)
    for mine, theirs in ((ours.game.networks["D"], plain.d), (ours.game.networks["G"], plain.g)):
        for (name, p), q in zip(mine.named_parameters(), theirs.parameters(), strict=True):
            # A norm takes away what these biases add, so that their gradients are rounding errors.
            if not (mine is ours.game.networks["G"] and name.endswith(ABSORBED)):
                assert (p - q).abs().mean() < 1e-5, name
    assert all((p - q).abs().max() > 1e-4 for p, q in zip(start, plain.g.parameters(), strict=True))


def test_the_ceiling_has_the_steps_convolutions_and_no_norm() -> None:
    ceiling = Ceiling(torch.float32)
    g = ceiling.game.networks["G"]
    before = g.norm.running_mean.clone()
    ceiling.step(columns())
    assert torch.equal(g.norm.running_mean, before)
