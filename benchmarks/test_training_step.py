"""A whole D and G step of PGGAN: ours, the textbook's, and the ceiling that convolutions alone allow.

Ours and the textbook's run op by op, and compiled with their gradients taken inside; on a GPU also as CUDA graphs.
Compiling, once for every phase of a run, is not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.machine import DEVICE
from benchmarks.memory import peak_of, step_memory
from benchmarks.race import race
from benchmarks.steps import Ceiling, Ours
from benchmarks.textbook import CompiledTextbook, Textbook
from train.cuda_graphs import WARM_UP, Cuda, Graphs
from train.device import has_bf16
from train.precision import DTYPES

ON_GPU = DEVICE.type == "cuda"
CHANNELS = LATENT = 512 if ON_GPU else 128
BATCH = 16
PRECISIONS = ["bf16", "float32"] if ON_GPU else ["float32", "bf16"]  # on a GPU what matters most comes first
RESOLUTIONS = [4, 32, 16, 8, 64] if ON_GPU else [4, 8, 16, 32]


class Inputs(NamedTuple):
    """Of the textbook's step."""

    real: torch.Tensor
    z_for_d: torch.Tensor
    z_for_g: torch.Tensor
    weight: torch.Tensor


def alternatives(resolution: int, precision: str) -> dict[str, Callable[[], None]]:
    """One step of each. In bf16 the textbook in float32 runs too: it is what one comes from."""
    torch.compiler.reset()  # what another resolution or precision left
    real = torch.rand(BATCH, 3, resolution, resolution, device=DEVICE) * 2 - 1
    real_channels_last = real.contiguous(memory_format=torch.channels_last)
    sizes, dtype = (resolution, CHANNELS, LATENT), DTYPES[precision]

    def latents() -> tuple[torch.Tensor, torch.Tensor]:
        return torch.randn(BATCH, LATENT, device=DEVICE), torch.randn(BATCH, LATENT, device=DEVICE)

    def textbook(player: Textbook, captured: bool = False) -> Callable[[], None]:
        graphs = Graphs([lambda batch: player.step(*batch)], Cuda(DEVICE), print) if captured else None

        def step() -> None:
            inputs = Inputs(real, *latents(), torch.rand(BATCH, 1, 1, 1, device=DEVICE))
            graphs(inputs) if graphs else player.step(*inputs)

        return warmed_up(step) if captured else step

    def own(player: Ours, captured: bool = False) -> Callable[[], None]:
        def step() -> None:
            player.step(real_channels_last, *latents(), torch.rand(BATCH, device=DEVICE))

        return warmed_up(step) if captured else step

    with DEVICE:
        compiled = CompiledTextbook(*sizes, dtype)
        found = {
            "textbook": textbook(Textbook(*sizes, dtype)),
            "textbook compiled": textbook(compiled),
            "ours": own(Ours(*sizes, dtype)),
            "ours compiled": own(Ours(*sizes, dtype, compile=True)),
            "ceiling": own(Ceiling(*sizes, dtype)),
        }
        if ON_GPU:
            found["textbook compiled, graphs"] = textbook(compiled, captured=True)
            found["ours, graphs"] = own(Ours(*sizes, dtype, cuda_graphs=True), captured=True)
            found["ours compiled, graphs"] = own(Ours(*sizes, dtype, compile=True, cuda_graphs=True), captured=True)
        if precision != "float32":
            found["textbook float32"] = textbook(Textbook(*sizes, torch.float32))
    return found


def warmed_up(step: Callable[[], None]) -> Callable[[], None]:
    """The step when its graphs are captured."""
    for _ in range(WARM_UP + 1):
        step()
    return step


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
