"""The study of all objectives: which trainings it has, that it continues, and that its page says what they measured."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from train.base.errors import UsageError, run_program
from train.gan.losses import LOSSES
from train.measure import classifier
from train.run.options import parse_command_line
from train.studies import objectives, trainings
from train.studies.objective_rows import COMMON, ROWS, Row
from train.studies.objectives import Options, Task, ranked, summary, task_of
from train.studies.study import flags
from train.studies.trainings import Scores

from .inside import Inside

pytestmark = pytest.mark.usefixtures("one_thread")  # as the trainings have in processes of their own

TINY = "--data digits --resolution 16 --g-width 2 --d-width 2 --batch 8 --latent 4 --device cpu --precision float32"
TINY += " --no-tensorboard --grid 1x2 --image-kimg 0 --g-norm pixel"


def started() -> list[str]:
    """The losses of the trainings."""
    return [words[words.index("--loss") + 1] if "--loss" in words else "resumed" for words in Inside.started]


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short rows; where the study works."""
    some = tuple(Row(loss, {"loss": loss}, 0.016, "tiny") for loss in ("hinge", "lsgan", "qp"))
    monkeypatch.setattr(objectives, "ROWS", some)
    monkeypatch.setattr(objectives, "COMMON", tuple(TINY.split()))
    monkeypatch.setattr(trainings.subprocess, "Popen", Inside)
    monkeypatch.setattr(classifier, "STEPS", 40)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "objectives-cache"))
    monkeypatch.delenv("GAN_OPS_INCEPTION", raising=False)
    Inside.started = []
    return tmp_path / "study"


def study(out: Path, *words: str) -> int:
    return run_program(lambda: objectives.main(["--out", str(out), "--images", "30", "--jobs", "1", *words]))


def test_all_train_once_and_the_best_again(rows: Path) -> None:
    assert study(rows, "--best", "2", "--seeds", "2") == 0
    assert started()[:3] == ["hinge", "lsgan", "qp"] and len(Inside.started) == 5
    text = (rows / "objectives.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| ") and "`train.dcgan" in line]
    seeds = [line.split("|")[4].strip() for line in lines]
    assert len(lines) == 3 and sorted(seeds) == ["1", "2", "2"] and seeds.count("1") == 1
    assert "`train.dcgan --loss qp`" in text and "tiny" in text and (rows / "objectives.png").exists()


def test_the_same_command_continues(rows: Path) -> None:
    assert study(rows, "--seeds", "1", "--only", "hinge") == 0
    assert study(rows, "--seeds", "1") == 0
    assert started() == ["hinge", "lsgan", "qp"]
    assert study(rows, "--seeds", "1", "--only", "qp") == 0
    assert started() == ["hinge", "lsgan", "qp"]


def test_other_options_and_lengths_are_other_trainings(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> set[str]:
        return {line.split('"distance": ')[1].split(",")[0] for line in (rows / "results.jsonl").open()}

    assert study(rows, "--seeds", "1", "--only", "hinge") == 0
    assert study(rows, "--seeds", "1", "--only", "hinge", "--share", "1.5") == 0
    monkeypatch.setattr(objectives, "ROWS", (Row("hinge", {"loss": "hinge", "ttur": 2.0}, 0.016, "tiny"),))
    assert study(rows, "--seeds", "1") == 0
    assert started() == ["hinge"] * 3 and len(found()) == 3


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--only", "hinges"], "only: 'hinges' is not one of hinge; lsgan; qp"),
        (["--share", "0"], "share=0 is not a positive number up to 100"),
        (["--page", "page.html"], "page=page.html is not a Markdown file's name"),
    ],
)
def test_what_makes_no_sense_is_refused(rows: Path, words: list[str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        objectives.main(["--out", str(rows), *words])


def scores(distance: float | None) -> Scores:
    return Scores(2.0, distance, "classifier", "classifier", "weights", 30, 40)


def test_the_table_has_the_best_first_and_what_is_not_finite_last() -> None:
    some = {name: Row(name, {"loss": name}) for name in "abc"}
    tasks = {name: task_of(row, 1, Options()) for name, row in some.items()}
    found = {tasks["a"]: scores(None), tasks["b"]: scores(3.0), tasks["c"]: scores(1.0)}
    found[tasks["c"]._replace(seed=2)] = scores(2.0)
    assert [task.row for task in ranked(found)] == ["c", "c", "b", "a"]
    lines = summary(found, some).splitlines()[2:]
    assert [line.split("|")[1].strip() for line in lines] == ["c", "b", "a"]
    assert "1.50 ± 0.71" in lines[0] and "–" in lines[2]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_is_accepted_by_its_program(row: Row) -> None:
    system = importlib.import_module(f"train.{row.system}").SYSTEM
    words = [*COMMON, *flags(row.options), "--kimg", f"{row.kimg:g}"]
    config, _ = parse_command_line(system.presets, words, prog=system.program, description=system.about)
    config.schedule()


def test_every_objective_has_a_row() -> None:
    losses = {str(row.options.get("loss", "")).split("(")[0] for row in ROWS if row.system == "dcgan"}
    assert set(LOSSES) <= losses
    names = [task_of(row, 1, Options()).folder(Path()) for row in ROWS]
    assert len(set(names)) == len(ROWS)


def test_folders_are_named_after_rows_and_seeds() -> None:
    assert Task("f-GAN, KL", "", 1.0, 3).folder(Path("out")).name.startswith("f-gan-kl-3-")
