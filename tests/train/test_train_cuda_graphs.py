"""Steps captured as CUDA graphs: when, with what, and what happens where it does not work. A GPU is needed for the last
tests alone; the others put a stand-in in the place of torch.cuda."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from train.engine.cuda_graphs import AUTO_UP_TO, WARM_UP, Captured, Inputs, wanted
from train.engine.step import Step
from train.engine.trainer import Trainer
from train.pggan import build_trainer

from .engine.fake_cuda import FakeCuda
from .runs import assert_same, steps, to_the_end

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Sums:
    """Two units that notice what they are given, in which order they run, and where their input lies."""

    def __init__(self, cuda: FakeCuda, said: list[str] | None = None) -> None:
        self.inputs = Inputs()
        self.sum, self.history = torch.zeros(2, dtype=torch.float64).unbind()
        self.places: set[int] = set()
        say, pool = ([] if said is None else said).append, cuda.new_pool()
        units = {"first": self._first, "second": self._second}
        self.units = [Captured(unit, name, cuda, pool, say) for name, unit in units.items()]

    def _first(self) -> None:
        self.places.add(self.inputs.columns["a"].data_ptr())
        self.sum.copy_(self.inputs.columns["a"].sum())

    def _second(self) -> None:
        self.history.mul_(3).add_(self.sum)

    def run(self, calls: int) -> None:
        for value in range(calls):
            self.inputs.copy({"a": torch.full((2, 3), float(value))})
            for unit in self.units:
                unit()

    def expected(self, calls: int) -> float:
        """The history where each batch was seen once, in the order of the units."""
        return float(sum(6 * value * 3 ** (calls - 1 - value) for value in range(calls)))


CALLS = WARM_UP + 4


def test_units_warm_up_aside_are_captured_once_and_then_replayed() -> None:
    cuda = FakeCuda()
    Sums(cuda).run(CALLS)
    assert cuda.runs_aside == 2 * WARM_UP
    assert [graph.replays for graph, _ in cuda.captured] == [4, 4]


def test_every_batch_is_seen_once_by_every_unit_in_its_order() -> None:
    sums = Sums(FakeCuda())
    sums.run(CALLS)
    assert float(sums.history) == sums.expected(CALLS)


def test_units_find_their_input_in_one_place() -> None:
    sums = Sums(FakeCuda())
    sums.run(CALLS)
    assert len(sums.places) == 1


def test_inputs_keep_their_memory_layout_and_columns_that_are_not_given() -> None:
    inputs = Inputs()
    image = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    inputs.copy({"a": image})
    inputs.copy({"b": image + 1})
    assert inputs.columns["a"].stride() == image.stride()
    assert torch.equal(inputs.columns["a"], image) and torch.equal(inputs.columns["b"], image + 1)


def test_release_frees_a_graph() -> None:
    cuda = FakeCuda()
    sums = Sums(cuda)
    sums.run(WARM_UP + 1)
    assert cuda.held == 2 and all(unit.is_captured for unit in sums.units)
    for unit in sums.units:
        unit.release()
    assert cuda.held == 0


def test_a_unit_that_cannot_be_captured_says_why_once_and_runs_op_by_op() -> None:
    cuda, said = FakeCuda(error="operation not permitted\nwhen stream is capturing"), []
    sums = Sums(cuda, said)
    sums.run(CALLS)
    assert said == ["the second runs without CUDA graphs: operation not permitted when stream is capturing"]
    assert cuda.held == 1
    assert float(sums.history) == sums.expected(CALLS)


@pytest.mark.parametrize(
    ("option", "device", "resolution", "expected"),
    [
        ("on", GPU, 1024, True),
        ("auto", GPU, AUTO_UP_TO, True),
        ("auto", GPU, 2 * AUTO_UP_TO, False),
        ("off", GPU, 4, False),
        ("auto", CPU, 4, False),
    ],
)
def test_auto_captures_small_images_on_a_gpu(option, device, resolution, expected) -> None:
    assert wanted(option, device, resolution) == expected


class Transfers(TorchDispatchMode):
    """Notes what would read from a GPU, or bring a number to it from the host: a graph can hold neither."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        name = str(op).removeprefix("aten.").split(".")[0]
        if name in ("_local_scalar_dense", "nonzero", "lift_fresh", "scalar_tensor"):
            self.seen.add(name)
        return op(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"update": "joint", "precision": "fp16"},
        {"microbatch": "2", "group_size": 2},
        {"loss": "lsgan", "penalty": "r1(every=2)"},
        {"update": "merged", "historical_averaging": 0.1},
        {"optimizer": "rmsprop"},
        {"optimizer": "optimistic", "precision": "fp16"},
        {"optimizer": "optimistic-adam"},
        {"loss": "fisher"},
        {"loss": "mcgan(outputs=3,clip=0,norm=1)", "penalty": "r1"},
        {"loss": "mmd(outputs=3)"},
        {"loss": "c-transform(admissibility=1)"},
    ],
    ids=lambda options: "+".join(options) or "default",
)
def test_a_step_moves_nothing_between_host_and_device(tiny_trainer, monkeypatch, options) -> None:
    seen = set()

    def watched(step: Step, *given: object) -> None:
        with Transfers() as transfers:
            run_step(step, *given)
        seen.update(transfers.seen)

    run_step = Step.__call__
    trainer = steps(tiny_trainer(**options), 1)  # the first, long before a capture, makes the meters
    monkeypatch.setattr(Step, "__call__", watched)
    to_the_end(trainer)
    assert seen == set()


def test_transfers_are_noticed() -> None:
    x = torch.ones(3)
    for transfer in (lambda: float(x[0]), lambda: x + torch.tensor(1.0), lambda: torch.where(x > 0, x, 0)):
        with Transfers() as transfers:
            transfer()
        assert transfers.seen


KINDS = pytest.mark.parametrize(
    "options",
    [
        {},
        {"update": "joint", "condition": "acgan"},
        {"microbatch": "2", "group_size": 2},
        {"precision": "fp16"},
        {"update": "merged", "loss": "non-saturating", "penalty": "r1"},
        {"d_steps": 2},
        {"optimizer": "rmsprop"},
        {"optimizer": "optimistic", "precision": "fp16"},
        {"optimizer": "optimistic-adam", "reset_optimizer": True},
    ],
    ids=lambda options: "+".join(options) or "default",
)
LONGER = {"fade_kimg": "0.024", "stable_kimg": "0.024", "lr_ramp_kimg": 0.02}  # 6 steps a phase


@pytest.fixture
def captured_trainer(tiny_trainer, monkeypatch):
    """captured_trainer(**options) → a trainer that captures with a stand-in, and this."""
    monkeypatch.setattr("train.engine.trainer.wanted", lambda *_: True)
    monkeypatch.setattr("models.parts.labels._check_range", lambda *_: None)  # on the CPU alone labels are read

    def make(**options) -> tuple[Trainer, FakeCuda]:
        cuda, trainer = FakeCuda(), tiny_trainer(**options)
        trainer._cuda = cuda
        return trainer, cuda

    return make


@KINDS
def test_replayed_steps_train_to_the_same_bits(tiny_trainer, captured_trainer, options) -> None:
    """The captured units read everything that changes, fade and learning rate included, from where it lies."""
    options = {**LONGER, **options}
    if "d_steps" in options:
        options |= {"fade_kimg": "0.048", "stable_kimg": "0.048"}
    eager = to_the_end(tiny_trainer(**options))
    trainer, cuda = captured_trainer(**options)
    to_the_end(trainer)

    units = 2 if options.get("update") else 3  # D's and G's moves, and the end of the step
    assert [graph.replays for graph, _ in cuda.captured] == [6 - WARM_UP] * units * 3
    assert len({id(pool) for _, pool in cuda.captured}) == 3, "one pool a phase"
    assert cuda.held == units, "the last phase's"
    assert_same(trainer.state_dict(), eager.state_dict())


def test_lazy_moves_are_replayed_when_due_from_memory_of_their_own(tiny_trainer, captured_trainer) -> None:
    options = {"start_resolution": 8, "stable_kimg": "0.08", "loss": "non-saturating", "penalty": "r1(every=2)"}
    eager = to_the_end(tiny_trainer(**options))
    trainer, cuda = captured_trainer(**options)
    to_the_end(trainer)  # 20 steps, in 10 of which the penalty is due
    replays = sorted(graph.replays for graph, _ in cuda.captured)
    # The penalty, and the ends of steps with it and without; D's and G's moves.
    assert replays == [10 - WARM_UP] * 3 + [20 - WARM_UP] * 2
    pools = [id(pool) for _, pool in cuda.captured]
    assert sorted(pools.count(pool) for pool in set(pools)) == [1, 1, 3]
    assert_same(trainer.state_dict(), eager.state_dict())


def test_a_loaded_checkpoint_ends_the_graphs_that_know_the_old_state(tiny_trainer, captured_trainer) -> None:
    options = {"start_resolution": 8, "stable_kimg": "0.08"}
    trainer, cuda = captured_trainer(**options)
    eager = tiny_trainer(**options)
    for each in (eager, trainer):
        steps(each, WARM_UP + 2)
        state = copy.deepcopy(each.state_dict())
        each.step()
        each.load_state_dict(state)
        steps(each, WARM_UP + 2)
    assert len(cuda.captured) == 6 and cuda.held == 3
    assert_same(trainer.state_dict(), eager.state_dict())


@pytest.mark.gpu
@KINDS
def test_captured_steps_train_as_eager_ones_on_a_gpu(tiny_config, tiny_images, monkeypatch, options) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    states, said = [], []
    for graphs in ("off", "on"):
        config = tiny_config(cuda_graphs=graphs, **{**LONGER, **options})
        trainer = build_trainer(config, {"images": tiny_images}, GPU)[0]
        trainer.say = said.append
        states.append(to_the_end(trainer).state_dict())
    assert said == []
    # The same kernels in the same order: a graph changes who launches them, and nothing else.
    assert_same(*states)


@pytest.mark.gpu
def test_compiled_steps_can_be_captured_on_a_gpu(tiny_config, tiny_images) -> None:
    said: list[str] = []
    options = {"start_resolution": 8, "stable_kimg": "0.04", "cuda_graphs": "on", "compile": True}
    trainer = build_trainer(tiny_config(**options), {"images": tiny_images}, GPU)[0]
    trainer.say = said.append
    to_the_end(trainer)
    assert [line.split(" in ")[0] for line in said] == [
        "8x8: compiled the D move",
        "8x8: compiled the G move",
    ]
    assert trainer.skipped() == (0, 0)


@pytest.mark.gpu
def test_phases_leave_no_memory_behind_on_a_gpu(tiny_config, tiny_images) -> None:
    def after_a_run(graphs: str) -> int:
        trainer = to_the_end(build_trainer(tiny_config(cuda_graphs=graphs), {"images": tiny_images}, GPU)[0])
        trainer._step.release()
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated() - before

    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    eager = after_a_run("off")
    before = torch.cuda.memory_allocated()
    captured = after_a_run("on")
    # Libraries may keep a workspace for the stream of the capture.
    assert captured <= eager + (64 << 20)
