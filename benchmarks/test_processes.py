"""A whole D and G step of PGGAN in two processes of one thread, as torchrun starts them, and in one of two threads."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.machine import DEVICE, usable_cores
from benchmarks.race import race
from benchmarks.team import Team
from train.base.device import has_bf16

BATCH = 16


@pytest.mark.skipif(DEVICE.type == "cuda", reason="two processes share the cores of a CPU")
@pytest.mark.skipif(usable_cores() < 2, reason="there is one core alone")
@pytest.mark.parametrize("resolution", [4, 8, 16, 32])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_processes(benchmark: BenchmarkFixture, resolution: int, precision: str) -> None:
    if precision == "bf16" and not has_bf16(DEVICE):
        pytest.skip("torch says that this machine does not compute in bf16 itself")
    sizes = {"resolution": resolution, "channels": 128, "batch": BATCH, "precision": precision}
    with Team(2, 1, latent=128, **sizes) as two, Team(1, 2, latent=128, **sizes) as one:
        race(
            benchmark,
            "two processes",
            {"two processes": two.step, "one process": one.step},
            params={**sizes, "MB sent": round(two.sent / 1e6, 2)},
            budget=15.0,
        )
