"""A whole D and G step of PGGAN: ours, the textbook's, and the ceiling that convolutions alone allow."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.memory import step_memory
from benchmarks.race import race
from benchmarks.steps import Ceiling, Ours
from benchmarks.textbook import Textbook
from train.device import has_bf16
from train.precision import DTYPES

CHANNELS = LATENT = 128
BATCH = 16


def alternatives(resolution: int, precision: str) -> dict[str, Callable[[], None]]:
    """One step of each. In bf16 the textbook in float32 runs too: it is what one comes from."""
    real = torch.rand(BATCH, 3, resolution, resolution) * 2 - 1
    real_channels_last = real.contiguous(memory_format=torch.channels_last)
    sizes, dtype = (resolution, CHANNELS, LATENT), DTYPES[precision]

    def latents() -> tuple[torch.Tensor, torch.Tensor]:
        return torch.randn(BATCH, LATENT), torch.randn(BATCH, LATENT)

    def textbook(dtype: torch.dtype) -> Callable[[], None]:
        player = Textbook(*sizes, dtype)
        return lambda: player.step(real, *latents(), torch.rand(BATCH, 1, 1, 1))

    def own(player: Ours) -> Callable[[], None]:
        return lambda: player.step(real_channels_last, *latents())

    found = {"textbook": textbook(dtype), "ours": own(Ours(*sizes, dtype)), "ceiling": own(Ceiling(*sizes, dtype))}
    if precision != "float32":
        found["textbook float32"] = textbook(torch.float32)
    return found


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("resolution", [4, 8, 16, 32])
def test_training_step(benchmark: BenchmarkFixture, resolution: int, precision: str) -> None:
    if precision == "bf16" and not has_bf16(torch.device("cpu")):
        pytest.skip("torch says that this processor does not compute in bf16 itself")
    torch.manual_seed(0)
    sizes = {"resolution": resolution, "channels": CHANNELS, "batch": BATCH, "precision": precision}
    memory = {name: step_memory(name, latent=LATENT, **sizes) for name in ("textbook", "ours")}
    race(
        benchmark,
        "ours",
        alternatives(resolution, precision),
        params=sizes,
        units={"images": BATCH},
        memory={name: size for name, size in memory.items() if size is not None},
    )
