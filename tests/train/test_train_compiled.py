"""Compiled steps in a run: which kinds there are, what phases leave behind, resuming, and going on without a compiler.

That they give the weights of eager steps is in tests/steps.
"""

from __future__ import annotations

import copy
import gc
import weakref
from functools import partial

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from train.engine.compiled import Compiled
from train.engine.trainer import Trainer

from .runs import assert_same, steps, to_the_end

pytestmark = pytest.mark.usefixtures("no_compiled_code")


@pytest.mark.parametrize(
    "options",
    [
        {"condition": "acgan", "update": "joint"},
        {"condition": "cgan", "microbatch": "2", "group_size": 2},
        {"condition": "infogan", "categorical": "3", "continuous": 1},
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
    used = [function._compiled for function in trainer._step._functions.values()]
    assert len(used) == 2 and None not in used  # D's move and G's
    return [weakref.ref(code) for code in used]


def test_each_phase_compiles_anew_and_leaves_no_code_and_a_run_no_networks_behind(
    tiny_trainer, without_code_generation
) -> None:
    trainer = tiny_trainer(compile=True)
    trainer.say = lambda _: None
    networks = [weakref.ref(network) for network in trainer.game.networks.values()]
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

    trainer._step.release()
    del trainer
    gc.collect()
    assert [network() for network in networks] == [None, None]


def test_a_compiled_run_resumes_bitwise(tiny_trainer) -> None:
    options = {"compile": True, "start_resolution": 8, "stable_kimg": "0.016"}  # 4 steps in one phase
    uninterrupted, resumed = tiny_trainer(**options), tiny_trainer(**options)
    for trainer in (uninterrupted, resumed):
        trainer.say = lambda _: None
    state = copy.deepcopy(steps(uninterrupted, 2).state_dict())
    to_the_end(uninterrupted)

    torch.compiler.reset()
    resumed.load_state_dict(state)
    to_the_end(resumed)
    assert_same(resumed.averages["G"].state_dict(), uninterrupted.averages["G"].state_dict())
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
    assert said[0].startswith("4x4: the D move runs without being compiled: ")
    assert "no compiler in sight" in said[0]
    assert_same(trainer.game.networks["G"].state_dict(), eager.game.networks["G"].state_dict())


def test_want_of_memory_is_not_taken_for_a_failure_to_compile() -> None:
    said: list[str] = []
    compiled = Compiled(lambda: None, "function", said.append)

    def out_of_memory(_):
        raise torch.OutOfMemoryError("too much")

    compiled._call = out_of_memory
    with pytest.raises(torch.OutOfMemoryError):
        compiled()
    assert said == []


def test_an_error_of_the_function_itself_is_not_hidden() -> None:
    def faulty(x: Tensor) -> Tensor:
        raise ValueError(f"x={x.shape} is wrong")

    with pytest.raises(ValueError, match="is wrong"):
        Compiled(faulty, "function", lambda _: None)(torch.ones(3))
