"""The paper's table: which trainings it is of, that they resume, and that it says what they measured."""

import contextlib
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
from train import dcgan
from train.base.errors import run_program
from train.data import load_images
from train.dcgan import SYSTEM, DcganConfig
from train.measure import classifier
from train.measure.features import choose_features
from train.measure.samples import chosen, chosen_indices
from train.run.checkpoint import checkpoints
from train.run.options import parse_command_line
from train.studies import ablation, ablation_runs, trainings
from train.studies.ablation import ALL_METHODS, METHODS, Options, tasks_of, words
from train.studies.ablation_runs import Task, real_samples
from train.studies.sheet import GAP
from train.studies.trainings import measured

pytestmark = pytest.mark.usefixtures("one_thread")  # as the trainings have in processes of their own

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
    monkeypatch.setattr(trainings.subprocess, "Popen", Inside)


def ablate(out, *own, kimg=0.16, seeds=2, given=()) -> int:
    options = ["--out", str(out), "--seeds", str(seeds), "--kimg", str(kimg), "--images", "30", *own]
    return run_program(lambda: ablation.main([*options, "--", *GIVEN, *given]))


@pytest.fixture
def study(shared, inside, capsys):
    """What a whole ablation with two seeds prints as JSON, and its folder."""
    out = shared / "study"
    assert ablate(out, "--json") == 0
    return json.loads(capsys.readouterr().out), out


def config_of(task):
    config, _ = parse_command_line(SYSTEM.presets, words(task, Options(), ()), prog="p", description="")
    return config


SMOOTHED = "non-saturating(label_smoothing=0.1)"


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("all methods", {}),
        ("−VBN +BN", {"g_norm": "batch"}),
        ("−labels +HA", {"condition": "none", "historical_averaging": ablation.HISTORICAL_AVERAGING}),
        ("−label smoothing", {"loss": "non-saturating"}),
        ("−labels", {"condition": "none"}),
        ("−minibatch features", {"minibatch_discrimination": 0}),
    ],
)
def test_a_method_is_all_methods_but_for_what_its_name_says(name, changes):
    first, *others = [config_of(task) for task in tasks_of(Options(seeds=1))]
    everything = {"g_norm": "virtual", "minibatch_discrimination": 100, "loss": SMOOTHED, "condition": "k+1"}
    assert {option: getattr(first, option) for option in everything} == everything
    (config,) = [c for c, method in zip([first, *others], METHODS, strict=True) if method.name == name]
    differing = {o: getattr(config, o) for o in ALL_METHODS if getattr(config, o) != getattr(first, o)}
    assert differing == changes


def test_nothing_else_differs_between_the_trainings_of_a_seed():
    kept = [
        {name: value for name, value in vars(config_of(task)).items() if name not in ALL_METHODS}
        for task in tasks_of(Options(seeds=1))
    ]
    assert all(one == kept[0] for one in kept)


def test_seeds_are_all_that_differs_between_the_trainings_of_a_method():
    tasks = tasks_of(Options(seeds=3))
    configs = [vars(config_of(task)) for task in tasks if task.method == METHODS[0].name]
    assert [config.pop("seed") for config in configs] == [1, 2, 3]
    assert configs[0] == configs[1] == configs[2]
    assert len({task.folder(Options().out) for task in tasks}) == 3 * len(METHODS)


def test_a_number_of_the_table_is_the_mean_of_what_the_runs_stored(study):
    results, out = study
    rows = {row["name"]: row for row in results["rows"]}
    assert list(rows) == ["real data", *(method.name for method in METHODS)]
    for method in METHODS:
        values = []
        for seed in (1, 2):
            lines = (Task(method.name, seed).folder(out) / "stats.jsonl").read_text().splitlines()
            (stored,) = [line for line in map(json.loads, lines) if "evaluation" in line]
            assert (stored["kimg"], stored["evaluation"]["generated"]) == (0.16, 30)
            values.append(stored[NAME])
        score = rows[method.name]["is"]
        assert score == {"mean": fmean(values), "deviation": stdev(values), "values": values}
    score = rows["−labels"]["is"]
    cells = row_of((out / "ablation.md").read_text(), "−labels")
    assert cells[0] == f"{score['mean']:.2f} ± {score['deviation']:.2f}" and cells[-1] == "4.36"


def row_of(text, name):
    """The cells of a row of the table, but for its name."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    (cells,) = [cells for first, *cells in lines if first == name and len(cells) == 5]
    return cells


def test_real_data_are_measured_as_samples_are(study):
    results, _ = study
    real = results["rows"][0]
    assert real["paper"] == 11.24 and real["flags"] == []
    for seed, value in enumerate(real["is"]["values"], 1):
        images = load_images("digits", 16)
        others = chosen(images, 30, seed, besides=chosen_indices(images, 30, 0))
        logits = choose_features(images, "", torch.device("cpu")).compute(torch.cat(list(others.batches())))[1]
        assert value == pytest.approx(inception_score(logits, seed=0).mean)


@pytest.mark.parametrize(
    ("data", "size", "count", "apart"),
    [("digits", 0, 30, True), ("digits", 0, 1000, False), ("glyphs", 40, 30, True)],  # there are 1797 digits
)
def test_real_data_are_at_a_distance_only_from_other_images(data, size, count, apart):
    images = load_images(data, 16, size=size or None)
    config = DcganConfig(data=data, data_size=size, resolution=16, metrics_images=count, seed=1)
    samples, are_others = real_samples(config, images)
    assert are_others == apart and samples.count == count
    reference = {image.numpy().tobytes() for batch in chosen(images, count, 0).batches() for image in batch}
    mine = {image.numpy().tobytes() for batch in samples.batches() for image in batch}
    assert reference.isdisjoint(mine) == apart


def test_real_data_that_are_too_few_for_others_have_no_distance(study, tmp_path, monkeypatch, capsys):
    _, out = study
    shutil.copytree(out, tmp_path / "few")
    keep_results(tmp_path / "few", lambda line: line["method"] != "real data")
    images = load_images("digits", 16)
    monkeypatch.setattr(ablation_runs, "real_samples", lambda config, _: (chosen(images, 30, config.seed), False))
    assert ablate(tmp_path / "few") == 0
    assert row_of(capsys.readouterr().out, "real data")[2:] == ["2", "–", "11.24"]


def keep_results(out, wanted):
    """Drops the other results of a study."""
    path = out / "results.jsonl"
    lines = [line for line in path.read_text().splitlines() if wanted(json.loads(line))]
    path.write_text("".join(f"{line}\n" for line in lines))


def test_the_page_says_of_how_many_images_a_score_is(study):
    _, out = study
    text = " ".join((out / "ablation.md").read_text().split())
    assert "of 30 samples of" in text and "from 30 real images" in text


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
    monkeypatch.setattr(trainings.subprocess, "Popen", None)
    assert ablate(out, "--json") == 0
    assert json.loads(capsys.readouterr().out) == results


def test_more_seeds_leave_what_there_is(study, tmp_path, monkeypatch, capsys):
    results, out = study
    shutil.copytree(out, tmp_path / "more")
    monkeypatch.setattr(ablation, "METHODS", METHODS[:1])
    assert ablate(tmp_path / "more", "--json", seeds=3) == 0
    more = json.loads(capsys.readouterr().out)
    for before, after in zip(results["rows"][:2], more["rows"], strict=True):
        assert after["is"]["values"][:2] == before["is"]["values"] and len(after["is"]["values"]) == 3


def test_a_folder_is_for_one_study(study, capsys):
    _, out = study
    assert ablate(out, kimg=0.08) == 2
    assert "holds results with kimg=0.16, not kimg=0.08" in capsys.readouterr().err
    assert ablate(out, given=("--lr", "0.001")) == 2
    assert "holds results with options=" in capsys.readouterr().err


def test_the_page_goes_where_it_is_wanted(study, tmp_path, capsys):
    _, out = study
    assert ablate(out, "--page", str(tmp_path / "docs" / "table.md")) == 0
    page = (tmp_path / "docs" / "table.md").read_text()
    assert capsys.readouterr().out.strip() in page
    assert f"python -m train.studies.ablation --seeds 2 --kimg 0.16 --images 30 -- {' '.join(GIVEN)}\n" in page
    assert "](table.png)" in page and (tmp_path / "docs" / "table.png").exists()


def test_trainings_stopped_by_a_signal_go_on_and_give_the_same_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ablation, "METHODS", METHODS[:1])
    whole, stopped, longer = tmp_path / "whole", tmp_path / "stopped", {"kimg": 1.2, "seeds": 1}
    folder = stopped / "all-methods-1"

    def interrupt():
        while not checkpoints(folder):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    assert ablate(stopped, **longer) == 128 + signal.SIGTERM
    thread.join()
    assert "the same command continues" in capsys.readouterr().err
    assert "stopped by SIGTERM" in (folder / "log.txt").read_text()

    monkeypatch.setattr(trainings.subprocess, "Popen", Inside)
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
    keep_results(tmp_path / "killed", lambda line: (line["method"], line["seed"]) != ("−labels", 2))
    assert ablate(tmp_path / "killed", "--json") == 0
    assert numbers(json.loads(capsys.readouterr().out)) == numbers(results)


def failing(folder, code, says):
    """A process that ends at once where it is to train in ``folder``."""

    class Failing(Inside):
        def __init__(self, words, stderr, **kwargs):
            if any(word.endswith(f"/{folder}") for word in words):
                stderr.write(f"a warning\n{says}\n".encode())
                self.returncode = code
            else:
                super().__init__(words, stderr, **kwargs)

    return Failing


def test_a_training_that_fails_stops_no_other_and_is_reported_at_the_end(study, tmp_path, monkeypatch, capsys):
    results, out = study
    shutil.copytree(out, tmp_path / "part")
    shutil.rmtree(tmp_path / "part" / "all-methods-1")
    shutil.rmtree(tmp_path / "part" / "labels-2")
    monkeypatch.setattr(trainings.subprocess, "Popen", failing("all-methods-1", 1, "error: no memory"))
    assert ablate(tmp_path / "part", "--json") == 1
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].startswith("error: 1 training failed")
    assert said.err.splitlines()[-1].endswith("all methods, seed 1: no memory")
    part = {row["name"]: row["is"]["values"] for row in json.loads(said.out)["rows"]}
    whole = {row["name"]: row["is"]["values"] for row in results["rows"]}
    assert part == {**whole, "all methods": whole["all methods"][1:]}
    page = (tmp_path / "part" / "ablation.md").read_text()
    value = whole["all methods"][1]
    assert row_of(page, "all methods")[:3] == [f"{value:.2f}", f"–, {value:.2f}", "1"] and "the training failed" in page


def test_where_all_trainings_fail_there_is_no_table(tmp_path, inside, capsys):
    assert ablate(tmp_path, given=("--data", "nowhere"), seeds=1) == 1
    said = capsys.readouterr()
    assert "6 trainings failed" in said.err and "all methods, seed 1: data 'nowhere' is neither" in said.err
    assert not said.out and not (tmp_path / "ablation.md").exists()


def test_what_a_training_says_is_the_reason_only_if_it_failed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ablation, "METHODS", METHODS[:1])
    monkeypatch.setattr(trainings.subprocess, "Popen", failing("all-methods-1", 0, "another warning"))
    assert ablate(tmp_path, seeds=1) == 1
    err = capsys.readouterr().err
    assert "all methods, seed 1: it ended without an evaluation" in err and "warning" not in err


def test_an_evaluation_that_failed_is_made_up_for_by_the_same_command(tmp_path, inside, monkeypatch, capsys):
    monkeypatch.setattr(ablation, "METHODS", METHODS[:1])

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("train.measure.evaluator.Evaluator.measure", full)
        assert ablate(tmp_path, seeds=1) == 1
    assert "No space left on device" in capsys.readouterr().err
    folder = tmp_path / "all-methods-1"
    assert checkpoints(folder)[-1].name == "checkpoint_000000160.pt" and measured(folder) is None
    assert ablate(tmp_path, seeds=1) == 0
    assert measured(folder).generated == 30


def test_a_training_that_ended_while_nobody_looked_is_not_trained_again(study, tmp_path, monkeypatch, capsys):
    results, out = study
    shutil.copytree(out, tmp_path / "alone")
    keep_results(tmp_path / "alone", lambda line: line["seed"] != 2)
    monkeypatch.setattr(trainings.subprocess, "Popen", None)
    assert ablate(tmp_path / "alone", "--json") == 0
    assert numbers(json.loads(capsys.readouterr().out)) == numbers(results)


def with_result(out, method, seed, **changes):
    """Changes a stored result."""
    path = out / "results.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    changed = [{**line, **changes} if (line["method"], line["seed"]) == (method, seed) else line for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in changed))


def test_a_score_that_is_not_finite_is_a_dash_and_in_no_mean(study, tmp_path, capsys):
    results, out = study
    shutil.copytree(out, tmp_path / "null")
    with_result(tmp_path / "null", "−VBN +BN", 1, score=None)
    assert ablate(tmp_path / "null") == 0
    value = next(row for row in results["rows"] if row["name"] == "−VBN +BN")["is"]["values"][1]
    table = capsys.readouterr().out
    assert row_of(table, "−VBN +BN")[:3] == [f"{value:.2f}", f"–, {value:.2f}", "1"] and "–: not finite" in table


def test_scores_of_different_features_are_not_put_into_one_table(study, tmp_path, capsys):
    _, out = study
    shutil.copytree(out, tmp_path / "mixed")
    with_result(tmp_path / "mixed", "−labels", 2, weights="0123456789ab")
    assert ablate(tmp_path / "mixed") == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if "different features" in line]
    assert f"all methods, seed 1: {NAME}" in error and f"−labels, seed 2: {NAME} (weights 0123456789ab)" in error


def test_options_that_came_to_nothing_do_not_keep_the_folder(tmp_path, inside, monkeypatch, capsys):
    monkeypatch.setattr(ablation, "METHODS", METHODS[:1])
    assert ablate(tmp_path, seeds=1, given=("--resolution", "20")) == 2
    assert "resolution=20 is not one of 16, 32, 64, 128" in capsys.readouterr().err
    assert ablate(tmp_path, seeds=1, given=("--data", "nowhere")) == 1
    assert ablate(tmp_path, seeds=1) == 0
    assert ablate(tmp_path, seeds=1, given=("--data", "nowhere")) == 2


def test_what_is_no_run_is_not_removed_from_an_ablation_s_folder(study, tmp_path, monkeypatch, capsys):
    _, out = study
    shutil.copytree(out, tmp_path / "mine")
    folder = tmp_path / "mine" / "labels-3"
    folder.mkdir()
    (folder / "precious.txt").write_text("mine")
    monkeypatch.setattr(ablation, "METHODS", METHODS[4:5])
    assert ablate(tmp_path / "mine", seeds=3) == 1
    assert "−labels, seed 3: --out" in capsys.readouterr().err and (folder / "precious.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "option",
    [
        "--kimg=1",
        "--seed",
        "--out",
        "--resume",
        "--dry-run",
        "--metrics",
        "--metrics-every",
        "--metrics_images",
        "--image-kimg",
        "--grid",
        "--g-norm",
        "--minibatch-discrimination",
        "--loss",
        "--condition",
        "--historical-averaging",
    ],
)
def test_an_option_that_the_ablation_sets_is_refused(tmp_path, capsys, option):
    assert ablate(tmp_path / "out", given=(option, "1")) == 2
    name = option.split("=")[0].replace("_", "-").replace("--no-", "--")
    assert f"{name} cannot be given to the trainings" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["table.html", "table", "folder.md"])
def test_a_page_that_could_not_be_written_is_refused_before_anything_is_trained(tmp_path, capsys, name):
    (tmp_path / "folder.md").mkdir()
    assert ablate(tmp_path / "out", "--page", str(tmp_path / name)) == 2
    assert f"page={tmp_path / name}" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_the_table_is_printed_even_where_the_page_cannot_be_written(study, tmp_path, capsys):
    _, out = study
    (tmp_path / "file").write_text("")
    assert ablate(out, "--page", str(tmp_path / "file" / "table.md")) == 2  # another path mends it
    assert len(row_of(capsys.readouterr().out, "all methods")) == 5


@pytest.mark.parametrize(("device", "jobs"), [("cpu", len(os.sched_getaffinity(0))), ("cuda", 1)])
def test_so_many_trainings_at_once_as_the_device_has_room_for(tmp_path, monkeypatch, device, jobs):
    seen = []
    monkeypatch.setattr(ablation, "check_given", lambda *_: torch.device(device))
    monkeypatch.setattr(ablation, "train_all", lambda trainings, jobs, lock: iter(seen.append(jobs) or ()))
    assert ablate(tmp_path) == 0
    assert seen == [jobs]


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--seeds", "0", "seeds=0"),
        ("--images", "0", "images=0"),
        ("--jobs", "-1", "jobs=-1"),
        ("--kimg", "0", "kimg=0"),
        ("--kimg", "inf", "kimg=inf"),
        ("--kimg", "nan", "kimg=nan"),
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
