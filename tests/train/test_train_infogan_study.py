"""The study of InfoGAN: categories are matched with classes, it continues, and its page says what came of it."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from train.base.errors import run_program
from train.measure import classifier
from train.run.options import parse_command_line
from train.studies import infogan, trainings

pytestmark = pytest.mark.usefixtures("one_thread")  # as the trainings have in processes of their own

TINY = "--data glyphs-digits --data-size 40 --condition infogan --categorical 10 --continuous 1 --g-width 2 --d-width 2"
TINY += " --batch 8 --latent 4 --device cpu --precision float32 --no-tensorboard --image-kimg 0 --grid 2x2"


class Inside:
    """Stands in for a process: trains at once, in this one."""

    started: list[str]

    def __init__(self, words: Sequence[str], stderr: Any, **_: Any) -> None:
        program, errors = importlib.import_module(words[2]), io.StringIO()
        Inside.started.append(words[words.index("--seed") + 1] if "--seed" in words else "resumed")
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            self.returncode = run_program(lambda: program.main(list(words[3:])))
        stderr.write(errors.getvalue().encode())

    def poll(self) -> int:
        return self.returncode

    def wait(self) -> None: ...
    def terminate(self) -> None: ...


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the study of tiny trainings works."""
    monkeypatch.setattr(infogan, "COMMON", tuple(TINY.split()))
    monkeypatch.setattr(trainings.subprocess, "Popen", Inside)
    monkeypatch.setattr(classifier, "trained_classifier", _untrained)
    monkeypatch.setattr("train.measure.features.trained_classifier", _untrained)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "infogan-cache"))
    monkeypatch.delenv("GAN_OPS_INCEPTION", raising=False)
    Inside.started = []
    return tmp_path / "study"


def _untrained(images: Any) -> tuple[classifier.Classifier, dict[str, Any]]:
    """A classifier that has learnt nothing: the study asks for a distance, of whatever features."""
    network = classifier._fresh(images, 32).eval()
    return network, {"name": "untrained", "length": classifier.FEATURES, "weights": classifier.weights_digest(network)}


def study(out: Path, *words: str) -> int:
    options = ["--out", str(out), "--images", "30", "--jobs", "1", "--kimg", "0.016"]
    return run_program(lambda: infogan.main([*options, *words]))


def test_it_trains_each_seed_and_continues(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study(out, "--seeds", "1") == 0
    assert study(out, "--seeds", "2") == 0
    assert Inside.started == ["1", "2"]
    text = (out / "infogan.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 1 + 2 + 1 and "fid[untrained]" in rows[0] and rows[-1].startswith("| median")
    assert text.split("| median")[0].count("%") >= 1 and "python -m train.studies.infogan --seeds 2" in text


def test_its_picture_has_a_walk_through_each_code(out: Path) -> None:
    assert study(out, "--seeds", "1") == 0
    assert Image.open(out / "infogan.png").size == (2 * 10 * 32 + 16, 10 * 32)


def test_categories_are_told_as_d_tells_them(out: Path) -> None:
    assert study(out, "--seeds", "1") == 0
    images = infogan.load_images("glyphs-digits", 32, seed=infogan.HELD_OUT_SEED, size=30)
    trainer = infogan.restored(out / "seed-1-0.016", images)
    told = infogan.told_categories(trainer, images)
    logits = trainer.game.networks["D"](images.level(32).float() / 127.5 - 1).logits
    assert torch.equal(told, logits[:, :10].argmax(1))


def test_classes_are_matched_one_to_one() -> None:
    labels = torch.arange(60) % 6
    assert infogan.matching_accuracy((labels * 5 + 2) % 6, labels) == 1  # other names
    assert infogan.matching_accuracy(torch.zeros(60, dtype=torch.int64), labels) == 1 / 6
    told = labels.clone()
    told[:12] = 3  # two of these are right
    assert infogan.matching_accuracy(told, labels) == 50 / 60


def test_the_trainings_options_are_in_order() -> None:
    config, _ = parse_command_line(infogan.SYSTEM.presets, infogan.COMMON, prog="p", description="")
    config.schedule()
    assert config.condition == "infogan" and config.resolution == 32


@pytest.mark.parametrize("kimg", ["0", "-1", "1e30"])
def test_a_length_that_cannot_be_is_refused(out: Path, capsys: pytest.CaptureFixture[str], kimg: str) -> None:
    assert study(out, "--kimg", kimg) == 2
    assert "is not a positive number up to 1000000" in capsys.readouterr().err
