"""A run that was interrupted and resumed ends exactly where an uninterrupted one ends."""

import json
import os
import shutil
import signal

import pytest
import torch

from train.data import to_float
from train.run import checkpoint

from .runs import assert_same, newest, steps, train


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reset_optimizer": True, "lr_ramp_kimg": 0.01},
        {"condition": "acgan", "update": "joint"},
        {"condition": "cgan", "microbatch": "2", "group_size": 2},
        {"loss": "lsgan", "precision": "bf16"},
        {"precision": "fp16"},
        {"update": "merged", "historical_averaging": 0.1, "instance_noise": 0.2, "minibatch_discrimination": 4},
        {"d_steps": 2, "batch": "2", "group_size": 2, "ttur": 2.0, "feature_matching": 8, "loss": "hinge"},
        {"loss": "non-saturating", "penalty": "r1(every=3), r2(every=2)", "microbatch": "2", "group_size": 2},
        {"loss": "mcgan-covariance(outputs=4,components=2,clip=0)"},
        {"loss": "fisher(rho=0.1)"},
        {"loss": "hinge", "augment": "bgc", "augment_kimg": 0.05, "batch": "2", "d_steps": 2, "group_size": 2},
        {"augment": "bgcfnc", "augment_p": "held-out", "augment_kimg": 0.05, "held_out": 6, "condition": "cgan"},
        {"condition": "projection", "loss": "hinge"},
        {"condition": "infogan", "categorical": "3", "continuous": 1, "update": "merged"},
    ],
    ids=lambda options: "+".join(options) or "default",
)
@pytest.mark.parametrize("interruption", [2, 4, 6, 8, 10])  # stable, before the fade, in it, after it, stable
def test_resuming_goes_on_bitwise(tiny_trainer, tmp_path, options, interruption):
    uninterrupted = steps(tiny_trainer(**options), 12)

    first = steps(tiny_trainer(**options), interruption)
    checkpoint.save(tmp_path / "c.pt", {"trainer": first.state_dict()})
    torch.randn(5)  # whatever happens in between
    second = tiny_trainer(**options)
    second.load_state_dict(checkpoint.load(tmp_path / "c.pt")["trainer"])
    steps(second, 12 - interruption)

    assert uninterrupted.done
    assert_same(uninterrupted.state_dict(), second.state_dict())


def test_the_middle_interruption_is_in_mid_fade(tiny_trainer):
    assert steps(tiny_trainer(), 6).position.fade == 0.5


def test_fade_and_resolution_come_back_with_a_checkpoint(tiny_trainer):
    first, second = steps(tiny_trainer(), 6), tiny_trainer()
    second.load_state_dict(first.state_dict())
    for network in (second.game.networks["G"], second.game.networks["D"], second.averages["G"]):
        assert (network.resolution, network.fade) == (8, 0.75)  # of the last step


def interrupt_after(monkeypatch, count: int, number: int = signal.SIGINT):
    """Sends this process a signal while the step of that number computes."""
    seen = []

    def send(pixels):
        seen.append(1)
        if len(seen) == count:
            os.kill(os.getpid(), number)
        return to_float(pixels)

    monkeypatch.setattr("train.data.sources.to_float", send)


TIMING = ("seconds", "seconds_per_kimg", "images_per_second", "memory_bytes", "seconds_left")


def stats(folder) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMING} for line in lines]


@pytest.fixture
def reference_run(shared_run):
    """The folder of a run that nothing disturbed."""
    return shared_run("uninterrupted")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_at_the_step_and_resume_ends_the_same(
    reference_run, tiny_options, tmp_path, monkeypatch, capsys, number, code
):
    run = tmp_path / "run"
    interrupt_after(monkeypatch, 7, number)  # in mid-fade, and between two regular checkpoints
    assert train(*tiny_options(out=run)) == code
    assert newest(run)["trainer"]["steps"] == 7
    assert f"python -m train.pggan --resume {run}" in capsys.readouterr().out
    monkeypatch.undo()

    assert train("--resume", str(run)) == 0
    assert_same(newest(reference_run)["trainer"], newest(run)["trainer"])
    assert stats(run) == stats(reference_run)
    assert sorted(p.name for p in run.glob("fakes_*")) == sorted(p.name for p in reference_run.glob("fakes_*"))


def test_after_a_kill_logs_are_cut_back_to_the_checkpoint(reference_run, tiny_options, tmp_path, monkeypatch):
    run = tmp_path / "run"

    seen = []

    def die(pixels):
        seen.append(1)
        if len(seen) == 12:
            raise SystemExit
        return to_float(pixels)

    monkeypatch.setattr("train.data.sources.to_float", die)
    with pytest.raises(SystemExit):
        train(*tiny_options(out=run))
    monkeypatch.undo()
    (run / "stats.jsonl").open("a").write('{"images": 4')  # half a line
    assert newest(run)["trainer"]["images"] == 32 and stats_images(run)[-1] == 40

    assert train("--resume", str(run)) == 0
    assert stats(run) == stats(reference_run)
    assert (run / "log.txt").read_text().count("s/kimg") == 6  # each line once
    assert_same(newest(reference_run)["trainer"], newest(run)["trainer"])


def stats_images(folder) -> list[int]:
    return [json.loads(line)["images"] for line in (folder / "stats.jsonl").read_text().splitlines() if line[-1] == "}"]


def test_tensorboard_forgets_what_came_after_the_checkpoint(tiny_options, tmp_path, monkeypatch):
    purge_steps = []

    class Writer:
        def __init__(self, folder, purge_step):
            purge_steps.append(purge_step)

        def ignore(self, *_):
            pass

        add_scalar = add_image = close = ignore

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", Writer)
    assert train(*tiny_options(out=tmp_path, tensorboard=True, kimg=0.032)) == 0
    assert train("--resume", str(tmp_path), "--kimg", "0.04") == 0
    assert purge_steps == [None, 32]


def test_a_truncated_newest_checkpoint_costs_only_the_way_from_the_one_before(
    reference_run, tiny_options, tmp_path, capsys
):
    run = tmp_path / "run"
    assert train(*tiny_options(out=run)) == 0
    last = checkpoint.checkpoints(run)[-1]
    last.write_bytes(last.read_bytes()[:1000])
    capsys.readouterr()
    assert train("--resume", str(run)) == 0
    assert f"warning: checkpoint {last} is truncated" in capsys.readouterr().out
    assert_same(newest(reference_run)["trainer"], newest(run)["trainer"])


def test_resuming_from_an_older_checkpoint_abandons_what_came_after(reference_run, tiny_options, tmp_path):
    run = tmp_path / "run"
    assert train(*tiny_options(out=run)) == 0
    older = checkpoint.checkpoints(run)[-2]
    assert train("--resume", str(older)) == 0
    assert stats(run) == stats(reference_run)
    assert_same(newest(reference_run)["trainer"], newest(run)["trainer"])


def test_a_finished_run_goes_on_with_a_larger_kimg(tiny_options, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(*tiny_options(out=run)) == 0
    assert train("--resume", str(run)) == 0
    assert "nothing left to do after 0.048 kimg" in capsys.readouterr().out
    assert train("--resume", str(run), "--kimg", "0.06") == 0
    assert newest(run)["trainer"]["images"] == 60
    assert json.loads((run / "config.json").read_text())["kimg"] == 0.06


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--fmap-max", "4"],
            "has another shape: G dense.weight is of shape",
        ),
        (["--data-size", "30"], "was trained on 40 images, but data now has 30"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_one_line_and_harms_nothing(reference_run, capsys, options, message):
    before = {p.name: p.read_bytes() for p in reference_run.iterdir()}
    assert train("--resume", str(reference_run), *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert {p.name: p.read_bytes() for p in reference_run.iterdir()} == before


def test_a_truncated_checkpoint_named_outright_is_one_line(tiny_options, tmp_path, capsys, reference_run):
    (tmp_path / "config.json").write_bytes((reference_run / "config.json").read_bytes())
    broken = tmp_path / "checkpoint_000000001.pt"
    broken.write_bytes(checkpoint.checkpoints(reference_run)[-1].read_bytes()[:5000])
    for argument in (broken, tmp_path):
        assert train("--resume", str(argument)) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "is truncated or damaged" in line


def test_a_full_disk_is_one_line_and_the_earlier_checkpoint_goes_on(
    reference_run, tiny_options, tmp_path, monkeypatch, capsys
):
    run = tmp_path / "run"
    synced = []

    def full(descriptor):
        synced.append(1)
        if len(checkpoint.checkpoints(run)) == 1 and any(run.glob("checkpoint_*.tmp")):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("train.base.files.os.fsync", full)
    assert train(*tiny_options(out=run)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error:") and "cannot write" in line and "No space left on device" in line
    monkeypatch.undo()

    assert train("--resume", str(run)) == 0
    assert_same(newest(reference_run)["trainer"], newest(run)["trainer"])


def test_a_checkpoint_from_before_several_processes_goes_on_exactly(reference_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(reference_run, run)
    state = checkpoint.load(checkpoint.checkpoints(run)[0])
    for path in checkpoint.checkpoints(run):
        path.unlink()
    trainer = state["trainer"]
    trainer |= trainer.pop("processes")[0]
    torch.save({**state, "format": 2}, checkpoint.path_for(run, trainer["images"]))
    assert trainer["images"] < newest(reference_run)["trainer"]["images"]
    assert train("--resume", str(run)) == 0
    assert_same(newest(reference_run)["trainer"], newest(run)["trainer"])


def test_a_change_of_device_loses_only_the_random_stream(tiny_trainer):
    state = steps(tiny_trainer(), 2).state_dict()
    state["processes"][0]["random"] = torch.zeros(16, dtype=torch.uint8)  # as long as a GPU's
    trainer = tiny_trainer()
    trainer.load_state_dict(state)
    assert steps(trainer, 1).images == 12
