"""Whole steps of small networks, compiled and captured, give the weights of eager ones.

Nothing here needs data, a trainer or a command line, hence no more packages than the kernels do.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from gan_ops.objectives import GradientPenalty, Wasserstein
from models.pggan import Discriminator, Generator
from train.engine.cuda_graphs import WARM_UP, Cuda, Graphs
from train.engine.ema import averaged_copy
from train.engine.player import Player
from train.engine.precision import Autocast
from train.engine.step import Batch, WholeStep
from train.engine.steps import Losses

GPU = torch.device("cuda")
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
N = 8


@pytest.fixture(autouse=True)
def no_compiled_code():
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


class Networks:
    """Small networks in mid-fade, with an Adam that shows every gradient's size.

    Adam with β₁ = 0 and a small eps starts with steps of lr·sign(gradient), which blow up rounding where a gradient is
    near 0. With eps = 1 a step is lr·g/(|g| + 1): smooth in g.
    """

    def __init__(self, dtype: torch.dtype, device: str = "cpu", feature_matching: int = 0, **options) -> None:
        torch.manual_seed(1)
        sizes = {"image_channels": 2, "fmap_base": 32, "fmap_max": 8}
        g, d = Generator(8, latent_dim=6, **sizes), Discriminator(8, group_size=4, **sizes)
        self.fade = torch.tensor(0.4, device=device)
        for network in (g, d):
            network.to(device, dtype, memory_format=torch.channels_last).grow(8, self.fade)
        self.ema = averaged_copy(g)
        self.ema.grow(8, self.fade)
        self.players = [Player(network, eps=1.0) for network in (d, g)]
        for player in self.players:
            player.set_lr(0.1)
        self.said: list[str] = []
        self.dtype, self.device, self.d_steps = dtype, device, options.get("d_steps", 1)
        self.step = WholeStep(
            *self.players,
            self.ema,
            Losses(Wasserstein(), GradientPenalty(), feature_matching=feature_matching),
            Autocast(torch.device(device)),
            half_life=20.0,
            say=self.said.append,
            **options,
        )

    def run(self, steps: int) -> None:
        random = torch.Generator().manual_seed(2)
        options = {"generator": random, "dtype": self.dtype}
        for _ in range(steps):
            shown = self.d_steps * N
            real = torch.randn(shown, 2, 8, 8, **options).contiguous(memory_format=torch.channels_last)
            z, z_for_g = torch.randn(shown, 6, **options), torch.randn(N, 6, **options)
            noise = 0.1 * torch.randn(shown, 2, 8, 8, **options)
            tensors = (real, None, z, torch.rand(shown, **options), z_for_g, None, noise, noise[:N])
            self.step(Batch(*(None if t is None else t.to(self.device) for t in tensors)))
            self.fade.sub_(0.05)
            for player in self.players:
                player.set_lr(player._lr_value / 2)

    def weights(self) -> list[Tensor]:
        networks = (self.players[0].network, self.players[1].network, self.ema)
        return [p.detach().clone() for network in networks for p in network.parameters()]


def assert_moved_alike(compiled: Networks, eager: Networks, bound: float) -> None:
    start = Networks(eager.dtype, eager.device).weights()
    for mine, expected, before in zip(compiled.weights(), eager.weights(), start, strict=True):
        moved = (expected - before).abs().max()
        assert (mine - expected).abs().max() <= bound * moved


def assert_compiled_steps_move_weights_as_eager_ones_do(dtype: torch.dtype, device: str, bound: float) -> None:
    """With a fade, a learning rate and random numbers that change with every step, and one compilation of each half."""
    eager, compiled = Networks(dtype, device), Networks(dtype, device, compile=True)
    for networks in (eager, compiled):
        networks.run(3)
    assert [line.split(" in ")[0] for line in compiled.said] == [
        "compiled the discriminator part",
        "compiled the generator part",
    ]
    assert counters["stats"]["unique_graphs"] == 2
    assert_moved_alike(compiled, eager, bound)


@pytest.mark.parametrize("device", DEVICES)
def test_compiled_steps_move_float64_weights_as_eager_ones_do(device) -> None:
    # Weights of size 1 to 4 are known to 4e-16 and move by 1e-3 or more: to 4e-13 of it. Sums of a few hundred products
    # in another order, over three steps that build on each other, add two digits. A dropped term shows in the first.
    assert_compiled_steps_move_weights_as_eager_ones_do(torch.float64, device, 1e-10)


@pytest.mark.parametrize("device", DEVICES)
def test_compiled_steps_move_float32_weights_as_eager_ones_do(without_code_generation, device) -> None:
    # In the same way 2e-7 of weights that move by 1e-3: 2e-4 of it, and a digit more.
    assert_compiled_steps_move_weights_as_eager_ones_do(torch.float32, device, 2e-3)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"update": "merged"}, ["merged"]),
        ({"update": "merged", "feature_matching": 4}, ["merged"]),
        ({"d_steps": 3}, ["discriminator", "generator"]),
        ({"feature_matching": 8}, ["discriminator", "generator"]),
    ],
    ids=str,
)
def test_every_kind_of_step_compiles_and_moves_weights_as_it_does_eagerly(
    without_code_generation, options, parts
) -> None:
    eager, compiled = Networks(torch.float64, **options), Networks(torch.float64, compile=True, **options)
    for networks in (eager, compiled):
        networks.run(2)
    assert [line.split(" in ")[0] for line in compiled.said] == [f"compiled the {part} part" for part in parts]
    assert_moved_alike(compiled, eager, 1e-10)


@pytest.mark.gpu
def test_compiled_and_captured_steps_move_weights_as_eager_ones_do_on_a_gpu() -> None:
    eager = Networks(torch.float64, "cuda")
    both = Networks(torch.float64, "cuda", compile=True, cuda=Cuda(GPU))
    for networks in (eager, both):
        networks.run(WARM_UP + 3)
    assert len(both.said) == 2
    assert_moved_alike(both, eager, 1e-10)


@pytest.mark.gpu
@pytest.mark.parametrize("update", ["alternating", "joint", "merged"])
@pytest.mark.parametrize("microbatch", [None, 4])
def test_captured_steps_give_the_bits_of_eager_ones_on_a_gpu(microbatch, update) -> None:
    """The same kernels in the same order: a graph changes who launches them, and nothing else."""
    options = {"microbatch": microbatch, "update": update}
    eager = Networks(torch.float32, "cuda", **options)
    captured = Networks(torch.float32, "cuda", cuda=Cuda(GPU), **options)
    for networks in (eager, captured):
        networks.run(WARM_UP + 3)
    assert captured.said == []
    assert all(torch.equal(a, b) for a, b in zip(captured.weights(), eager.weights(), strict=True))


class One(NamedTuple):
    x: Tensor


@pytest.mark.gpu
def test_reading_from_the_device_cannot_be_captured_and_does_no_harm_on_a_gpu() -> None:
    said: list[str] = []
    seen = torch.zeros((), device=GPU)

    def unit(batch: One) -> None:
        seen.add_(batch.x.sum().item())

    graphs = Graphs([unit], Cuda(GPU), said.append)
    for value in range(WARM_UP + 3):
        graphs(One(torch.full((2,), float(value), device=GPU)))
    assert float(seen) == 2 * sum(range(WARM_UP + 3))
    (line,) = said
    assert line.startswith("the step runs without CUDA graphs: ")
