"""Whole steps of small networks, compiled and captured, give the weights of eager ones.

Nothing here needs data, a trainer or a command line, hence no more packages than the kernels do.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from gan_ops.objectives import FeatureMatching, Wasserstein, WganGP
from train.engine.cuda_graphs import WARM_UP, Captured, Cuda

from .playing import Playing, batch_for, pggan_game

GPU = torch.device("cuda")
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]

pytestmark = pytest.mark.usefixtures("no_compiled_code")


class Steps:
    """Steps of a growing pair in mid-fade."""

    def __init__(self, dtype: torch.dtype, device: str = "cpu", matching: int = 0, d_steps: int = 1, **options) -> None:
        self.fade = torch.tensor(0.4, device=device)
        wasserstein = Wasserstein(drift=0.001)
        self.playing = Playing(
            pggan_game(
                dtype=dtype,
                device=device,
                fade=self.fade,
                objective=FeatureMatching(wasserstein, matching) if matching else wasserstein,
                penalties=[WganGP()],
                noise=0.1,
                d_steps=d_steps,
                shared_latents=options.get("update") == "merged",
            ),
            **options,
        )
        self.playing.averages["G"].grow(8, self.fade)
        self.said, self.weights = self.playing.said, self.playing.weights

    def run(self, steps: int) -> None:
        for seed in range(steps):
            self.playing.step(batch_for(self.playing.game, seed))
            self.fade.sub_(0.05)
            for player in self.playing.players.values():
                player.set_lr(player._lr_value / 2)


def assert_moved_alike(compiled: Steps, eager: Steps, start: list[Tensor], bound: float) -> None:
    for mine, expected, before in zip(compiled.weights(), eager.weights(), start, strict=True):
        moved = (expected - before).abs().max()
        assert (mine - expected).abs().max() <= bound * moved


def assert_compiled_steps_move_weights_as_eager_ones_do(
    dtype: torch.dtype, device: str, bound: float, count: int = 3
) -> None:
    """With a fade, a learning rate and random numbers that change with every step, and one compilation of each half."""
    eager, compiled = Steps(dtype, device), Steps(dtype, device, compile=True)
    start = eager.weights()
    for steps in (eager, compiled):
        steps.run(count)
    assert [line.split(" in ")[0] for line in compiled.said] == [
        "compiled the D move",
        "compiled the G move",
    ]
    assert counters["stats"]["unique_graphs"] == 2
    assert_moved_alike(compiled, eager, start, bound)


@pytest.mark.parametrize("device", DEVICES)
def test_compiled_steps_move_float64_weights_as_eager_ones_do(device) -> None:
    # Weights of size 1 to 4 are known to 4e-16 and move by 1e-3 or more: to 4e-13 of it. Sums of a few hundred products
    # in another order, over three steps that build on each other, add two digits. A dropped term shows in the first.
    assert_compiled_steps_move_weights_as_eager_ones_do(torch.float64, device, 1e-10)


@pytest.mark.parametrize("device", DEVICES)
def test_compiled_steps_move_float32_weights_as_eager_ones_do(without_code_generation, device) -> None:
    # In the same way 2e-7 of weights that move by 1e-3: 2e-4 of it, and a digit more. After one step, since in the next
    # rounding may decide on which side of a leaky ReLU's kink a value lies.
    assert_compiled_steps_move_weights_as_eager_ones_do(torch.float32, device, 2e-3, count=1)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"update": "merged"}, ["D and G moves"]),
        ({"update": "merged", "matching": 4}, ["D and G moves"]),
        ({"d_steps": 3}, ["D move", "G move"]),
        ({"matching": 8}, ["D move", "G move"]),
    ],
    ids=str,
)
def test_every_kind_of_step_compiles_and_moves_weights_as_it_does_eagerly(
    without_code_generation, options, parts
) -> None:
    eager, compiled = Steps(torch.float64, **options), Steps(torch.float64, compile=True, **options)
    start = eager.weights()
    for steps in (eager, compiled):
        steps.run(2)
    assert [line.split(" in ")[0] for line in compiled.said] == [f"compiled the {part}" for part in parts]
    assert_moved_alike(compiled, eager, start, 1e-10)


@pytest.mark.gpu
def test_compiled_and_captured_steps_move_weights_as_eager_ones_do_on_a_gpu() -> None:
    eager = Steps(torch.float64, "cuda")
    both = Steps(torch.float64, "cuda", compile=True, cuda=Cuda(GPU))
    start = eager.weights()
    for steps in (eager, both):
        steps.run(WARM_UP + 3)
    assert len(both.said) == 2
    assert_moved_alike(both, eager, start, 1e-10)


@pytest.mark.gpu
@pytest.mark.parametrize("update", ["alternating", "joint", "merged"])
@pytest.mark.parametrize("microbatch", [None, 4])
def test_captured_steps_give_the_bits_of_eager_ones_on_a_gpu(microbatch, update) -> None:
    """The same kernels in the same order: a graph changes who launches them, and nothing else."""
    options = {"microbatch": microbatch, "update": update}
    eager = Steps(torch.float32, "cuda", **options)
    captured = Steps(torch.float32, "cuda", cuda=Cuda(GPU), **options)
    for steps in (eager, captured):
        steps.run(WARM_UP + 3)
    assert captured.said == []
    assert all(torch.equal(a, b) for a, b in zip(captured.weights(), eager.weights(), strict=True))


@pytest.mark.gpu
def test_reading_from_the_device_cannot_be_captured_and_does_no_harm_on_a_gpu() -> None:
    said: list[str] = []
    x, seen = (torch.zeros((), device=GPU) for _ in range(2))
    cuda = Cuda(GPU)
    unit = Captured(lambda: seen.add_(x.item()), "unit", cuda, cuda.new_pool(), said.append)
    for value in range(WARM_UP + 3):
        x.fill_(value)
        unit()
    assert float(seen) == sum(range(WARM_UP + 3))
    (line,) = said
    assert line.startswith("the unit runs without CUDA graphs: ")
