"""What judges translated glyphs: pictures without polarity, and the page."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from train import cyclegan
from train.base.errors import run_program
from train.data import load_images
from train.studies import translation
from train.studies.translation import KINDS, Judges, distorted, judged, main, without_polarity

from .runs import error_of, flags
from .test_train_cyclegan import TINY

fails = partial(error_of, main)


def glyphs(name: str, count: int = 72) -> Tensor:
    return load_images(name, 32, size=count).level(32)


@pytest.mark.parametrize("name", KINDS.values())
@pytest.mark.parametrize("noisy", [False, True])
def test_polarity_and_colour_are_removed(name, noisy):
    images = glyphs(name)
    images = distorted(images, 0) if noisy else images
    black, light = without_polarity(images)
    inverted, dark = without_polarity(255 - images)
    assert black.shape == (72, 1, 32, 32)
    assert (light == (name == "glyphs-sans")).all() and (dark != light).all()
    # Of inverted colours the ink is where it was, to rounding; where there is noise, the median of an even number of
    # values is the lower one of the two in the middle, which lie apart.
    assert (black.int() - inverted.int()).abs().max() <= (8 if noisy else 2)
    assert (black[:, :, 0] == 255).float().mean() > 0.97  # paper
    assert (black == 0).flatten(1).any(1).all()  # ink


def test_distortions_differ_from_image_to_image_and_stay_the_same():
    images = glyphs("glyphs-serif")
    some = distorted(images, 0)
    assert torch.equal(some, distorted(images, 0)) and not torch.equal(some, distorted(images, 1))
    noise = (some.float() - images.float())[:, :, 0].std((1, 2))  # of the paper's uppermost row
    assert noise.min() < 3 and 20 < noise.max() < 35


class Says(nn.Module):
    """A classifier that finds the same class in each image."""

    def __init__(self, label: int, classes: int) -> None:
        super().__init__()
        self.logits = nn.functional.one_hot(torch.tensor(label), classes).float()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, self.logits.expand(len(x), -1)


def test_what_is_judged():
    images = {kind: load_images(name, 32, size=72) for kind, name in KINDS.items()}
    judges = Judges(Says(3, 36), Says(1, 2), {})
    there = judged(judges, images, "a", "b", lambda x: -x, lambda x: -x)
    assert there == (pytest.approx(1 / 36), 1, 1, 0)
    back = judged(judges, images, "b", "a", lambda x: x, lambda x: x - 0.5)
    assert back == (pytest.approx(1 / 36), 0, 0, pytest.approx(0.25))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "run"
    assert run_program(lambda: cyclegan.main(flags({**TINY, "out": folder}))) == 0
    return folder


def test_the_page_has_the_table_the_commands_and_the_picture(run, tmp_path, monkeypatch):
    described = {name: {"accuracy": 0.5, "held_out": 8} for name in ("letters", "typefaces")}
    monkeypatch.setattr(translation, "trained_judges", lambda resolution: Judges(Says(0, 36), Says(0, 2), described))
    page = tmp_path / "docs" / "page.md"
    assert main([str(run), "--out", str(page), "--images", "36"]) == 0
    text = page.read_text()
    assert text.count("| serif → sans-serif") == text.count("| sans-serif → serif") == 3
    assert f"python -m train.cyclegan --out {run}" in text and "(page.png)" in text
    assert "24, in 6 steps of 4" in text and "patches of 16x16" in text and "50.0% of 8 held-out images" in text
    assert (page.parent / "page.png").stat().st_size > 1000


@pytest.mark.parametrize("seed", ["0", "1"])
def test_images_that_the_run_has_learnt_from_are_refused(run, capsys, seed):
    assert f"seed={seed}: the run has learnt from images of this seed" in fails([str(run), "--seed", seed], capsys)


def test_runs_of_other_lists_are_refused(run, tmp_path, capsys):
    assert (
        run_program(lambda: cyclegan.main(flags({**TINY, "kimg": 0.004, "b": "glyphs", "out": tmp_path / "run"}))) == 0
    )
    assert "translates glyphs-serif to glyphs" in fails([str(tmp_path / "run")], capsys)


def test_a_page_needs_a_pages_name(run, capsys):
    assert "its name must end in .md" in fails([str(run), "--out", "page.txt"], capsys)
