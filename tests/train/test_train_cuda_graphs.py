"""Steps captured as CUDA graphs: when, with what, and what happens where it does not work. A GPU is needed for the last
tests alone; the others put a stand-in in the place of torch.cuda."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from train.engine.cuda_graphs import AUTO_UP_TO, WARM_UP, Graphs, wanted
from train.engine.step import WholeStep
from train.engine.trainer import Trainer
from train.pggan import build_trainer

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class FakeGraph:
    def __init__(self, unit: Callable[[], None]) -> None:
        self.unit = unit
        self.replays = 0

    def replay(self) -> None:
        assert self.unit is not None, "a graph is replayed after it was freed"
        self.replays += 1
        self.unit()


class FakeCuda:
    """A device on which capturing executes nothing and a replay does what was captured."""

    def __init__(self, error: str = "") -> None:
        self.error = error
        self.runs_aside = 0
        self.captured: list[tuple[FakeGraph, object]] = []

    @contextmanager
    def aside(self) -> Iterator[None]:
        self.runs_aside += 1
        yield

    def new_pool(self) -> object:
        return object()

    def capture(self, unit: Callable[[], None], pool: object) -> FakeGraph:
        if self.error and self.captured:  # the second unit fails
            try:
                raise RuntimeError(self.error)
            finally:
                raise RuntimeError("operation failed due to a previous error during capture")
        graph = FakeGraph(unit)
        self.captured.append((graph, pool))
        return graph

    def free(self, graphs: list[FakeGraph]) -> None:
        for graph in graphs:
            graph.unit = None

    @property
    def held(self) -> int:
        """Graphs that were not freed."""
        return sum(graph.unit is not None for graph, _ in self.captured)


class Numbers(NamedTuple):
    a: Tensor
    b: Tensor | None


class Sums:
    """Two units that notice what they are given, and where it lies."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.total = 0.0
        self.places: set[int] = set()
        self.units = [lambda batch: self._see("first", batch), lambda batch: self._see("second", batch)]

    def _see(self, name: str, batch: Numbers) -> None:
        self.calls.append(name)
        self.total += float(batch.a.sum())
        self.places.add(batch.a.data_ptr())
        assert batch.b is None


def run(graphs: Graphs, calls: int) -> None:
    for value in range(calls):
        graphs(Numbers(torch.full((2, 3), float(value)), None))


def test_steps_warm_up_aside_are_captured_once_and_then_replayed() -> None:
    sums, cuda = Sums(), FakeCuda()
    run(Graphs(sums.units, cuda, print), WARM_UP + 4)
    assert cuda.runs_aside == WARM_UP
    assert [graph.replays for graph, _ in cuda.captured] == [4, 4]


def test_every_batch_is_seen_once_by_every_unit_in_its_order() -> None:
    sums = Sums()
    calls = WARM_UP + 4
    run(Graphs(sums.units, FakeCuda(), print), calls)
    assert sums.calls == ["first", "second"] * calls
    assert sums.total == 2 * 6 * sum(range(calls))


def test_units_find_their_input_in_one_place() -> None:
    sums = Sums()
    run(Graphs(sums.units, FakeCuda(), print), WARM_UP + 4)
    assert len(sums.places) == 1


def test_inputs_keep_their_memory_layout() -> None:
    seen = []
    graphs = Graphs([lambda batch: seen.append(batch.a.stride())], FakeCuda(), print)
    image = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    graphs(Numbers(image, None))
    assert seen == [image.stride()]


def test_graphs_of_one_step_share_their_memory_and_release_frees_them() -> None:
    cuda = FakeCuda()
    graphs = Graphs(Sums().units, cuda, print)
    run(graphs, WARM_UP + 1)
    (_, first), (_, second) = cuda.captured
    assert first is second and cuda.held == 2
    graphs.release()
    assert cuda.held == 0


def test_a_step_that_cannot_be_captured_says_why_once_and_runs_op_by_op() -> None:
    sums, cuda, said = Sums(), FakeCuda(error="operation not permitted\nwhen stream is capturing"), []
    calls = WARM_UP + 4
    run(Graphs(sums.units, cuda, said.append), calls)
    assert said == ["the step runs without CUDA graphs: operation not permitted when stream is capturing"]
    assert cuda.held == 0
    assert sums.calls == ["first", "second"] * calls
    assert sums.total == 2 * 6 * sum(range(calls))


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
    [{}, {"update": "joint", "precision": "fp16"}, {"microbatch": "2", "group_size": 2}, {"loss": "lsgan"}],
    ids=lambda options: "+".join(options) or "default",
)
def test_a_step_moves_nothing_between_host_and_device(tiny_trainer, monkeypatch, options) -> None:
    seen = set()

    def watched(step: WholeStep, batch: object) -> None:
        with Transfers() as transfers:
            run_step(step, batch)
        seen.update(transfers.seen)

    run_step = WholeStep.__call__
    monkeypatch.setattr(WholeStep, "__call__", watched)
    to_the_end(tiny_trainer(**options))
    assert seen == set()


def test_transfers_are_noticed() -> None:
    x = torch.ones(3)
    for transfer in (lambda: float(x[0]), lambda: x + torch.tensor(1.0), lambda: torch.where(x > 0, x, 0)):
        with Transfers() as transfers:
            transfer()
        assert transfers.seen


def to_the_end(trainer: Trainer) -> Trainer:
    while not trainer.done:
        trainer.step()
    return trainer


def tensors(state: object) -> list[Tensor]:
    """All tensors in a nested state, in its order."""
    if isinstance(state, Tensor):
        return [state]
    return [tensor for value in state.values() for tensor in tensors(value)] if isinstance(state, dict) else []


@pytest.mark.parametrize(
    "options",
    [{}, {"update": "joint", "conditioning": "acgan"}, {"microbatch": "2", "group_size": 2}, {"precision": "fp16"}],
    ids=lambda options: "+".join(options) or "default",
)
def test_replayed_steps_train_to_the_same_bits(tiny_trainer, monkeypatch, options) -> None:
    """The captured units read everything that changes, fade and learning rate included, from where it lies."""
    options = {"fade_kimg": "0.024", "stable_kimg": "0.024", "lr_ramp_kimg": 0.02, **options}  # 6 steps a phase
    eager = to_the_end(tiny_trainer(**options))

    monkeypatch.setattr("train.engine.trainer.wanted", lambda *_: True)
    cuda, trainer = FakeCuda(), tiny_trainer(**options)
    trainer._cuda = cuda
    to_the_end(trainer)

    units = 1 if options.get("update") else 2
    assert [graph.replays for graph, _ in cuda.captured] == [6 - WARM_UP] * units * 3
    assert len({id(pool) for _, pool in cuda.captured}) == 3, "one pool a phase"
    assert cuda.held == units, "the last phase's"
    for mine, expected in zip(tensors(trainer.state_dict()), tensors(eager.state_dict()), strict=True):
        assert torch.equal(mine, expected)


def test_a_loaded_checkpoint_ends_the_graphs_that_know_the_old_state(tiny_trainer, monkeypatch) -> None:
    monkeypatch.setattr("train.engine.trainer.wanted", lambda *_: True)
    options = {"start_resolution": 8, "stable_kimg": "0.08"}
    eager, trainer = tiny_trainer(**options), tiny_trainer(**options)
    trainer._cuda = cuda = FakeCuda()
    for each in (eager, trainer):
        for _ in range(WARM_UP + 2):
            each.step()
        state = each.state_dict()
        each.step()
        each.load_state_dict(state)
        for _ in range(WARM_UP + 2):
            each.step()
    assert len(cuda.captured) == 4 and cuda.held == 2
    for mine, expected in zip(tensors(trainer.state_dict()), tensors(eager.state_dict()), strict=True):
        assert torch.equal(mine, expected)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "options",
    [{}, {"update": "joint", "conditioning": "acgan"}, {"microbatch": "2", "group_size": 2}, {"precision": "fp16"}],
    ids=lambda options: "+".join(options) or "default",
)
def test_captured_steps_train_as_eager_ones_on_a_gpu(tiny_config, tiny_images, monkeypatch, options) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    options = {"fade_kimg": "0.024", "stable_kimg": "0.024", "lr_ramp_kimg": 0.02, **options}
    states, said = [], []
    for graphs in ("off", "on"):
        trainer = build_trainer(tiny_config(cuda_graphs=graphs, **options), tiny_images, GPU)[0]
        trainer.say = said.append
        states.append(tensors(to_the_end(trainer).state_dict()))
    assert said == []
    for mine, expected in zip(*states, strict=True):
        # The same kernels in the same order: a graph changes who launches them, and nothing else.
        assert torch.equal(mine, expected)


@pytest.mark.gpu
def test_compiled_steps_can_be_captured_on_a_gpu(tiny_config, tiny_images) -> None:
    said: list[str] = []
    options = {"start_resolution": 8, "stable_kimg": "0.04", "cuda_graphs": "on", "compile": True}
    trainer = build_trainer(tiny_config(**options), tiny_images, GPU)[0]
    trainer.say = said.append
    to_the_end(trainer)
    assert [line.split(" in ")[0] for line in said] == [
        "8x8: compiled the discriminator part",
        "8x8: compiled the generator part",
    ]
    assert trainer.skipped() == (0, 0)


@pytest.mark.gpu
def test_phases_leave_no_memory_behind_on_a_gpu(tiny_config, tiny_images) -> None:
    def after_a_run(graphs: str) -> int:
        trainer = to_the_end(build_trainer(tiny_config(cuda_graphs=graphs), tiny_images, GPU)[0])
        trainer._whole_step.release()
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated() - before

    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    eager = after_a_run("off")
    before = torch.cuda.memory_allocated()
    captured = after_a_run("on")
    # Libraries may keep a workspace for the stream of the capture.
    assert captured <= eager + (64 << 20)
