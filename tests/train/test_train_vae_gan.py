"""``python -m train.vae_gan``: its options, what its networks learn from, and what other programs do with a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from train import export, generate, report, vae_gan
from train.base.errors import run_program
from train.data import ImageSet, to_float, to_uint8
from train.engine.trainer import Trainer
from train.run import checkpoint
from train.run.restoring import build_networks, build_view, find_checkpoint
from train.vae_gan import VaeGanConfig, build_trainer

from .runs import TINY_VAE_GAN, assert_same, batch_of, error_of, flags, newest, steps

CPU = torch.device("cpu")
OPTIONS: list[dict[str, Any]] = [
    {"loss": "minimax"},
    {"loss": "hinge"},
    {"loss": "lsgan(label_smoothing=0.1)"},
    {"gamma": 0.5},
    {"prior_weight": 100.0},
    {"pixel_weight": 1.0},
    {"feature_height": 4},
    {"update": "joint"},
    {"microbatch": "2"},
    {"kernel_size": 5},
    {"beta1": 0.9},
    {"latent": 5},
    {"e_width": 8},
    {"g_width": 8},
    {"d_width": 8},
    {"e_norm": "layer"},
    {"g_norm": "instance"},
    {"d_norm": "spectral"},
    {"e_norm": "none", "g_norm": "none", "d_norm": "none"},
    {"precision": "bf16"},
    {"precision": "fp16"},
]


def names(options: dict[str, Any]) -> str:
    return "+".join(f"{name}={value}" for name, value in options.items())


@pytest.fixture
def images(tiny_images: ImageSet) -> ImageSet:
    """16×16."""
    return ImageSet.from_images(tiny_images.level(8).repeat_interleave(2, 2).repeat_interleave(2, 3), name="noise")


def trainer(images: ImageSet, **options: Any) -> Trainer:
    return build_trainer(VaeGanConfig(**{**TINY_VAE_GAN, **options}), {"images": images}, CPU)[0]


@pytest.mark.parametrize("options", [{}, *OPTIONS], ids=names)
def test_every_option_trains_all_networks_and_resumes_bitwise(images, tmp_path, options) -> None:
    start = trainer(images, **options).state_dict()
    through = steps(trainer(images, **options), 4)
    first = steps(trainer(images, **options), 2)
    checkpoint.save(tmp_path / "c.pt", {"trainer": first.state_dict()})
    torch.randn(5)  # whatever happens in between
    second = trainer(images, **options)
    second.load_state_dict(checkpoint.load(tmp_path / "c.pt")["trainer"])
    state = steps(second, 2).state_dict()
    assert_same(through.state_dict(), state)
    for name in "EGD":
        before, after = start["networks"][name], state["networks"][name]
        assert not any(torch.equal(before[key], after[key]) for key in before if key.endswith("weight")), name


@pytest.mark.parametrize("option", [o for o in OPTIONS if "update" not in o], ids=names)
def test_every_option_changes_the_run(images, option) -> None:
    random = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 16, 16, generator=random)
    reconstructed = []
    for options in (option, {}):
        networks = steps(trainer(images, **options), 3).game.networks
        with torch.no_grad():
            reconstructed.append(networks["G"](networks["E"](x).mean))
    assert not torch.equal(*reconstructed)


def test_a_joint_update_gives_the_gradients_of_a_merged_one_but_sees_a_pass_for_each(images) -> None:
    merged, joint = (
        steps(trainer(images, update=update), 1).state_dict()["networks"] for update in ("merged", "joint")
    )
    for name, tensors in merged.items():
        for key, tensor in tensors.items():
            if key.endswith("num_batches_tracked"):
                assert (int(tensor), int(joint[name][key])) == (1, 3)
            elif "running" not in key:
                torch.testing.assert_close(joint[name][key], tensor)


@pytest.mark.parametrize(("norm", "passes"), [("batch", [12]), ("spectral", [12]), ("layer", [4, 4, 4])])
def test_one_pass_serves_all_three_losses(images, norm, passes) -> None:
    """All images are in one batch of D where that matters."""
    made = trainer(images, d_norm=norm)
    rows: dict[str, list[int]] = {name: [] for name in "EGD"}
    for name, network in made.game.networks.items():
        network.register_forward_pre_hook(lambda module, given, name=name: rows[name].append(len(given[0])))
    steps(made, 1)
    assert rows == {"E": [4], "G": [8], "D": passes}


def test_random_numbers_of_prior_and_posterior_are_columns_of_their_own(images) -> None:
    batch = batch_of(trainer(images))
    assert {name: tuple(column.shape) for name, column in batch.items()} == {
        "x": (4, 3, 16, 16),
        "z": (4, 6),
        "eps": (4, 6),
    }
    assert not torch.equal(batch["z"], batch["eps"])


def test_reports_say_how_far_latents_and_features_are_apart(images) -> None:
    made = steps(trainer(images), 2)
    measured = made.measurements()
    assert measured["e_loss"] == pytest.approx(measured["divergence"] + measured["distance"], rel=1e-5)
    assert {"g_loss", "d_loss", "real_score", "again_score", "drawn_score"} <= measured.keys()


def test_an_autoencoder_learns_to_reconstruct(images) -> None:
    """From pictures with one bright half it learns which half that is."""
    half = torch.zeros(40, 3, 16, 16, dtype=torch.uint8)
    half[::2, :, :8], half[1::2, :, 8:] = 255, 255
    quick = {"lr": "0.01", "gamma": 1.0, "ema_kimg": "0.02", "d_norm": "layer"}
    made = steps(trainer(ImageSet.from_images(half, name="halves"), **quick), 120)
    x = to_float(half[:2])
    again = vae_gan.SYSTEM.view("reconstruct").network(made.averages)(x)
    assert (again - x).abs().mean() < 0.5 * (x - x.mean(0)).abs().mean()


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["--feature-height", "32"], "feature_height=32: D's maps have heights 4, 8, 16"),
        (["--feature-height", "6"], "feature_height=6: D's maps have heights"),
        (["--gamma", "-1"], "gamma=-1.0 is not a finite number of at least 0"),
        (["--prior-weight", "inf"], "prior_weight=inf is not a finite number"),
        (["--pixel-weight", "nan"], "pixel_weight=nan is not a finite number"),
        (
            ["--loss", "wgan"],
            "'wgan' is not one of minimax, non-saturating, boundary-seeking, f, likelihood-ratio, lsgan, hinge",
        ),
        (["--resolution", "8"], "resolution=8 is not one of 16, 32, 64, 128"),
        (["--kimg", "0"], "kimg=0 is not a positive number"),
        (["--beta1", "1"], "beta1=1.0 must be at least 0 and below 1"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_with_the_reason(args, reason, capsys) -> None:
    assert reason in error_of(vae_gan.main, [*args, "--dry-run"], capsys)


@pytest.mark.parametrize("preset", vae_gan.PRESETS)
def test_presets_are_in_order(preset, capsys) -> None:
    assert vae_gan.main(["--preset", preset, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out.rpartition("}")[0] + "}")["preset"] == preset


# --- runs


@pytest.fixture
def pictures(shared: Path) -> Path:
    """A folder of pictures of no power of two."""
    folder = shared / "pictures"
    if not folder.exists():
        folder.mkdir()
        random = np.random.default_rng(0)
        for i in range(5):
            Image.fromarray(random.integers(0, 256, (20, 24, 3), np.uint8)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def run(shared: Path) -> Path:
    """A finished run on glyphs."""
    folder = shared / "run"
    if not folder.exists():
        assert run_program(lambda: vae_gan.main(flags({**TINY_VAE_GAN, "out": folder}))) == 0
    return folder


def reconstruct(run: Path, pictures: Path, out: Path) -> None:
    assert generate.main([str(run), "--input", str(pictures), "--view", "reconstruct", "--out", str(out)]) == 0


def test_a_stopped_run_goes_on_bitwise(run, tmp_path) -> None:
    assert vae_gan.main(flags({**TINY_VAE_GAN, "kimg": 0.012, "out": tmp_path / "half"})) == 0
    assert vae_gan.main(["--resume", str(tmp_path / "half"), "--kimg", "0.024"]) == 0
    assert_same(newest(tmp_path / "half")["trainer"], newest(run)["trainer"])


@pytest.mark.parametrize("norm", ["e_norm", "g_norm", "d_norm"])
def test_a_checkpoints_norms_stay(norm, tmp_path, capsys) -> None:
    run = tmp_path / "run"
    assert vae_gan.main(flags({**TINY_VAE_GAN, "kimg": 0.004, "out": run, norm: "layer"})) == 0
    others = flags({"resume": run, "kimg": 0.008, norm: "group"})
    line = error_of(vae_gan.main, others, capsys)
    assert f"{norm}='group'" in line and "were trained with 'layer'" in line


def test_a_run_begins_with_another_ones_networks(run, tmp_path) -> None:
    options = flags(
        {**TINY_VAE_GAN, "e_width": None, "latent": None, "kimg": 0.004, "lr": "0", "out": tmp_path / "new"}
    )
    assert vae_gan.main([*options, "--init-from", str(run)]) == 0
    old, new = (newest(folder)["trainer"]["networks"] for folder in (run, tmp_path / "new"))
    for name in "EGD":
        weights = [key for key in old[name] if key.endswith("weight")]
        assert_same({key: new[name][key] for key in weights}, {key: old[name][key] for key in weights})


def test_grids_have_lines_of_inputs_reconstructions_and_samples(run, tmp_path) -> None:
    assert vae_gan.main(flags({**TINY_VAE_GAN, "grid": "3x4", "out": tmp_path / "run"})) == 0
    (*_, last) = sorted((tmp_path / "run").glob("fakes_*.png"))
    grid = torch.from_numpy(np.array(Image.open(last)))
    lines = grid.unflatten(0, (3, 16)).unflatten(2, (4, 16)).permute(0, 2, 4, 1, 3)  # [3, 4, C, 16, 16]
    network = build_view(*find_checkpoint(tmp_path / "run"), CPU, "reconstruct")
    again = to_uint8(network(to_float(lines[0])))
    assert (lines[1].int() - again.int()).abs().max() <= 1
    assert not torch.equal(lines[2], lines[1])


def test_a_folder_of_pictures_is_reconstructed(run, pictures, tmp_path) -> None:
    assert (
        generate.main([str(run), "--input", str(pictures), "--view", "reconstruct", "--out", str(tmp_path / "o")]) == 0
    )
    made = sorted((tmp_path / "o").iterdir())
    assert [path.stem for path in made] == [str(i) for i in range(5)]
    assert {Image.open(path).size for path in made} == {(16, 16)}


def test_latents_between_encoded_pictures_are_decoded(run, pictures, tmp_path) -> None:
    out = tmp_path / "i.png"
    assert generate.main([str(run), "--input", str(pictures), "--interpolate", "2x3", "--out", str(out)]) == 0
    assert Image.open(out).size == (3 * 16, 2 * 16)
    # Each row begins with the reconstruction of a picture.
    assert (
        generate.main([str(run), "--input", str(pictures), "--view", "reconstruct", "--out", str(tmp_path / "o")]) == 0
    )
    whole = np.array(Image.open(out)).astype(int)
    for row in range(2):
        again = np.array(Image.open(tmp_path / "o" / f"{row}.png")).astype(int)
        assert np.abs(whole[16 * row : 16 * row + 16, :16] - again).max() <= 1


@pytest.mark.usefixtures("shared_cache")
def test_samples_and_reconstructions_are_measured(run, measured, monkeypatch) -> None:
    monkeypatch.setattr("train.data.load.GLYPHS", 40)
    options = ("--metrics", "swd", "--images", "20")
    samples, again = measured(str(run), *options), measured(str(run), *options, "--view", "reconstruct")
    assert samples["generated"] == again["generated"] == 20
    assert 0 < samples["metrics"]["swd"] != again["metrics"]["swd"] > 0


def test_the_decoder_and_the_reconstruction_are_exported(run, pictures, tmp_path) -> None:
    networks = build_networks(*find_checkpoint(run), CPU)
    z, x = torch.randn(3, 6), torch.rand(3, 3, 16, 16) * 2 - 1
    expected = {"": networks["G"](z), "reconstruct": networks["G"](networks["E"](x).mean)}
    for view, given in (("", z), ("reconstruct", x)):
        out = tmp_path / f"of-{view}.pt2"
        more = ["--format", "torch-export", *(["--view", view] if view else [])]
        assert export.main([str(run), "--out", str(out), *more]) == 0
        with torch.no_grad():
            torch.testing.assert_close(torch.export.load(out).module()(given), expected[view], rtol=1e-4, atol=1e-4)


def test_runs_are_reported(run, tmp_path) -> None:
    assert report.main([str(run), "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "Loss of E" in page and "Loss of G" in page


def test_steps_compile(images, without_code_generation) -> None:
    torch.compiler.reset()
    said: list[str] = []
    compiled, eager = trainer(images, compile=True), trainer(images)
    compiled.say = said.append
    for made in (compiled, eager):
        steps(made, 2)
    assert [line.split(" in ")[0].split(": ")[1] for line in said] == ["compiled the E and G and D moves"]
    ours, theirs = compiled.measurements(), eager.measurements()
    for name in ("e_loss", "g_loss", "d_loss"):
        assert ours[name] == pytest.approx(theirs[name], rel=0.02, abs=0.02), name
