"""The study of networks: which trainings it has, that each lasts as long as it should, and that its page says what they
measured."""

from __future__ import annotations

import importlib
import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from train.base.errors import TrainingError, UsageError, run_program
from train.measure import classifier
from train.run.options import parse_command_line
from train.run.record import read_run
from train.studies import mode_collapse, network_grid, networks, networks_page, timed, trainings
from train.studies.network_rows import ABLATION, COMMON, GAMMA, GRID, NETWORKS, Row
from train.studies.network_scores import Measured, Trained, measured_of, parameters
from train.studies.networks import Options, task_of
from train.studies.processes import Stopped
from train.studies.study import flags
from train.studies.timed import seconds_per_kimg, training_times
from train.studies.trainings import Course, Planned, Result, follow

from .inside import INSIDE, Inside

pytestmark = pytest.mark.usefixtures("one_thread")  # as the trainings have in processes of their own

TINY = "--data digits --resolution 16 --batch 8 --latent 4 --device cpu --precision float32"
TINY += " --no-tensorboard --grid 1x2 --image-kimg 0 --keep 1"
SIZES = {"g_width": 2, "d_width": 2}
ROWS = (
    Row("DCGAN", "dcgan", SIZES, seeds=2),
    Row("Other", "dcgan", {**SIZES, "loss": "hinge"}),
    Row("DCGAN, projection", "dcgan", {**SIZES, "condition": "projection"}, labels=True),
)


def known_speed(planned: Planned) -> Course[float]:
    """A minute is 0.064 kimg, without any trial."""
    yield from ()
    return 60 / 0.064


def result(course: Course[Result], run: Callable[[Planned], None]) -> Result:
    """Of a course whose trainings ``run`` makes."""
    while True:
        try:
            run(next(course))
        except StopIteration as end:
            return end.value


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a study of three short rows works; a training of a minute is one of 0.064 kimg."""
    for module in (networks, networks_page):
        monkeypatch.setattr(module, "NETWORKS", ROWS)
        monkeypatch.setattr(module, "ABLATION", (ROWS[1], Row("without R2", "dcgan", {**SIZES, "loss": "lsgan"})))
    monkeypatch.setattr(networks, "COMMON", tuple(TINY.split()))
    monkeypatch.setattr(timed, "seconds_per_kimg", known_speed)
    monkeypatch.setattr(trainings, "subprocess", INSIDE)
    monkeypatch.setattr(classifier, "STEPS", 40)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "networks-cache"))
    monkeypatch.delenv("GAN_OPS_INCEPTION", raising=False)
    Inside.started = []
    return tmp_path / "study"


def study(out: Path, *words: str) -> int:
    short = ["--images", "200", "--minutes", "1", "--points", "2", "--steps", "3", "--jobs", "1"]
    return run_program(lambda: networks.main(["--out", str(out), *short, *words]))


def test_rows_are_trained_measured_and_shown(out: Path) -> None:
    assert study(out) == 0
    assert len(Inside.started) == 5  # four rows, the first twice
    text, numbers = (out / "networks.md").read_text(), json.loads((out / "networks.json").read_text())
    for heading in ("Without labels", "With labels", "R3GAN without its parts", "The grid of 25 Gaussians"):
        assert f"## {heading}" in text
    cells = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert cells.count("Other") == 2 and {"DCGAN", "DCGAN, projection", "without R2"} <= set(cells)
    assert all((out / f"networks-{part}.png").exists() for part in ("samples", "curves", "grid"))
    labelled = [one for one in numbers["trainings"] if one["row"] == "DCGAN, projection"]
    assert [one["accuracy"] is None for one in labelled] == [False]
    assert all(one["accuracy"] is None for one in numbers["trainings"] if one not in labelled)
    for one in numbers["trainings"]:
        assert one["kimg"] == pytest.approx(0.064) and len(one["curve"]) == 2
        assert one["curve"][-1][1] == pytest.approx(one["fid"])
        assert one["curve"][-1][0] == pytest.approx(one["seconds"] / 60)
    assert "python -m train.studies.networks --minutes 1 --jobs 1 --images 200 --points 2 --steps 3" in text


def test_the_same_command_continues(out: Path) -> None:
    assert study(out, "--only", "Other") == 0
    assert study(out, "--only", "Other; DCGAN") == 0
    assert len(Inside.started) == 3
    before = (out / "networks.md").read_bytes()
    assert b"--steps 3 --only 'Other; DCGAN'\n" in before
    assert study(out, "--only", "Other; DCGAN") == 0
    assert len(Inside.started) == 3 and (out / "networks.md").read_bytes() == before


def test_a_training_that_was_stopped_is_resumed_to_the_length_that_it_had(out: Path, monkeypatch) -> None:
    task, row = task_of(ROWS[1], 1, Options(minutes=1.0)), ROWS[1]
    words = [*TINY.split(), *flags(row.options), "--seed", "1", "--kimg", "0.032", "--out", str(task.folder(out))]
    assert importlib.import_module("train.dcgan").main([*words, "--checkpoint-kimg", "0.016"]) == 0
    monkeypatch.setattr(timed, "seconds_per_kimg", lambda planned: pytest.fail("it has begun already"))
    with open(out.with_suffix(".lock"), "wb") as lock:
        ((_, error),) = follow([networks.train(task, row, Options(out=out, minutes=1.0))], 1, lock)
    assert isinstance(error, UsageError) and "has no evaluation" in str(error)
    assert Inside.started == [["--resume", str(task.folder(out))]]


def test_other_lengths_are_other_trainings(out: Path) -> None:
    assert study(out, "--only", "Other") == 0
    assert study(out, "--only", "Other", "--minutes", "0.5") == 0
    kimg = [words[words.index("--kimg") + 1] for words in Inside.started]
    assert kimg == ["0.064", "0.032"]


def test_what_fails_is_said_and_the_rest_is_trained(out: Path, monkeypatch, capsys) -> None:
    bad = Row("Bad", "dcgan", {**SIZES, "loss": "unknown"})
    monkeypatch.setattr(networks, "NETWORKS", (bad, *ROWS[:1]))
    assert study(out, "--only", "Bad; DCGAN") != 0
    said = capsys.readouterr().err
    assert "Bad, seed 1: failed: loss='unknown': 'unknown' is not one of" in said and (out / "networks.md").exists()
    assert len([line for line in (out / "results.jsonl").open()]) == 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--only", "DCGANs"], "only: 'DCGANs' is not one of "),
        (["--minutes", "0"], "minutes=0 is not a positive number"),
        (["--page", "page.html"], "page=page.html is not a Markdown file's name"),
    ],
)
def test_what_makes_no_sense_is_refused(out: Path, words: list[str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        networks.main(["--out", str(out), *words])


# ---- equal time


def test_times_are_those_of_training_alone() -> None:
    ticks = [{"kimg": 1.0, "seconds_per_kimg": 3.0}, {"kimg": 3.0, "seconds_per_kimg": 2.0}]
    assert training_times(ticks) == [(1.0, 3.0), (3.0, 7.0)]


def test_speed_is_tried_out_until_it_has_lasted_long_enough(tmp_path: Path) -> None:
    """2 seconds a kimg after 1 second of preparations; what is left are no files."""
    tried: list[float] = []

    def run(planned: Planned) -> None:
        words = dict(zip(planned.words[::2], planned.words[1::2], strict=True))
        kimg = float(words["--kimg"])
        tried.append(kimg)
        folder = Path(words["--out"])
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        about = {"seconds": 0.0, "images_per_second": 1.0, "skipped": 0}
        lines = [
            {"kimg": kimg / 8 * (i + 1), "seconds_per_kimg": 2.0 + (8 / kimg if i == 0 else 0), **about}
            for i in range(8)
        ]
        (folder / "stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    planned = Planned("dcgan", tmp_path / "run", ["--data", "glyphs"])
    assert result(seconds_per_kimg(planned), run) == pytest.approx(2.0)
    assert tried[0] == timed.FIRST and 2 * tried[-1] + 1 >= timed.TRIAL > 2 * tried[-2] + 1
    assert list(tmp_path.iterdir()) == []


def test_a_trial_that_fails_is_an_error(out: Path, monkeypatch) -> None:
    monkeypatch.setattr(timed, "seconds_per_kimg", seconds_per_kimg)
    out.mkdir()
    course = timed.train_for(1.0, Planned("dcgan", out / "run", [*TINY.split(), "--batch", "0"]))
    with open(out / "lock", "wb") as lock:
        ((index, error),) = follow([course], 1, lock)
    assert index == 0 and isinstance(error, TrainingError) and "batch" in str(error)


class Endless:
    """A process that ends when it is told to."""

    started: ClassVar[list[Endless]] = []

    def __init__(self, words: Sequence[str], **_: object) -> None:
        self.words, self.returncode = words, None
        Endless.started.append(self)
        if len(Endless.started) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    def poll(self) -> int | None:
        return self.returncode

    def terminate(self) -> None:
        self.returncode = 143

    def wait(self) -> int:
        assert self.returncode is not None
        return self.returncode


def test_a_signal_ends_all_trainings_in_good_order(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(trainings, "subprocess", SimpleNamespace(Popen=Endless, DEVNULL=None))
    monkeypatch.setattr(Endless, "started", [])
    courses = [trainings.scored(Planned(f"system{i}", tmp_path / str(i), [])) for i in range(3)]
    with open(tmp_path / "lock", "wb") as lock, pytest.raises(Stopped):
        next(follow(courses, 2, lock))
    assert [one.words[2] for one in Endless.started] == ["train.system0", "train.system1"]
    assert [one.returncode for one in Endless.started] == [143, 143]


# ---- what is shown


def test_parameters_are_those_that_are_learnt(out: Path) -> None:
    assert study(out, "--only", "Other") == 0
    (folder,) = (path for path in out.glob("other-1-*") if path.is_dir())
    from train.dcgan import Discriminator, Generator

    g = Generator(16, latent_dim=4, width=2, image_channels=1, kernel_size=4)
    d = Discriminator(16, width=2, image_channels=1, kernel_size=4)
    counts = {name: sum(p.numel() for p in network.parameters()) for name, network in (("G", g), ("D", d))}
    assert parameters(folder) == counts
    assert measured_of(read_run(folder), folder).g == counts["G"]


def test_parameters_are_counted_where_gradients_are_not_averaged(out: Path) -> None:
    """R3GAN's Adam has beta1 = 0 and keeps mean squares only."""
    words = [*TINY.split(), "--width", "8", "--kimg", "0.016", "--checkpoint-kimg", "0.016", "--out", str(out)]
    assert importlib.import_module("train.r3gan").main(words) == 0
    from train.r3gan import Discriminator, Generator

    shared = {"widths": [8, 8, 8], "blocks": 1, "image_channels": 1}
    made = {"G": Generator(latent_dim=4, **shared), "D": Discriminator(**shared)}
    counts = {name: sum(p.numel() for p in network.parameters()) for name, network in made.items()}
    assert parameters(out) == counts


def trained(name: str, fid: float | None, seed: int = 1, labels: bool = False) -> Trained:
    found = Measured(fid, 2.0, 0.5, 0.25, None, None, 100.0, 480.0, 1000, 2000, "label", "classifier", "w", 30, 40)
    return Trained(Row(name, "dcgan", labels=labels), seed, found, [(1.0, 9.0)], Path())


def test_tables_have_the_best_first_and_what_is_not_finite_last() -> None:
    some = [trained("A", None), trained("B", 3.0), trained("C", 1.0), trained("C", 2.0, seed=2)]
    lines = networks_page.scores_table(some).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["C", "B", "A"]
    assert "1.50 ± 0.71" in lines[2] and "4.80" in lines[2] and "`fid[label]`" in lines[0] and "intra" not in lines[0]


def test_those_that_beat_each_dcgan_are_named() -> None:
    some = [trained("DCGAN", 3.0), trained("DCGAN, projection", 1.5), trained("R3GAN", 1.0), trained("BigGAN", 2.0)]
    assert networks_page.better_than_baseline(some).splitlines() == [
        "- A lower `fid` than DCGAN, projection (1.50): R3GAN.",
        "- A lower `fid` than DCGAN (3.00): R3GAN, BigGAN.",
    ]


# ---- rows


@pytest.mark.parametrize("row", [*NETWORKS, *ABLATION], ids=lambda row: row.name)
def test_every_row_is_accepted_by_its_program(row: Row) -> None:
    system = importlib.import_module(f"train.{row.system}").SYSTEM
    config, _ = parse_command_line(
        system.presets, [*COMMON, *flags(row.options)], prog=system.program, description=system.about
    )
    config.schedule()
    assert config.preset == "glyphs"
    assert (config.condition != "none") == row.labels


def test_names_of_rows_and_folders_are_different() -> None:
    rows = {row.name: row for row in (*NETWORKS, *ABLATION)}
    assert len(rows) == len(NETWORKS) + len(ABLATION) - 1  # R3GAN is in both
    assert len({task_of(row, 1, Options()).folder(Path()) for row in rows.values()}) == len(rows)


def test_the_ablation_takes_apart_the_presets_loss() -> None:
    preset = importlib.import_module("train.r3gan").PRESETS["glyphs"]
    assert preset.objective().gamma == GAMMA and [row.name for row in ABLATION] == list(GRID)


def test_the_grid_has_data_and_lengths_of_the_study_of_mode_collapse(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(mode_collapse.STEPS, "grid", 2)
    monkeypatch.setattr(network_grid, "SEEDS", range(1))
    code, found = network_grid.study(tmp_path / "grid", ["without R2"], 0, 1)
    assert code == 0 and [(task.row, task.steps, task.seed) for task in found] == [("without R2", 2, 0)]
