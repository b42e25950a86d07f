"""What CycleGAN's race compares computes the same."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from benchmarks import test_cyclegan_step as bench

STEPS = 3


@pytest.fixture
def _small_and_precise(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Networks in float64, and no pool: what it shows is drawn by each in its own way."""
    sizes = {"resolution": 16, "g_width": 4, "g_blocks": 1, "d_width": 4, "pool": 0}
    monkeypatch.setattr(bench, "PRESET", replace(bench.PRESET, **sizes))
    monkeypatch.setattr(bench, "DEVICE", torch.device("cpu"))
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("_small_and_precise")
def test_the_plain_loop_and_we_move_every_parameter_alike() -> None:
    results, start = [], copy.deepcopy(bench.networks(channels_last=True))
    for make in (bench.ours, bench.plain):
        nets = bench.networks(channels_last=make is bench.ours)
        torch.manual_seed(1)
        step = make(nets, 3, torch.float32)  # autocast is off
        for _ in range(STEPS):
            step()
        results.append(nets)
    ours, plain = results
    for name, network in plain.items():
        pairs = zip(start[name].parameters(), ours[name].parameters(), network.parameters(), strict=True)
        for before, mine, theirs in pairs:
            moved = (theirs - before).abs().max()
            assert moved > bench.LR
            # Adam divides gradients by their sizes, and so rounding of the smallest ones by these.
            assert (mine - theirs).abs().max() < 1e-4 * moved


def test_the_rivals_pool_is_the_papers() -> None:
    past, shown = bench.Past(4), []
    for step in range(40):
        shown += past.query(torch.full((2, 1, 1, 1), float(step))).flatten().tolist()
    assert shown[:4] == [0, 0, 1, 1] and len(past.images) == 4
    assert 20 < sum(step // 2 != value for step, value in enumerate(shown)) < 60
