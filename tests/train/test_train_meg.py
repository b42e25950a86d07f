"""``python -m train.meg``: the estimate of information, and samples that a Markov chain refines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from models.maximum_entropy import LatentLangevin
from train import export, generate, meg, report
from train.base.errors import run_program
from train.data import ImageSet, to_float
from train.engine.trainer import Trainer
from train.export import load_safetensors
from train.measure.pictures import latents
from train.run.restoring import build_networks, find_checkpoint

from .runs import TINY_MEG, batch_of, error_of, flags, steps


@pytest.fixture
def images(tiny_images: ImageSet) -> ImageSet:
    """16×16."""
    return ImageSet.from_images(tiny_images.level(8).repeat_interleave(2, 2).repeat_interleave(2, 3), name="noise")


def trainer(images: ImageSet, **options: Any) -> Trainer:
    return meg.build_trainer(meg.MegConfig(**{**TINY_MEG, **options}), {"images": images}, torch.device("cpu"))[0]


@pytest.fixture
def run(shared: Path) -> Path:
    """A finished run on glyphs."""
    folder = shared / "run"
    if not folder.exists():
        assert run_program(lambda: meg.main(flags({**TINY_MEG, "out": folder}))) == 0
    return folder


@pytest.fixture
def few_steps(monkeypatch) -> None:
    """Chains of three steps."""
    monkeypatch.setattr(LatentLangevin.__init__, "__kwdefaults__", {"steps": 3, "rate": 0.01, "temperature": 1.0})


def test_latents_of_no_sample_are_a_column_of_their_own(images) -> None:
    batch = batch_of(trainer(images))
    assert batch["D/real"].shape == (8, 3, 16, 16) and batch["D/z"].shape == (8, 6)
    assert batch["G/z"].shape == batch["G/other"].shape == (4, 6)
    assert not torch.equal(batch["G/z"], batch["G/other"])


def test_information_is_estimated_by_a_third_network_that_moves_with_g(images) -> None:
    made = trainer(images, d_steps=1)
    before = made.game.networks["T"].out.weight.clone()
    told = steps(made, 1).measurements()
    assert not torch.equal(made.game.networks["T"].out.weight, before)
    assert told["g_loss"] == pytest.approx(-told["fake_score"] - told["information"], abs=0.1)
    assert told["information"] < 0


def test_t_learns_which_latents_belong_to_samples(images) -> None:
    """Of a generator that stands still."""
    made = trainer(images, lr="0.01", batch="16", d_steps=1, t_hidden=32)
    g = made.game.networks["G"]
    for parameter in g.parameters():
        parameter.data.mul_(3)
    start = {name: p.detach().clone() for name, p in g.named_parameters()}
    informations = []
    for _ in range(60):
        told = steps(made, 1).measurements()
        informations.append(told["information"])
        for name, parameter in g.named_parameters():
            parameter.data.copy_(start[name])
    assert sum(informations[-5:]) / 5 > sum(informations[:5]) / 5 + 0.3


def test_a_weight_below_0_is_refused(capsys) -> None:
    assert "entropy_weight=-1.0" in error_of(meg.main, ["--entropy-weight", "-1", "--dry-run"], capsys)


# --- refined samples


@pytest.mark.usefixtures("few_steps")
def test_samples_are_refined_by_the_averaged_networks(run, tmp_path) -> None:
    plain, refined = tmp_path / "plain.png", tmp_path / "refined.png"
    assert generate.main([str(run), "--grid", "2x3", "--out", str(plain)]) == 0
    assert generate.main([str(run), "--grid", "2x3", "--view", "refine", "--out", str(refined)]) == 0
    networks = build_networks(*find_checkpoint(run), torch.device("cpu"))
    chain = LatentLangevin(networks["G"], networks["D"])
    assert chain.steps == 3
    expected = chain(latents(6, chain.latent_dim, 0))
    picture = torch.from_numpy(np.array(Image.open(refined)))
    tiles = picture.unflatten(0, (2, 16)).unflatten(2, (3, 16)).permute(0, 2, 4, 1, 3).flatten(0, 1)
    assert (to_float(tiles) - expected).abs().max() < 0.02
    assert not np.array_equal(np.array(Image.open(plain)), np.array(Image.open(refined)))


@pytest.mark.usefixtures("few_steps")
def test_a_chain_is_kept_as_weights_and_not_as_a_graph(run, tmp_path, capsys) -> None:
    out = tmp_path / "refine.safetensors"
    for form in ("onnx", "torch-export"):
        args = [str(run), "--view", "refine", "--format", form, "--out", str(tmp_path / "x")]
        assert f"takes gradients, which --format {form} cannot hold" in error_of(export.main, args, capsys)
    assert export.main([str(run), "--view", "refine", "--format", "safetensors", "--out", str(out)]) == 0
    chain = load_safetensors(out)
    assert isinstance(chain, LatentLangevin)
    networks = build_networks(*find_checkpoint(run), torch.device("cpu"))
    z = latents(2, chain.latent_dim, 1)
    torch.testing.assert_close(chain(z), LatentLangevin(networks["G"], networks["D"])(z))


@pytest.mark.usefixtures("shared_cache", "few_steps")
def test_samples_and_refined_ones_are_measured(run, measured, monkeypatch) -> None:
    monkeypatch.setattr("train.data.load.GLYPHS", 40)
    options = ("--metrics", "swd", "--images", "20")
    plain, refined = measured(str(run), *options), measured(str(run), *options, "--view", "refine")
    assert plain["generated"] == refined["generated"] == 20
    assert 0 < plain["metrics"]["swd"] != refined["metrics"]["swd"] > 0


def test_a_system_without_views_of_images_takes_none(run, tmp_path, capsys) -> None:
    (tmp_path / "pictures").mkdir()
    for view in ([], ["--view", "refine"]):
        args = [str(run), "--input", str(tmp_path / "pictures"), *view]
        assert "makes images of latents alone: it takes no images" in error_of(generate.main, args, capsys)
    assert "train.meg has no view 'x': there are refine" in error_of(generate.main, [str(run), "--view", "x"], capsys)


def test_runs_are_reported(run, tmp_path) -> None:
    assert report.main([str(run), "--out", str(tmp_path / "report.html")]) == 0
    assert "Estimate of the information about latents" in (tmp_path / "report.html").read_text()
