"""The study of augmentation: which trainings it has, that it continues, and what its page says."""

from __future__ import annotations

import importlib
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from train.base.errors import UsageError, run_program
from train.measure import classifier
from train.run.options import parse_command_line
from train.studies import augmentation, trainings
from train.studies.augmentation import COMMON, ROWS, Row
from train.studies.augmentation_page import summary
from train.studies.study import flags
from train.studies.trainings import Scores

from .test_train_objectives_study import Inside

pytestmark = pytest.mark.usefixtures("one_thread")  # as the trainings have in processes of their own

TINY = "--data digits --data-size 40 --held-out 20 --resolution 16 --g-width 2 --d-width 2 --batch 8 --latent 4"
TINY += " --device cpu --precision float32 --no-tensorboard --grid 1x2 --image-kimg 0 --log-kimg 0.008"


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short rows; where the study works."""
    some = (Row("plain", "dcgan", {}, 0.032), Row("changed", "dcgan", {"augment": "bgc"}, 0.032, "plain"))
    monkeypatch.setattr(augmentation, "ROWS", some)
    monkeypatch.setattr(augmentation, "COMMON", tuple(TINY.split()))
    # Not subprocess's own: matplotlib asks programs for fonts.
    monkeypatch.setattr(trainings, "subprocess", SimpleNamespace(Popen=Inside, DEVNULL=subprocess.DEVNULL))
    monkeypatch.setattr(classifier, "STEPS", 40)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "augmentation-cache"))
    monkeypatch.delenv("GAN_OPS_INCEPTION", raising=False)
    Inside.started = []
    return tmp_path / "study"


def study(out: Path, *words: str) -> int:
    return run_program(lambda: augmentation.main(["--out", str(out), "--images", "30", "--jobs", "1", *words]))


def test_the_same_command_continues_and_writes_the_page(out: Path) -> None:
    assert study(out, "--only", "plain") == 0
    assert study(out) == 0
    assert len(Inside.started) == 2
    text = (out / "augmentation.md").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("| changed"))
    assert "`train.dcgan --augment bgc`" in line and float(line.split("|")[3]) > 0
    assert all((out / name).exists() for name in ("augmentation.png", "augmentation-samples.png"))
    assert study(out) == 0
    assert len(Inside.started) == 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--only", "DCGAN"], "only: 'DCGAN' is not one of plain; changed"),
        (["--share", "0"], "share=0 is not a positive number up to 100"),
        (["--page", "page.html"], "page=page.html is not a Markdown file's name"),
    ],
)
def test_what_makes_no_sense_is_refused(out: Path, words: list[str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        augmentation.main(["--out", str(out), *words])


def test_the_table_compares_each_row_with_that_without_augmentation() -> None:
    def scores(distance: float | None) -> Scores:
        return Scores(2.0, distance, "classifier", "classifier", "weights", 30, 40)

    found = [("a", 8.0), ("b", 4.0), ("a", 4.0), ("b", 2.0), ("c", None)]
    lines = summary(
        [(name, 1.0, name, scores(distance)) for name, distance in found], {"a": "", "b": "a", "c": "a"}
    ).splitlines()[2:]
    ratios = [line.split("|")[3].strip() for line in lines]
    assert ratios == ["", "0.50", ""] and "6.00 ± 2.83" in lines[0] and "–" in lines[2]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_is_accepted_by_its_program(row: Row) -> None:
    system = importlib.import_module(f"train.{row.system}").SYSTEM
    words = [*COMMON, *flags(row.options), "--kimg", f"{row.kimg:g}"]
    config, _ = parse_command_line(system.presets, words, prog=system.program, description=system.about)
    config.schedule()
    assert row.beside in ("", *(other.name for other in ROWS if not other.beside))
