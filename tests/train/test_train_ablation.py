"""The paper's table: which trainings it is of, that they resume, and that it says what they measured."""

import contextlib
import fcntl
import io
import json
import os
import shutil
import signal
import threading
import time
from statistics import fmean, stdev

import pytest
import torch
from PIL import Image

from gan_ops.metrics import inception_score
from train import ablation, classifier, dcgan
from train.ablation import ALL_METHODS, METHODS, Options, command, runs_of
from train.ablation_page import GAP
from train.checkpoint import checkpoints
from train.config import parse_command_line
from train.data import load_images
from train.dcgan_config import PRESETS
from train.errors import run_program
from train.features import classifier_features

TINY = "--data digits --resolution 16 --g-width 2 --d-width 2 --batch 8 --reference-batch 4 --latent 4"
GIVEN = (*TINY.split(), "--device", "cpu", "--precision", "float32", "--checkpoint-kimg", "0.08")
NAME = "is[digits-classifier-v1@16]"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("ablation")


@pytest.fixture(autouse=True)
def small(monkeypatch, shared):
    monkeypatch.setattr(classifier, "STEPS", 40)
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared / "cache"))
    monkeypatch.delenv("GAN_OPS_INCEPTION", raising=False)


@pytest.fixture(autouse=True)
def one_thread():
    """As the trainings have in processes of their own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Inside:
    """Stands in for a process: trains at once, in this one."""

    def __init__(self, words, stderr, **_):
        assert words[1:3] == ["-m", "train.dcgan"]
        errors = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            self.returncode = run_program(lambda: dcgan.main(words[3:]))
        stderr.write(errors.getvalue().encode())

    def poll(self):
        return self.returncode

    def wait(self):
        pass

    def terminate(self):
        pass


@pytest.fixture
def inside(monkeypatch):
    monkeypatch.setattr(ablation.subprocess, "Popen", Inside)


def ablate(out, *own, kimg=0.16, seeds=2, given=()) -> int:
    options = ["--out", str(out), "--seeds", str(seeds), "--kimg", str(kimg), "--images", "30", *own]
    return run_program(lambda: ablation.main([*options, "--", *GIVEN, *given]))


@pytest.fixture
def study(shared, inside, capsys):
    """What a whole ablation with two seeds prints as JSON, and its folder."""
    out = shared / "study"
    assert ablate(out, "--json") == 0
    return json.loads(capsys.readouterr().out), out


def config_of(run):
    config, _ = parse_command_line(PRESETS, command(run, Options(), ())[3:], prog="p", description="")
    return config


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("all methods", {}),
        ("−VBN +BN", {"g_norm": "batch"}),
        ("−labels +HA", {"labels": False, "historical_averaging": ablation.HISTORICAL_AVERAGING}),
        ("−label smoothing", {"label_smoothing": 0.0}),
        ("−labels", {"labels": False}),
        ("−minibatch features", {"minibatch_discrimination": 0}),
    ],
)
def test_a_method_is_all_methods_but_for_what_its_name_says(name, changes):
    first, *others = [config_of(run) for run in runs_of(Options(seeds=1))]
    everything = {"g_norm": "virtual", "minibatch_discrimination": 100, "label_smoothing": 0.1, "labels": True}
    assert {option: getattr(first, option) for option in everything} == everything
    (config,) = [c for c, method in zip([first, *others], METHODS, strict=True) if method.name == name]
    differing = {o: getattr(config, o) for o in ALL_METHODS if getattr(config, o) != getattr(first, o)}
    assert differing == changes


def test_nothing_else_differs_between_the_trainings_of_a_seed():
    kept = [
        {name: value for name, value in vars(config_of(run)).items() if name not in ALL_METHODS}
        for run in runs_of(Options(seeds=1))
    ]
    assert all(one == kept[0] for one in kept)


def test_seeds_are_all_that_differs_between_the_trainings_of_a_method():
    runs = [run for run in runs_of(Options(seeds=3)) if run.method is METHODS[0]]
    configs = [vars(config_of(run)) for run in runs]
    assert [config.pop("seed") for config in configs] == [1, 2, 3]
    assert configs[0] == configs[1] == configs[2]
    assert len({run.folder for run in runs_of(Options(seeds=3))}) == 3 * len(METHODS)


def test_a_number_of_the_table_is_the_mean_of_what_the_runs_stored(study):
    results, out = study
    rows = {row["name"]: row for row in results["rows"]}
    assert list(rows) == ["real data", *(method.name for method in METHODS)]
    for run in runs_of(Options(out=out, seeds=1)):
        values = []
        for seed in (1, 2):
            lines = (out / f"{run.folder.name[:-2]}-{seed}" / "stats.jsonl").read_text().splitlines()
            (stored,) = [line for line in map(json.loads, lines) if "evaluation" in line]
            assert (stored["kimg"], stored["evaluation"]["generated"]) == (0.16, 30)
            values.append(stored[NAME])
        score = rows[run.method.name]["is"]
        assert score == {"mean": fmean(values), "deviation": stdev(values), "values": values}
    lines = [line for line in (out / "ablation.md").read_text().splitlines() if line.startswith("| −labels |")]
    score = rows["−labels"]["is"]
    assert f"| {score['mean']:.2f} ± {score['deviation']:.2f} |" in lines[0] and lines[0].endswith("| 4.36 |")


def test_real_data_are_measured_as_samples_are(study):
    results, _ = study
    real = results["rows"][0]
    assert real["paper"] == 11.24 and real["flags"] == []
    for seed, result in enumerate(real["results"], 1):
        images = load_images("digits", 16)
        chosen = ablation.chosen(images, 30, seed)
        logits = classifier_features(images, torch.device("cpu")).compute(torch.cat(list(chosen.batches())))[1]
        assert result[NAME] == pytest.approx(inception_score(logits, seed=0).mean)


def test_the_picture_has_a_row_for_real_data_and_for_each_method(study):
    _, out = study
    with Image.open(out / "ablation.png") as picture:
        strip = 2 * 16  # two rows of images of 16 pixels
        assert picture.height == (1 + len(METHODS)) * (strip + GAP) - GAP
        last = picture.crop((picture.width - 16 * 16, picture.height - strip, picture.width, picture.height))
    (path,) = out.glob("minibatch-features-1/fakes_*.png")
    with Image.open(path) as samples:
        assert last.tobytes() == samples.convert("RGB").tobytes()


def test_the_same_command_again_trains_nothing_and_says_the_same(study, monkeypatch, capsys):
    results, out = study
    monkeypatch.setattr(ablation.subprocess, "Popen", None)
    assert ablate(out, "--json") == 0
    assert json.loads(capsys.readouterr().out) == results


def test_more_seeds_leave_what_there_is(study, tmp_path, capsys):
    results, out = study
    shutil.copytree(out, tmp_path / "more")
    assert ablate(tmp_path / "more", "--json", seeds=3) == 0
    more = json.loads(capsys.readouterr().out)
    for before, after in zip(results["rows"], more["rows"], strict=True):
        assert after["is"]["values"][:2] == before["is"]["values"] and len(after["is"]["values"]) == 3


def test_a_folder_is_for_one_study(study, capsys):
    _, out = study
    assert ablate(out, kimg=0.08) == 2
    assert "holds trainings with kimg=0.16, not 0.08" in capsys.readouterr().err
    assert ablate(out, given=("--lr", "0.001")) == 2
    assert "holds trainings with options=" in capsys.readouterr().err


def test_the_page_goes_where_it_is_wanted(study, tmp_path, capsys):
    _, out = study
    assert ablate(out, "--page", str(tmp_path / "docs" / "table.md")) == 0
    page = (tmp_path / "docs" / "table.md").read_text()
    assert capsys.readouterr().out.strip() in page
    assert f"python -m train.ablation --seeds 2 --kimg 0.16 --images 30 -- {' '.join(GIVEN)}\n" in page
    assert "](table.png)" in page and (tmp_path / "docs" / "table.png").exists()


def test_trainings_stopped_by_a_signal_go_on_and_give_the_same_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ablation, "METHODS", METHODS[:1])
    whole, stopped, longer = tmp_path / "whole", tmp_path / "stopped", {"kimg": 1.2, "seeds": 1}
    (run,) = runs_of(Options(out=stopped, seeds=1))

    def interrupt():
        while not checkpoints(run.folder):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    assert ablate(stopped, **longer) == 128 + signal.SIGTERM
    thread.join()
    assert "the same command goes on" in capsys.readouterr().err
    assert "stopped by SIGTERM" in (run.folder / "log.txt").read_text()

    monkeypatch.setattr(ablation.subprocess, "Popen", Inside)
    assert ablate(stopped, "--json", **longer) == 0
    resumed = json.loads(capsys.readouterr().out)
    assert ablate(whole, "--json", **longer) == 0
    assert numbers(json.loads(capsys.readouterr().out)) == numbers(resumed)


def numbers(results):
    return [(row["name"], row["is"], row["fid"]) for row in results["rows"]]


def test_a_training_killed_before_its_first_checkpoint_begins_again(study, tmp_path, capsys):
    results, out = study
    shutil.copytree(out, tmp_path / "killed")
    folder = tmp_path / "killed" / "labels-2"
    for path in [*checkpoints(folder), folder / "stats.jsonl"]:
        path.unlink()
    assert ablate(tmp_path / "killed", "--json") == 0
    assert numbers(json.loads(capsys.readouterr().out)) == numbers(results)


def test_a_training_that_fails_says_which_and_why(tmp_path, inside, capsys):
    assert ablate(tmp_path, given=("--resolution", "20")) == 1
    assert "all methods, seed 1: resolution=20 is none of 16, 32, 64, 128" in capsys.readouterr().err


def test_two_ablations_in_one_folder_are_refused(tmp_path, capsys):
    with open(tmp_path / "lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert ablate(tmp_path) == 2
    assert "another ablation is at work" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--seeds", "0", "seeds=0"),
        ("--images", "0", "images=0"),
        ("--jobs", "-1", "jobs=-1"),
        ("--kimg", "0", "kimg=0"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(tmp_path, capsys, option, value, words):
    assert run_program(lambda: ablation.main(["--out", str(tmp_path), option, value])) == 2
    assert words in capsys.readouterr().err


def test_help_names_the_sections_of_the_paper(capsys):
    with pytest.raises(SystemExit):
        ablation.main(["--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert all(words in text for words in ("table 3", "section 3.5", "3.2", "3.4", "3.3", "labels for D (5)"))
