"""TransGAN's race compares the same computation, and the memory that ours is said to need at most."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from benchmarks import test_transgan_step as bench
from benchmarks.memory import peak_of


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(bench, "DEVICE", torch.device("cpu"))


def test_both_kinds_of_attention_move_every_weight_alike() -> None:
    sizes = {"resolution": 16, "batch": "4", "g_width": 64, "g_blocks": "1,1", "d_width": 32, "d_blocks": 1}
    config = replace(bench.CONFIG, **sizes, latent=8)
    made = [bench.trainer(config) for _ in range(2)]
    for one in made:
        for network in (*one.game.networks.values(), *one.averages.values()):
            network.double()
        draw = one.game.draw
        one.game.draw = lambda *args, draw=draw: {name: x.double() for name, x in draw(*args).items()}
    start = [p.clone() for network in made[0].game.networks.values() for p in network.parameters()]
    for _ in range(2):
        made[0].step()
        with bench.torchs_attention():
            made[1].step()
    ours, theirs = ([p for n in one.game.networks.values() for p in n.parameters()] for one in made)
    for before, mine, rivals in zip(start, ours, theirs, strict=True):
        moved = (rivals - before).abs().max()
        # Adam divides gradients by their sizes, and so rounding of the smallest ones by these.
        assert (mine - rivals).abs().max() <= 1e-4 * moved


def test_a_step_with_the_penalty_takes_at_most_half_of_the_memory() -> None:
    config = replace(bench.CONFIG, **{**bench.SMALL, "batch": "1", "d_width": 64})
    needed = {make.__name__: peak_of(make(config), torch.device("cpu")) for make in (bench.ours, bench.theirs)}
    assert needed["ours"] <= needed["theirs"] / 2
