"""A run that diverges leaves checkpoints from before it, and says how to go on from one."""

import math
import re
import shlex

import pytest
import torch

from train.data import to_float
from train.run import checkpoint
from train.run.divergence import SKIPPED_IN_A_ROW, divergence, streak

from .runs import train


def images(folder) -> list[int]:
    """Of the checkpoints that are there."""
    return [int(path.stem.split("_")[1]) for path in checkpoint.checkpoints(folder)]


def spoil(monkeypatch, first: int, last: float = math.inf):
    """Shows NaN instead of real images in the steps of these numbers."""
    seen = []

    def batch(pixels):
        seen.append(1)
        return to_float(pixels) * (math.nan if first <= len(seen) <= last else 1)

    monkeypatch.setattr("train.data.sources.to_float", batch)


@pytest.fixture
def three_in_a_row(monkeypatch):
    monkeypatch.setattr("train.run.divergence.SKIPPED_IN_A_ROW", 3)


EVERY_STEP = {"checkpoint_kimg": "0.004", "log_kimg": "0.004", "keep": 1}


def advised(capsys) -> list[str]:
    """The options of the command that a run's last words name."""
    (line,) = capsys.readouterr().err.splitlines()
    assert "training has diverged at" in line
    return shlex.split(line.partition("python -m train.pggan ")[2])


@pytest.mark.usefixtures("three_in_a_row")
@pytest.mark.parametrize("log_kimg", ["0.004", "0"])  # where nothing is logged, the checkpoint notices
def test_checkpoints_from_before_the_divergence_stay_and_the_advice_works(
    tiny_options, tmp_path, monkeypatch, capsys, log_kimg
):
    spoil(monkeypatch, 5)
    assert train(*tiny_options(out=tmp_path / "run", **{**EVERY_STEP, "log_kimg": log_kimg})) == 1
    assert images(tmp_path / "run") == [16]  # the step before it
    command = advised(capsys)
    healthy = tmp_path / "run" / "checkpoint_000000016.pt"
    assert command == ["--resume", str(healthy), "--lr", "0.001"]
    assert streak(checkpoint.load(healthy)["trainer"]) == 0
    monkeypatch.undo()

    assert train(*command) == 0
    assert images(tmp_path / "run") == [48]


@pytest.mark.usefixtures("three_in_a_row")
def test_going_on_with_the_folder_again_and_again_keeps_the_healthy_checkpoint(
    tiny_options, tmp_path, monkeypatch, capsys
):
    spoil(monkeypatch, 5)
    assert train(*tiny_options(out=tmp_path / "run", **EVERY_STEP)) == 1
    first = advised(capsys)
    for _ in range(2):
        spoil(monkeypatch, 1)
        assert train("--resume", str(tmp_path / "run")) == 1
        assert advised(capsys) == first


@pytest.mark.usefixtures("three_in_a_row")
def test_the_advice_is_the_learning_rate_that_worked(tiny_options, tmp_path, capsys):
    assert train(*tiny_options(out=tmp_path / "run", lr="0.002", kimg=0.02, checkpoint_kimg="0.004")) == 0
    assert train("--resume", str(tmp_path / "run"), "--lr", "1e38", "--kimg", "0.048") == 1
    command = advised(capsys)
    assert command[-2:] == ["--lr", "0.002"]
    assert train(*command) == 0


@pytest.mark.usefixtures("three_in_a_row")
def test_a_run_that_recovers_goes_on_and_tidies_up(tiny_options, tmp_path, monkeypatch, capsys):
    spoil(monkeypatch, 5, 6)
    assert train(*tiny_options(out=tmp_path / "run", **EVERY_STEP)) == 0
    assert images(tmp_path / "run") == [48]
    assert capsys.readouterr().out.splitlines()[-2].endswith("skipped 2")


@pytest.mark.usefixtures("three_in_a_row")
def test_the_best_checkpoint_is_none_of_a_diverged_state(tiny_options, tmp_path, monkeypatch):
    values = iter([5, 4, 3, 2, 1, 0.5, 0.25, 0.125])  # ever better
    monkeypatch.setattr(
        "train.run.session.follow",
        lambda *_: (lambda generator: {"metrics": {"fid": next(values)}, "deviations": {}}, []),
    )
    spoil(monkeypatch, 5)
    options = {**EVERY_STEP, "log_kimg": "0", "checkpoint_kimg": "0", "metrics": "fid", "metrics_every": "0.004"}
    assert train(*tiny_options(out=tmp_path / "run", **options)) == 1
    assert images(tmp_path / "run") == [16]


def test_a_diverged_state_at_the_end_is_an_error_without_a_checkpoint(tiny_options, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("train.run.divergence.SKIPPED_IN_A_ROW", 2)
    spoil(monkeypatch, 1)
    options = {"checkpoint_kimg": "0", "log_kimg": "0", "kimg": 0.02}
    assert train(*tiny_options(out=tmp_path / "run", **options)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        "the last 5 updates in a row had non-finite gradients; no checkpoint is from before that: start again" in line
    )
    assert images(tmp_path / "run") == []


@pytest.mark.usefixtures("three_in_a_row")
def test_too_high_a_learning_rate_diverges(tiny_options, tmp_path, capsys):
    assert train(*tiny_options(out=tmp_path / "run", lr="1e38")) == 1
    assert "training has diverged at" in capsys.readouterr().err


def _broken(state: dict) -> list[tuple[str, torch.Tensor]]:
    moment = next(iter(state["players"]["D"]["optimizer"].values()))["exp_avg_sq"]
    return [
        ("networks.G.conv.weight", state["networks"]["G"]["conv.weight"]),
        ("averages.G.dense.bias", state["averages"]["G"]["dense.bias"]),
        (r"players.D.optimizer.\d+.exp_avg_sq", moment),
        ("state.kept", state["state"].setdefault("kept", torch.ones(2))),
        ("own.process 0.kept", state["processes"][0]["own"].setdefault("kept", torch.ones(2))),
    ]


@pytest.mark.parametrize("which", range(5))
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_whatever_is_saved_and_not_finite_is_named(tiny_trainer, which, value):
    trainer = tiny_trainer()
    trainer.step()
    state = trainer.state_dict()
    assert divergence(state) is None
    name, tensor = _broken(state)[which]
    with torch.no_grad():
        tensor[(0,) * tensor.dim()] = value
    assert re.fullmatch(f"{name} is not finite", divergence(state))


def test_running_statistics_count_only_where_they_are_read(tiny_trainer):
    state = tiny_trainer().state_dict()
    state["networks"]["D"]["norm.running_mean"] = torch.tensor([math.inf])
    assert divergence(state) is None
    state["averages"]["G"]["norm.running_mean"] = torch.tensor([math.inf])
    assert divergence(state) == "averages.G.norm.running_mean is not finite"


def test_so_many_skipped_in_a_row_are_a_divergence(tiny_trainer):
    state = tiny_trainer().state_dict()
    for count, diverged in ((SKIPPED_IN_A_ROW - 1, False), (SKIPPED_IN_A_ROW, True)):
        state["players"]["D"]["streak"].fill_(count)
        assert streak(state) == count and (divergence(state) is not None) == diverged


def spoil_file(path, value: float = math.nan):
    """What an earlier version would have saved."""
    state = checkpoint.load(path)
    state["trainer"]["averages"]["G"]["dense.weight"].fill_(value)
    checkpoint.save(path, state)


@pytest.fixture
def broken_newest(tiny_options, tmp_path):
    """A run's folder whose newest checkpoint has diverged, and its two checkpoints."""
    assert train(*tiny_options(out=tmp_path / "run")) == 0
    older, newest = checkpoint.checkpoints(tmp_path / "run")
    spoil_file(newest)
    return tmp_path / "run", older, newest


def test_a_broken_checkpoint_in_the_folder_is_passed_over(broken_newest, capsys):
    run, older, newest = broken_newest
    assert train("--resume", str(run)) == 0
    printed = capsys.readouterr().out
    assert (
        f"warning: checkpoint {newest} is of a run that has diverged: averages.G.dense.weight is not finite" in printed
    )
    assert f"resumed from {older}" in printed
    assert divergence(checkpoint.load(newest)["trainer"]) is None  # written anew


def test_a_broken_checkpoint_named_outright_is_refused_with_the_way_on(broken_newest, capsys):
    run, older, newest = broken_newest
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert train("--resume", str(newest)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"is not finite; continue from before that: python -m train.pggan --resume {older}" in line
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
