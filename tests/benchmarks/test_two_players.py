"""The plain steps that those of two players are measured against do the same."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from benchmarks import test_r3gan_step, test_sngan_step
from benchmarks.two_players import Ceiling, Ours, Plain, PlainCompiled


@pytest.mark.parametrize("bench", [test_r3gan_step, test_sngan_step])
@pytest.mark.parametrize("kind", [Plain, PlainCompiled])
def test_the_plain_step_moves_the_networks_as_ours_does(
    bench: ModuleType, kind: type[Plain], monkeypatch: pytest.MonkeyPatch, without_code_generation
) -> None:
    monkeypatch.setattr(bench, "WIDTH", 8)
    monkeypatch.setattr(bench, "BATCH", 4)
    torch.compiler.reset()
    setting = bench.setting()
    ours, plain = Ours(setting, torch.float32), kind(setting, torch.float32)
    z, x = torch.randn(4, bench.LATENT), torch.rand(4, 3, 32, 32) * 2 - 1
    start = plain.g(z), plain.d(x).score
    for _ in range(3):
        batch = setting.columns(torch.channels_last)
        ours.step(batch)
        plain.step(batch)
    nets = ours.game.networks
    # Not their weights: a bias before a batch norm has a gradient of 0, and Adam's step along it is of any sign.
    for mine, theirs, before in (
        (nets["G"](z), plain.g(z), start[0]),
        (nets["D"](x).score, plain.d(x).score, start[1]),
    ):
        moved = (theirs - before).abs().max().item()
        assert moved > 1e-4
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0.02 * moved)


@pytest.mark.parametrize("bench", [test_r3gan_step, test_sngan_step])
def test_the_ceiling_runs_the_convolutions_of_the_step_or_few_less(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "WIDTH", 8)
    monkeypatch.setattr(bench, "BATCH", 4)
    setting = bench.setting()
    counts = []
    for kind in (Ours, Ceiling):
        step = kind(setting, torch.float32)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            step()
        named = {event.key: event.count for event in profiler.key_averages()}
        counts.append(sum(named[name] for name in ("aten::convolution", "aten::convolution_backward")))
    # Without layer norm a gradient does not depend on activations: some convolutions of second derivatives fall away.
    assert 0.9 * counts[0] < counts[1] <= counts[0]
