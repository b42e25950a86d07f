"""A whole D and G step of PGGAN: ours, the textbook's, and the ceiling that convolutions alone allow.

Ours and the textbook's run op by op, and compiled with their gradients taken inside; on a GPU also as CUDA graphs.
Compiling, once for every phase of a run, is not counted; there what compiles, which takes minutes, has a race of its
own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, partial

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.machine import DEVICE
from benchmarks.memory import peak_of, step_memory
from benchmarks.race import race
from benchmarks.steps import Ceiling, Ours
from benchmarks.textbook import CompiledTextbook, Textbook
from train.base.device import has_bf16
from train.engine.cuda_graphs import WARM_UP, Captured, Cuda, Inputs
from train.engine.precision import DTYPES

ON_GPU = DEVICE.type == "cuda"
CHANNELS = LATENT = 512 if ON_GPU else 128
BATCH = 16
PRECISIONS = ["bf16", "float32"] if ON_GPU else ["float32", "bf16"]  # on a GPU what matters most comes first
RESOLUTIONS = [4, 32, 16, 8, 64] if ON_GPU else [4, 8, 16, 32]
RIVALS = ["op_by_op", "compiled"] if ON_GPU else ["all"]
Step = Callable[[], None]


def alternatives(resolution: int, precision: str, rivals: str) -> dict[str, Callable[[], Step]]:
    """What makes one step of each. In bf16 the textbook in float32 runs too: it is what one comes from."""
    torch.compiler.reset()  # what another resolution or precision left
    real = torch.rand(BATCH, 3, resolution, resolution, device=DEVICE) * 2 - 1
    real_channels_last = real.contiguous(memory_format=torch.channels_last)
    sizes, dtype = (resolution, CHANNELS, LATENT), DTYPES[precision]

    def latents() -> tuple[torch.Tensor, torch.Tensor]:
        return torch.randn(BATCH, LATENT, device=DEVICE), torch.randn(BATCH, LATENT, device=DEVICE)

    @cache
    def compiled() -> CompiledTextbook:  # once for both of its steps
        return CompiledTextbook(*sizes, dtype)

    def textbook(make: Callable[[], Textbook], captured: bool = False) -> Step:
        player = make()
        if captured:
            for optimizer in (player.d_optimizer, player.g_optimizer):
                optimizer.param_groups[0]["capturable"] = True

        def columns() -> dict[str, torch.Tensor]:
            z_for_d, z_for_g = latents()
            weight = torch.rand(BATCH, 1, 1, 1, device=DEVICE)
            return {"real": real, "z_for_d": z_for_d, "z_for_g": z_for_g, "weight": weight}

        if not captured:
            return lambda: player.step(**columns())
        inputs, cuda = Inputs(), Cuda(DEVICE)
        unit = Captured(lambda: player.step(**inputs.columns), "step", cuda, cuda.new_pool(), fail)

        def step() -> None:
            inputs.copy(columns())
            unit()

        return warmed_up(step)

    def own(kind: type[Ours] = Ours, captured: bool = False, **options: bool) -> Step:
        player = kind(*sizes, dtype, **options, **({"cuda_graphs": True} if captured else {}))

        def step() -> None:
            player.step(real_channels_last, *latents(), torch.rand(BATCH, device=DEVICE))

        if captured:
            warmed_up(step)
            if not player.captured:
                fail("its step cannot be captured")
        return step

    found = {
        "textbook": partial(textbook, partial(Textbook, *sizes, dtype)),
        "textbook compiled": partial(textbook, compiled),
        "ours": own,
        "ours compiled": partial(own, compile=True),
        "ceiling": partial(own, Ceiling),
    }
    if ON_GPU:
        found |= {f"{name}, graphs": partial(make, captured=True) for name, make in found.items() if name != "ceiling"}
    if precision != "float32":
        found["textbook float32"] = partial(textbook, partial(Textbook, *sizes, torch.float32))
    chosen = {"op_by_op": lambda name: "compiled" not in name, "compiled": lambda name: "compiled" in name}
    keep = chosen.get(rivals, lambda name: True)
    return {name: make for name, make in found.items() if name == "ours" or keep(name)}


def made(makers: dict[str, Callable[[], Step]]) -> dict[str, Step]:
    """The steps. On a GPU what does not run there is left out."""
    found = {}
    for name, make in makers.items():
        try:
            with DEVICE:
                found[name] = make()
        except RuntimeError as error:
            if name == "ours" or not ON_GPU:
                raise
            warnings.warn(f"{name} is left out: {str(error).strip().splitlines()[0]}", stacklevel=2)
    return found


def fail(why: str) -> None:
    """A graph that cannot be captured is not to be measured as one."""
    raise RuntimeError(why)


def warmed_up(step: Callable[[], None]) -> Callable[[], None]:
    """The step when its graphs are captured."""
    for _ in range(WARM_UP + 1):
        step()
    return step


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("rivals", RIVALS)
def test_training_step(benchmark: BenchmarkFixture, resolution: int, precision: str, rivals: str) -> None:
    if precision == "bf16" and not has_bf16(DEVICE):
        pytest.skip("torch says that this machine does not compute in bf16 itself")
    torch.manual_seed(0)
    sizes = {"resolution": resolution, "channels": CHANNELS, "batch": BATCH, "precision": precision}
    steps = made(alternatives(resolution, precision, rivals))
    memory = {
        name: peak_of(steps[name], DEVICE) if ON_GPU else step_memory(name, latent=LATENT, **sizes)
        for name in ("textbook", "ours")
        if name in steps
    }
    race(
        benchmark,
        "ours",
        steps,
        params=sizes | ({"rivals": rivals} if ON_GPU else {}),
        budget=4.0 if ON_GPU else 15.0,
        units={"images": BATCH},
        memory={name: size for name, size in memory.items() if size is not None},
    )
