"""Steps compiled with their gradients inside: the weights are those of eager steps, and phases leave nothing behind."""

from __future__ import annotations

import copy
import gc
import weakref
from functools import partial

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from gan_ops.objectives import GradientPenalty, Wasserstein
from models.pggan import Discriminator, Generator
from train.compiled import Compiled
from train.cuda_graphs import WARM_UP, Cuda
from train.ema import averaged_copy
from train.player import Player
from train.precision import Autocast
from train.steps import Losses
from train.trainer import Trainer
from train.whole_step import Batch, WholeStep

CPU = torch.device("cpu")
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
N = 8


@pytest.fixture(autouse=True)
def no_compiled_code():
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


@pytest.fixture
def without_code_generation(monkeypatch) -> None:
    """Graphs are traced and differentiated as ever, but run by torch's own ops: what takes long is left out."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))


class Networks:
    """Small networks in mid-fade, with an Adam that shows every gradient's size.

    Adam with β₁ = 0 and a small eps starts with steps of lr·sign(gradient), which blow up rounding where a gradient is
    near 0. With eps = 1 a step is lr·g/(|g| + 1): smooth in g.
    """

    def __init__(self, dtype: torch.dtype, device: str = "cpu", **options) -> None:
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
        self.dtype, self.device = dtype, device
        self.step = WholeStep(
            *self.players,
            self.ema,
            Losses(Wasserstein(), GradientPenalty()),
            Autocast(torch.device(device)),
            half_life=20.0,
            say=self.said.append,
            **options,
        )

    def run(self, steps: int) -> None:
        random = torch.Generator().manual_seed(2)
        options = {"generator": random, "dtype": self.dtype}
        for _ in range(steps):
            real = torch.randn(N, 2, 8, 8, **options).contiguous(memory_format=torch.channels_last)
            z = torch.randn(2, N, 6, **options)
            tensors = (real, None, z[0], torch.rand(N, **options), z[1], None)
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
def test_compiled_steps_move_float32_weights_as_eager_ones_do(without_code_generation, monkeypatch, device) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    # In the same way 2e-7 of weights that move by 1e-3: 2e-4 of it, and a digit more.
    assert_compiled_steps_move_weights_as_eager_ones_do(torch.float32, device, 2e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_compiled_and_captured_steps_move_weights_as_eager_ones_do_on_a_gpu() -> None:
    gpu = torch.device("cuda")
    eager = Networks(torch.float64, "cuda")
    both = Networks(torch.float64, "cuda", compile=True, cuda=Cuda(gpu))
    for networks in (eager, both):
        networks.run(WARM_UP + 3)
    assert len(both.said) == 2
    assert_moved_alike(both, eager, 1e-10)


def to_the_end(trainer: Trainer) -> Trainer:
    while not trainer.done:
        trainer.step()
    return trainer


@pytest.mark.parametrize(
    "options",
    [
        {"conditioning": "acgan", "joint": True},
        {"conditioning": "concat", "microbatch": "2", "group_size": 2},
        {"loss": "lsgan", "precision": "bf16"},
        {"precision": "fp16"},
    ],
    ids="+".join,
)
def test_every_kind_of_step_compiles_once(tiny_trainer, without_code_generation, options) -> None:
    options = {"start_resolution": 8, "stable_kimg": "0.012", **options}
    said: list[str] = []
    trainer = tiny_trainer(compile=True, **options)
    trainer.say = said.append
    to_the_end(trainer)
    assert counters["stats"]["unique_graphs"] == 2
    assert not [line for line in said if "without" in line]
    eager = to_the_end(tiny_trainer(**options))
    # Means over the run: the players' moves depend on roundings through the signs of gradients near 0.
    rough = 0.2 if "precision" in options else 0.02
    ours, theirs = trainer.measurements(), eager.measurements()
    for name in ("d_loss", "real_score", "fake_score"):
        assert ours[name] == pytest.approx(theirs[name], rel=rough, abs=rough), name


def code_in_use(trainer: Trainer) -> list[weakref.ref]:
    return [weakref.ref(part._compiled) for part in trainer._whole_step._compiled]


def test_each_phase_compiles_anew_and_leaves_no_code_and_a_run_no_networks_behind(
    tiny_trainer, without_code_generation
) -> None:
    trainer = tiny_trainer(compile=True)
    trainer.say = lambda _: None
    networks = [weakref.ref(p.network) for p in (trainer.game.generator, trainer.game.discriminator)]
    trainer.step()
    old = code_in_use(trainer)
    while trainer.position.phase == 0:
        trainer.step()
    trainer.step()
    gc.collect()
    assert [code() for code in old] == [None, None]
    assert all(code() is not None for code in code_in_use(trainer))

    to_the_end(trainer)
    assert counters["stats"]["unique_graphs"] == 2 * 3

    trainer._whole_step.release()
    del trainer
    gc.collect()
    assert [network() for network in networks] == [None, None]


def test_a_compiled_run_resumes_bitwise(tiny_trainer) -> None:
    options = {"compile": True, "start_resolution": 8, "stable_kimg": "0.016"}  # 4 steps in one phase
    uninterrupted, resumed = tiny_trainer(**options), tiny_trainer(**options)
    for trainer in (uninterrupted, resumed):
        trainer.say = lambda _: None
    uninterrupted.step()
    uninterrupted.step()
    state = copy.deepcopy(uninterrupted.state_dict())
    to_the_end(uninterrupted)

    torch.compiler.reset()
    resumed.load_state_dict(state)
    to_the_end(resumed)
    mine, expected = (trainer.game.ema.parameters() for trainer in (resumed, uninterrupted))
    assert all(torch.equal(a, b) for a, b in zip(mine, expected, strict=True))
    assert resumed.measurements() == uninterrupted.measurements()


def test_what_cannot_be_compiled_says_why_once_and_runs_eagerly(tiny_trainer, monkeypatch) -> None:
    def backend(*_):
        raise RuntimeError("no compiler in sight")

    eager = to_the_end(tiny_trainer())
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    said: list[str] = []
    trainer = tiny_trainer(compile=True)
    trainer.say = said.append
    to_the_end(trainer)
    assert len(said) == 6  # two players, three phases
    assert said[0].startswith("4x4: the discriminator part runs without being compiled: ")
    assert "no compiler in sight" in said[0]
    for mine, expected in zip(
        trainer.game.generator.network.parameters(), eager.game.generator.network.parameters(), strict=True
    ):
        assert torch.equal(mine, expected)


def test_an_error_of_the_function_itself_is_not_hidden() -> None:
    def faulty(x: Tensor) -> Tensor:
        raise ValueError(f"x={x.shape} is wrong")

    with pytest.raises(ValueError, match="is wrong"):
        Compiled(faulty, lambda _: None)(torch.ones(3))
