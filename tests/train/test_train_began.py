"""``python -m train.began``: the balance of energies, and what is logged of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from train import began, report
from train.data import ImageSet
from train.engine.trainer import Trainer

from .runs import TINY_BEGAN, flags, steps, watch


@pytest.fixture
def halves() -> ImageSet:
    """Images of which one half is bright."""
    pixels = torch.zeros(40, 3, 16, 16, dtype=torch.uint8)
    pixels[::2, :, :8], pixels[1::2, :, 8:] = 255, 255
    return ImageSet.from_images(pixels, name="halves")


def trainer(images: ImageSet, **options) -> Trainer:
    config = began.BeganConfig(**{**TINY_BEGAN, **options})
    return began.build_trainer(config, {"images": images}, torch.device("cpu"))[0]


def test_k_begins_at_0_and_follows_the_means_of_the_whole_batch(halves) -> None:
    made = trainer(halves, loss="began(gamma=0.7,rate=0.1)", microbatch="2")
    k = 0.0
    for _ in range(4):
        assert made.game.state.objective.k.item() == pytest.approx(k, abs=1e-6)
        steps(made, 1)
        told = made.measurements()
        assert told["k"] == pytest.approx(k, abs=1e-6)
        balance = 0.7 * told["real_energy"] - told["fake_energy"]
        convergence = told["real_energy"] + abs(balance)
        k = min(max(k + 0.1 * balance, 0), 1)
        assert made.game.state.objective.convergence.item() == pytest.approx(convergence, rel=1e-5)
    assert k > 0


def test_energies_are_those_of_ds_images_and_of_gs_step(halves) -> None:
    """G's fakes are judged by the D that has just moved, D's by the one before."""
    made = trainer(halves)
    energies: dict[str, float] = {}

    def look(columns) -> None:
        nets = made.game.networks
        with torch.no_grad():
            energies["G"] = -nets["D"](nets["G"](columns["G/z"])).score.mean().item()

    watch(made, "G", look)
    steps(made, 1)
    assert made.measurements()["fake_energy"] == pytest.approx(energies["G"], rel=1e-4)


def test_an_autoencoder_learns_its_images_and_not_those_of_g(halves) -> None:
    made = steps(trainer(halves, lr="0.003", ttur=1.0), 80)
    made.measurements()
    steps(made, 20)
    told = made.measurements()
    assert told["real_energy"] < 0.2
    assert 0 <= told["k"] <= 1


def test_the_log_and_reports_have_k_and_the_measure_of_convergence(tmp_path: Path) -> None:
    assert began.main(flags({**TINY_BEGAN, "out": tmp_path / "run"})) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "stats.jsonl").read_text().splitlines()]
    assert {"k", "convergence", "real_energy", "fake_energy"} <= lines[-1].keys()
    assert report.main([str(tmp_path / "run"), "--out", str(tmp_path / "report.html")]) == 0
    assert "Measure of convergence" in (tmp_path / "report.html").read_text()
