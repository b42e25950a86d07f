"""``python -m train.ebgan``: its losses, MAGAN's pretraining, and what excludes each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from train import ebgan
from train.data import ImageSet
from train.engine.trainer import Trainer

from .runs import TINY_EBGAN, error_of, flags, steps

MAGAN = {"loss": "magan(epoch=2,pretraining=2)", "d_norm": "none", "energy": "sse"}


@pytest.fixture
def images(tiny_images: ImageSet) -> ImageSet:
    """16×16."""
    return ImageSet.from_images(tiny_images.level(8).repeat_interleave(2, 2).repeat_interleave(2, 3), name="noise")


def trainer(images: ImageSet, **options: Any) -> Trainer:
    config = ebgan.EbganConfig(**{**TINY_EBGAN, "kimg": 0.4, **options})
    return ebgan.build_trainer(config, {"images": images}, torch.device("cpu"))[0]


def weights(made: Trainer, name: str) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in made.game.networks[name].parameters()])


def test_magan_pretrains_d_alone_for_its_epochs(images) -> None:
    made = trainer(images, **MAGAN)
    g, d = weights(made, "G"), weights(made, "D")
    steps(made, 2)
    made.measurements()
    steps(made, 2)
    assert torch.equal(weights(made, "G"), g) and not torch.equal(weights(made, "D"), d)
    assert made.game.state.objective.margin.item() == pytest.approx(made.measurements()["real_energy"], rel=1e-5)
    steps(made, 1)
    assert not torch.equal(weights(made, "G"), g)


def test_gs_first_step_after_the_pretraining_is_not_longer_than_others(images) -> None:
    """Its optimizer has forgotten the steps with gradients of 0: Adam's first step is the learning rate."""
    made = steps(trainer(images, lr="0.001", **MAGAN), 4)
    before = weights(made, "G")
    steps(made, 1)
    assert (weights(made, "G") - before).abs().max().item() == pytest.approx(0.001, rel=0.02)


def test_magans_schedule_has_the_pretraining_as_a_phase_of_its_own() -> None:
    schedule = ebgan.EbganConfig(**{**TINY_EBGAN, **MAGAN}).schedule()
    assert [(phase.start, phase.end) for phase in schedule.phases] == [(0, 16), (16, 24)]
    assert [(phase.start, phase.end) for phase in ebgan.EbganConfig(**TINY_EBGAN).schedule().phases] == [(0, 24)]


def test_the_pretraining_is_as_many_steps_however_many_images_a_step_takes(images) -> None:
    made = steps(trainer(images, d_steps=3, **MAGAN), 4)
    assert made.position.phase == 1 and made.game.state.objective.playing
    assert steps(trainer(images, d_steps=3, **MAGAN), 3).position.phase == 0


def test_the_margin_and_the_pulling_away_term_are_logged(tmp_path: Path) -> None:
    for name, options in (("magan", MAGAN), ("ebgan", {}), ("sensitive", {"loss": "loss-sensitive"})):
        assert ebgan.main(flags({**TINY_EBGAN, **options, "out": tmp_path / name})) == 0

    def logged(name: str) -> set[str]:
        return set(json.loads((tmp_path / name / "stats.jsonl").read_text().splitlines()[-1]))

    assert {"margin", "real_energy", "fake_energy"} <= logged("magan")
    assert "pulling_away" in logged("ebgan") and "margin" in logged("sensitive")


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["--loss", "magan(epoch=1000)", "--kimg", "64"], "pretrains D for 64 kimg, and kimg=64 leaves nothing for G"),
        (["--loss", "magan(epoch=0)"], "epoch=0 is not a whole number of at least 1"),
        (["--loss", "ebgan(margin=0)"], "margin=0.0 is not a finite number above 0"),
        (["--loss", "mmd(reconstruction=0)"], "reconstruction must be above 0"),
        (["--loss", "mmd(clip=0.01)"], "clip must be 0"),
        (["--loss", "mmd(weight=1)"], "weight must be 0"),
        (["--penalty", "r1"], "penalty='r1' cannot be combined with d_norm='batch'"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_with_the_reason(args, reason, capsys) -> None:
    assert reason in error_of(ebgan.main, ["--batch", "32", *args, "--dry-run"], capsys)


@pytest.mark.parametrize("norm", ["g_norm", "d_norm"])
def test_a_checkpoints_norms_stay(norm, tmp_path, capsys) -> None:
    run = tmp_path / "run"
    assert ebgan.main(flags({**TINY_EBGAN, "kimg": 0.004, "out": run, norm: "layer"})) == 0
    line = error_of(ebgan.main, flags({"resume": run, "kimg": 0.008, norm: "group"}), capsys)
    assert f"{norm}='group'" in line and "were trained with 'layer'" in line
