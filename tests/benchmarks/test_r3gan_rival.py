"""The plain step that R3GAN's is measured against does the same."""

from __future__ import annotations

import pytest
import torch

from benchmarks import test_r3gan_step as bench
from benchmarks.test_r3gan_step import Ours, Plain, PlainCompiled, columns


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"WIDTH": 16, "BATCH": 4}.items():
        monkeypatch.setattr(bench, name, size)
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
            torch.testing.assert_close(p, q, rtol=0, atol=2e-5, msg=name)
    assert all((p - q).abs().max() > 1e-4 for p, q in zip(start, plain.g.parameters(), strict=True))
