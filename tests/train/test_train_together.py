"""Runs in several processes, started by torchrun: what they write, how they resume, and how they end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from train import pggan
from train.base.errors import run_program
from train.run import checkpoint

from .runs import (
    TINY,
    TINY_BEGAN,
    TINY_DCGAN,
    TINY_R3GAN,
    TINY_STYLEGAN2,
    TINY_VAE_GAN,
    assert_same,
    flags,
    newest,
)
from .test_train_cyclegan import TINY as TINY_CYCLEGAN
from .together import Call, Result, launch, together

HALF = {"kimg": 0.032}
OTHERS = {"cyclegan": {**TINY_CYCLEGAN, "lr_decay": 0.0}, "vae_gan": TINY_VAE_GAN, "began": TINY_BEGAN}
OTHERS |= {
    "r3gan": {**TINY_R3GAN, "burn_in_kimg": 0.016},
    "stylegan2": {**TINY_STYLEGAN2, "r1_every": 2, "augment": "bgc", "augment_kimg": 0.1},
}
STATISTICS = ("--metrics_every=1", "--metrics_images=130", "--data_size=130")
"""More than a batch of 100 to draw, so that both processes have something to do."""


def both(program: str, *args: str, **options: object) -> Call:
    arguments = [*flags(options), *args]
    return Call(program, arguments, arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("together")


@pytest.fixture(scope="module")
def results(folder: Path) -> dict[str, Result]:
    """What came of all calls, made in their order by two processes that start once."""
    tiny, dcgan = {**TINY, "out": folder / "whole"}, {**TINY_DCGAN, "out": folder / "dcgan"}
    fid = {**dcgan, "data_size": None, "kimg": 0.004, "metrics": "fid", "out": folder / "fid"}
    alone = flags({**TINY, **HALF, "out": folder / "alone"})
    assert pggan.main(alone) == 0
    shutil.copytree(folder / "alone", folder / "unwritable")
    (folder / "unwritable" / "stats.jsonl").unlink()
    (folder / "unwritable" / "stats.jsonl").mkdir()
    calls = {
        "whole": both("pggan", **tiny),
        "half": both("pggan", **{**tiny, **HALF, "out": folder / "resumed"}),
        "resumed": both("pggan", "--resume", str(folder / "resumed"), "--kimg=0.048"),
        "of one": both("pggan", "--resume", str(folder / "alone"), "--kimg=0.048"),
        "unwritable": both("pggan", "--resume", str(folder / "unwritable"), "--kimg=0.048"),
        "dcgan": both("dcgan", *STATISTICS, **{**dcgan, "data_size": None}, metrics="swd,fid"),
        "fid": both("dcgan", *STATISTICS, **fid),
        "locked": Call("pggan", flags({**tiny, "out": folder / "dcgan"}), flags({**tiny, "out": folder / "dcgan"})),
        "indivisible": both("pggan", **{**tiny, "batch": "4,8:7", "out": folder / "none"}),
        "groups": both("pggan", **{**tiny, "batch": "4:12", "group_size": 4, "out": folder / "none"}),
        "first is wrong": Call("pggan", ["--lr", "x"], flags({**tiny, "out": folder / "none"})),
        "second is wrong": Call("pggan", flags({**tiny, "out": folder / "none"}), ["--lr", "x"]),
        "unlike": Call("pggan", flags({**tiny, "out": folder / "none"}), flags({**tiny, "batch": "8"})),
        "both are wrong": Call("pggan", ["--kimgs=3"], ["--kimgs=3"]),
        "dry": both("pggan", "--dry-run"),
        **{
            f"{name} {part}": call
            for name, options in OTHERS.items()
            for part, call in (
                ("whole", both(name, **options, out=folder / f"{name}-whole")),
                ("half", both(name, **{**options, "kimg": 0.012}, out=folder / f"{name}-resumed")),
                ("resumed", both(name, f"--resume={folder / f'{name}-resumed'}", "--kimg=0.024")),
            )
        },
        "mixture": both("mixture", steps=2, json=True),
        "semi_supervised": both("semi_supervised", epochs=1),
        "indivisible mixture": both("mixture", steps=2, batch=7),
        "lonely points": both("mixture", steps=2, batch=2),
        "lonely images": both("semi_supervised", epochs=1, batch=2),
    }
    return together(calls, folder)


def said(result: Result) -> str:
    """What the first process printed; the other one nothing."""
    assert result.outputs[1] == result.errors[1] == ""
    return result.outputs[0]


def error(result: Result, code: int, process: int = 0) -> str:
    """The one line that one process printed when both ended with a code."""
    assert result.codes == [code, code]
    assert result.errors[1 - process] == ""
    (line,) = result.errors[process].splitlines()
    return line


def test_a_run_is_written_by_one_process(results, folder) -> None:
    assert results["whole"].codes == [0, 0]
    run = folder / "whole"
    assert "on 1 CPU thread in each of 2 processes" in said(results["whole"])
    lines = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    counts = [line["images"] for line in lines]
    assert counts == sorted(set(counts)) and counts[-1] == 48
    assert {line["batch"] for line in lines} == {4}
    state = newest(run)["trainer"]
    assert state["images"] == 48 and state["steps"] == 12
    assert [len(state["processes"]), state["source"]["images"]["position"]] == [2, 48]
    for name in ("random", "global_random"):
        first, second = (process[name] for process in state["processes"])
        assert not torch.equal(first, second), name


def test_as_many_processes_resume_to_the_bit(results, folder) -> None:
    assert results["half"].codes == results["resumed"].codes == [0, 0]
    assert_same(newest(folder / "resumed")["trainer"], newest(folder / "whole")["trainer"])
    assert "random numbers begin anew" not in said(results["resumed"])


@pytest.mark.parametrize("name", OTHERS)
def test_other_systems_resume_to_the_bit_with_what_each_process_kept(name, results, folder) -> None:
    for part in ("whole", "half", "resumed"):
        assert results[f"{name} {part}"].codes == [0, 0], results[f"{name} {part}"].errors
    whole = newest(folder / f"{name}-whole")["trainer"]
    assert whole["images"] == 24
    assert_same(newest(folder / f"{name}-resumed")["trainer"], whole)
    first, second = (process["own"] for process in whole["processes"])
    assert first.keys() == second.keys()
    assert all(not torch.equal(first[key], second[key]) for key in first if first[key].dim() == 4)


def test_more_processes_resume_with_a_note(results, folder) -> None:
    assert results["of one"].codes == [0, 0]
    assert "the checkpoint is of a run in 1 process, this is one in 2 processes: random numbers" in said(
        results["of one"]
    )
    assert newest(folder / "alone")["trainer"]["images"] == 48


def test_fewer_processes_resume_with_a_note(results, folder, capsys) -> None:
    assert run_program(lambda: pggan.main(["--resume", str(folder / "whole"), "--kimg=0.056"])) == 0
    assert (
        "the checkpoint is of a run in 2 processes, this is one in 1 process: random numbers" in capsys.readouterr().out
    )
    state = newest(folder / "whole")["trainer"]
    assert state["images"] == 56 and len(state["processes"]) == 1


def test_running_statistics_are_means_and_each_process_has_its_own_back(results, folder) -> None:
    assert results["dcgan"].codes == [0, 0], results["dcgan"].errors
    state = newest(folder / "dcgan")["trainer"]
    names = [name for name in state["networks"]["G"] if name.endswith(("running_mean", "running_var"))]
    assert names
    for name in names:
        first, second = (process["statistics"][f"G.{name}"] for process in state["processes"])
        assert not torch.equal(first, second)
        torch.testing.assert_close(state["networks"]["G"][name], (first + second) / 2)
        # The averaged network's are averages over the steps, as its weights are.
        averaged = state["averages"]["G"][name]
        assert averaged.isfinite().all() and not torch.allclose(averaged, (first + second) / 2)


@pytest.mark.parametrize(("run", "metrics"), [("dcgan", "swd,fid"), ("fid", "fid")])
def test_two_processes_measure_what_one_would(run, metrics, results, folder, capsys) -> None:
    assert results[run].codes == [0, 0], results[run].errors
    lines = [json.loads(line) for line in (folder / run / "stats.jsonl").read_text().splitlines()]
    evaluated = [line for line in lines if "evaluation" in line][-1]
    from train import evaluate

    capsys.readouterr()
    assert evaluate.main([str(folder / run), f"--metrics={metrics}", "--images=130", "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    for name, value in alone["metrics"].items():
        assert evaluated[name] == pytest.approx(value, rel=1e-3), name


def test_usage_errors_end_all_and_are_said_once(results, folder) -> None:
    assert error(results["indivisible"], 2) == "error: batch=7 at 8x8 cannot be divided among 2 processes equally"
    assert "group_size=4 does not divide the share of 6 that each of 2 processes has at 4x4" in error(
        results["groups"], 2
    )
    assert "lr: 'x' is neither" in error(results["first is wrong"], 2)
    assert "lr: 'x' is neither" in error(results["second is wrong"], 2, process=1)
    assert "batch is '4' in process 0 and '8' in process 1" in error(results["unlike"], 2)
    assert "stats.jsonl: Is a directory" in error(results["unwritable"], 2)
    assert "--kimgs" in error(results["both are wrong"], 2)
    assert "is not empty" in error(results["locked"], 2)
    assert error(results["indivisible mixture"], 2) == "error: batch=7 cannot be divided among 2 processes equally"
    assert "batch=2: each of 2 processes needs at least 2 points" in error(results["lonely points"], 2)
    assert "batch=2: batch norm needs at least 2 images in each process" in error(results["lonely images"], 2)
    assert not (folder / "none").exists()


def test_programs_without_a_run_folder_print_once(results) -> None:
    assert results["dry"].codes == results["mixture"].codes == results["semi_supervised"].codes == [0, 0]
    assert '"preset": "glyphs"' in said(results["dry"])
    assert json.loads(said(results["mixture"]))["options"]["steps"] == 2
    assert "test images wrong" in said(results["semi_supervised"])


# ---- how they end


ENDLESS = {**TINY, "kimg": 1000.0, "checkpoint_kimg": "0.016", "stable_kimg": "0.016,8:2000"}


def workers(torchrun: int) -> list[int]:
    """Process ids of what torchrun has started, by rank."""
    children = Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text().split()
    ranks = {}
    for child in children:
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        ranks |= {int(text[5:]): int(child) for text in environment if text.startswith(b"RANK=")}
    return [ranks[rank] for rank in sorted(ranks)]


def started(run: Path):
    """A run in two processes that has written a checkpoint."""
    job = launch("-m", "train.pggan", *flags({**ENDLESS, "out": run}))
    until = time.monotonic() + 300
    while not list(run.glob("checkpoint_*.pt")):
        assert job.poll() is None, job.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.1)
    return job


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_all_and_is_named(killed: int, tmp_path: Path) -> None:
    run = tmp_path / "run"
    job = started(run)
    ids = workers(job.pid)
    os.kill(ids[killed], signal.SIGKILL)
    _, errors = job.communicate(timeout=60)
    assert job.returncode == 1
    assert f"error: process {killed} (process id {ids[killed]}) of the run has ended, so process {1 - killed}" in errors
    assert re.search(rf"rank *: {killed}.*\n *exitcode *: -9", errors), errors  # torchrun's own words
    state = newest(run)["trainer"]
    assert state["images"] > 0 and len(state["processes"]) == 2
    assert run_program(lambda: pggan.main(["--resume", str(run), f"--kimg={(state['images'] + 4) / 1000}"])) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_once_and_ends_all(number: int, tmp_path: Path) -> None:
    run = tmp_path / "run"
    job = started(run)
    os.kill(job.pid, number)
    output, errors = job.communicate(timeout=120)
    assert job.returncode != 0
    stopped = re.findall(rf"stopped by {signal.Signals(number).name} after ([\d.]+) kimg; to continue", output)
    assert len(stopped) == 1, output + errors
    assert f"to continue: torchrun --nproc-per-node 2 -m train.pggan --resume {run}" in output
    assert checkpoint.load_newest(run)[1]["trainer"]["images"] == round(1000 * float(stopped[0]))
