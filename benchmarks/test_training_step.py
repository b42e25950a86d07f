"""A whole D and G step of PGGAN: ours, the textbook's, and the ceiling that convolutions alone allow."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.machine import DEVICE
from benchmarks.memory import peak_of, step_memory
from benchmarks.race import race
from benchmarks.steps import Ceiling, Ours
from benchmarks.textbook import Textbook
from train.device import has_bf16
from train.precision import DTYPES

ON_GPU = DEVICE.type == "cuda"
CHANNELS = LATENT = 512 if ON_GPU else 128
BATCH = 16
PRECISIONS = ["bf16", "float32"] if ON_GPU else ["float32", "bf16"]  # on a GPU what matters most comes first
RESOLUTIONS = [4, 32, 16, 8, 64] if ON_GPU else [4, 8, 16, 32]


def alternatives(resolution: int, precision: str) -> dict[str, Callable[[], None]]:
    """One step of each. In bf16 the textbook in float32 runs too: it is what one comes from."""
    real = torch.rand(BATCH, 3, resolution, resolution, device=DEVICE) * 2 - 1
    real_channels_last = real.contiguous(memory_format=torch.channels_last)
    sizes, dtype = (resolution, CHANNELS, LATENT), DTYPES[precision]

    def latents() -> tuple[torch.Tensor, torch.Tensor]:
        return torch.randn(BATCH, LATENT, device=DEVICE), torch.randn(BATCH, LATENT, device=DEVICE)

    def textbook(dtype: torch.dtype) -> Callable[[], None]:
        player = Textbook(*sizes, dtype)
        return lambda: player.step(real, *latents(), torch.rand(BATCH, 1, 1, 1, device=DEVICE))

    def own(player: Ours) -> Callable[[], None]:
        return lambda: player.step(real_channels_last, *latents())

    with DEVICE:
        found = {"textbook": textbook(dtype), "ours": own(Ours(*sizes, dtype)), "ceiling": own(Ceiling(*sizes, dtype))}
        if precision != "float32":
            found["textbook float32"] = textbook(torch.float32)
    return found


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_training_step(benchmark: BenchmarkFixture, resolution: int, precision: str) -> None:
    if precision == "bf16" and not has_bf16(DEVICE):
        pytest.skip("torch says that this machine does not compute in bf16 itself")
    torch.manual_seed(0)
    sizes = {"resolution": resolution, "channels": CHANNELS, "batch": BATCH, "precision": precision}
    steps = alternatives(resolution, precision)
    memory = {
        name: peak_of(steps[name], DEVICE) if ON_GPU else step_memory(name, latent=LATENT, **sizes)
        for name in ("textbook", "ours")
    }
    race(
        benchmark,
        "ours",
        steps,
        params=sizes,
        budget=4.0 if ON_GPU else 15.0,
        units={"images": BATCH},
        memory={name: size for name, size in memory.items() if size is not None},
    )
