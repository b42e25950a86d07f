"""Runs of the version before this one, and of other systems, are refused in a line that says so."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from train import dcgan, evaluate, export, generate, pggan
from train.run import checkpoint
from train.run.older import options_of_today

from .runs import TINY, TINY_DCGAN, assert_same, error_of, flags, newest, of_an_older_version


@pytest.fixture
def old(shared_run, tmp_path):
    """The folder of a run as the version before this one left it, but for its options."""
    shutil.copytree(shared_run("new"), tmp_path / "old")
    of_an_older_version(tmp_path / "old")
    return tmp_path / "old"


def content(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


STARTS = {
    "resume": (pggan.main, lambda run: ["--resume", run]),
    "init-from": (pggan.main, lambda run: flags({**TINY, "init_from": run, "out": f"{run}/../run"})),
    "generate": (generate.main, lambda run: [run]),
    "evaluate": (evaluate.main, lambda run: [run, "--metrics", "swd"]),
    "export": (export.main, lambda run: [run]),
}


@pytest.mark.parametrize("which", ["folder", "file"])
@pytest.mark.parametrize("start", STARTS)
def test_a_checkpoint_of_format_1_is_refused_everywhere(old, start: str, which: str, capsys) -> None:
    main, arguments = STARTS[start]
    before = content(old)
    newest = max(old.glob("checkpoint_*.pt"))
    line = error_of(main, arguments(str(old if which == "folder" else newest)), capsys)
    assert f"checkpoint {newest} is of format 1, of a version before this one, and cannot be continued" in line
    assert content(old) == before and not (old.parent / "run").exists()


def test_options_of_an_older_version_are_refused_before_anything_else(old, capsys) -> None:
    config = json.loads((old / "config.json").read_text())
    del config["program"]
    (old / "config.json").write_text(json.dumps({**config, "loss": "wgan-gp", "gp_weight": 10.0, "drift": 0.001}))
    before = content(old)
    line = error_of(pggan.main, ["--resume", str(old)], capsys)
    assert line.endswith(f"{old / 'config.json'} is of a version before this one, and its run cannot be continued here")
    assert content(old) == before


def test_a_run_of_another_system_is_not_resumed(shared_run, capsys) -> None:
    run = shared_run("new")
    before = content(run)
    line = error_of(dcgan.main, ["--resume", str(run)], capsys)
    assert line.endswith(f"{run / 'config.json'} is of a run of python -m train.pggan, not of python -m train.dcgan")
    assert content(run) == before


def test_a_checkpoint_of_another_system_is_not_resumed(shared_run, tmp_path, capsys) -> None:
    run = tmp_path / "dcgan"
    assert dcgan.main(flags({**TINY_DCGAN, "out": run})) == 0
    other = max(shared_run("new").glob("checkpoint_*.pt"))
    shutil.copy(other, run / "checkpoint_999999999.pt")
    line = error_of(dcgan.main, ["--resume", str(run)], capsys)
    assert "checkpoint_999999999.pt is of a run of train.pggan, not of train.dcgan" in line


# Runs of before discriminators had heads, and one option for labels


def before_heads(run, system: str, condition: str) -> None:
    """Makes a run's options and checkpoints those that the version before wrote."""

    def old(config: dict) -> dict:
        config = dict(config)
        was = config.pop("condition")
        new = ("categorical", "continuous", "information_weight", "continuous_weight")
        config = {name: value for name, value in config.items() if name not in new}
        if system == "dcgan":
            return {**config, "labels": was == "k+1"}
        return {**config, "conditioning": "concat" if was == "cgan" else was}

    path = run / "config.json"
    path.write_text(json.dumps(old(json.loads(path.read_text()))))
    for path in checkpoint.checkpoints(run):
        state = checkpoint.load(path)
        state["config"] = old(state["config"])
        del state["class_names"]
        tensors, player = state["trainer"]["networks"]["D"], state["trainer"]["players"]["D"]
        places = {name: i for i, name in enumerate(n for n, t in tensors.items() if isinstance(t, torch.Tensor))}
        layer = "classes" if condition == "k+1" else "score"
        for name in ("weight", "bias"):
            for some, inside in ((tensors, ""), (player["averages"], "D.")):
                if (key := f"{inside}head.{layer}.{name}") in some:
                    some[f"{inside}out.{name}"] = some.pop(key)
                    if condition == "acgan":
                        both = some[f"{inside}out.{name}"], some.pop(f"{inside}head.classes.{name}")
                        some[f"{inside}out.{name}"] = torch.cat(both)
            if condition == "acgan":  # the optimizer's moments are numbered as parameters are
                moments = player["optimizer"]
                one = moments[places[f"head.score.{name}"]]
                other = moments.pop(places[f"head.classes.{name}"])
                for key, value in one.items():
                    one[key] = torch.cat((value, other[key])) if value.dim() else value
        torch.save(state, path)


@pytest.mark.parametrize(
    ("system", "condition"),
    [("dcgan", "none"), ("dcgan", "k+1"), ("pggan", "none"), ("pggan", "cgan"), ("pggan", "acgan")],
)
def test_a_run_of_before_heads_goes_on_bitwise(system, condition, tmp_path) -> None:
    main, tiny = (dcgan.main, TINY_DCGAN) if system == "dcgan" else (pggan.main, TINY)
    options = {**tiny, "condition": condition, "historical_averaging": 0.1, "kimg": 0.012}
    assert main(flags({**options, "out": tmp_path / "new"})) == 0
    shutil.copytree(tmp_path / "new", tmp_path / "old")
    before_heads(tmp_path / "old", system, condition)
    assert "condition" not in json.loads((tmp_path / "old" / "config.json").read_text())
    for name in ("new", "old"):
        assert main(["--resume", str(tmp_path / name), "--kimg", "0.024"]) == 0
    new, old = (newest(tmp_path / name) for name in ("new", "old"))
    for part in ("networks", "averages", "players"):
        assert_same(old["trainer"][part], new["trainer"][part])
    assert old["config"]["condition"] == condition


@pytest.mark.parametrize(
    ("was", "condition"),
    [
        ({"labels": True}, "k+1"),
        ({"labels": False}, "none"),
        ({"conditioning": "concat"}, "cgan"),
        ({"conditioning": "acgan"}, "acgan"),
        ({"conditioning": "auto"}, "auto"),
    ],
)
def test_what_options_for_labels_were_called(was, condition) -> None:
    assert options_of_today({"lr": "0.1", **was}) == {"lr": "0.1", "condition": condition}


def test_numbers_of_labels_are_no_option_of_before() -> None:
    assert options_of_today({"labels": 20}) == {"labels": 20}
