"""Runs of the version before this one, and of other systems, are refused in a line that says so."""

from __future__ import annotations

import json
import shutil

import pytest

from train import dcgan, evaluate, export, generate, pggan

from .runs import TINY, TINY_DCGAN, error_of, flags, of_an_older_version


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
