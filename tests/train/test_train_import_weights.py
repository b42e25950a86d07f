"""``python -m train.import_weights``: other codebases' weights as a run, which the other programs take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from train import evaluate, export, generate, import_weights, r3gan, stylegan2
from train.base.errors import run_program
from train.data import to_uint8
from train.measure.pictures import latents
from train.run import checkpoint
from train.run.restoring import build_generator

from .runs import OUTPUT, error_of, flags

AUTHORS = Path(__file__).parents[1] / "models" / "authors"
NETWORKS = ["r3gan-16", "r3gan-16-labels", "biggan-32"]
NETWORKS += ["stylegan2-32", "stylegan2-16-labels", "stylegan3t-32", "stylegan3r-32"]


def authors(name: str) -> dict[str, Tensor]:
    """All arrays of numbers of the authors' networks, and what came out of these."""
    with np.load(AUTHORS / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files if file[key].dtype.kind in "fi"}


@pytest.fixture(params=NETWORKS)
def imported(request, tmp_path) -> tuple[dict[str, Tensor], Path]:
    """The authors' arrays, and the folder that they were imported into."""
    folder = tmp_path / "imported"
    assert import_weights.main([str(AUTHORS / f"{request.param}.npz"), "--out", str(folder)]) == 0
    return authors(request.param), folder


def labels_of(tensors: dict[str, Tensor]) -> list[Tensor]:
    """As the generator takes them: R3GAN's are one-hot vectors there."""
    if "y" in tensors:
        return [tensors["y"]]
    return [tensors["c"].argmax(1)] if tensors["c"].shape[1] else []


def test_what_is_imported_draws_what_the_authors_code_drew(imported):
    tensors, folder = imported
    path, state, warnings = checkpoint.find(folder)
    generator = build_generator(path, state, torch.device("cpu"))
    drawn = generator(tensors["z"], *labels_of(tensors))
    torch.testing.assert_close(drawn, tensors["image"], rtol=0, atol=1e-4)
    assert warnings == []


def test_generate_draws_the_generators_images(imported, tmp_path):
    tensors, folder = imported
    out = tmp_path / "images"
    assert run_program(lambda: generate.main([str(folder), "--images", "2", "--out", str(out)])) == 0
    generator = build_generator(*checkpoint.find(folder)[:2], torch.device("cpu"))
    labels = [torch.tensor([0, 1])] if labels_of(tensors) else []
    expected = to_uint8(generator(latents(2, generator.latent_dim, 0), *labels))
    for i in range(2):
        drawn = torch.from_numpy(np.array(Image.open(out / f"{i:06d}.png"))).permute(2, 0, 1)
        assert torch.equal(drawn, expected[i])


@pytest.fixture
def pictures(tmp_path) -> Path:
    (tmp_path / "pictures").mkdir()
    for i, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)):
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{i}.png")
    return tmp_path / "pictures"


def test_evaluate_and_export_take_it(imported, pictures, tmp_path, capsys):
    tensors, folder = imported
    if not labels_of(tensors):  # their classes would have to be those of the data
        few = ["--data", str(pictures), "--metrics", "swd", "--images", "10"]
        assert run_program(lambda: evaluate.main([str(folder), *few])) == 0
        assert "swd" in capsys.readouterr().out
    out = tmp_path / "g.safetensors"
    assert run_program(lambda: export.main([str(folder), "--format", "safetensors", "--out", str(out)])) == 0
    assert "largest difference 0" in capsys.readouterr().out


def test_a_run_begins_with_it(pictures, tmp_path):
    folder, run = tmp_path / "imported", tmp_path / "run"
    assert import_weights.main([str(AUTHORS / "r3gan-16.npz"), "--out", str(folder)]) == 0
    options = {**OUTPUT, "data": pictures, "data_size": 0, "resolution": 16, "kimg": 0.004, "batch": "4", "lr": "0"}
    assert run_program(lambda: r3gan.main(flags({**options, "init_from": folder, "out": run}))) == 0
    was, now = (checkpoint.find(each)[1]["trainer"]["networks"] for each in (folder, run))
    for name in was:
        assert was[name].keys() == now[name].keys()
        assert all(torch.equal(was[name][key], now[name][key]) for key in was[name])


def test_a_run_of_stylegan2_begins_with_it_but_for_the_mean_of_w_which_moves(pictures, tmp_path):
    folder, run = tmp_path / "imported", tmp_path / "run"
    assert import_weights.main([str(AUTHORS / "stylegan2-32.npz"), "--out", str(folder)]) == 0
    options = {**OUTPUT, "data": pictures, "data_size": 0, "resolution": 32, "kimg": 0.004, "batch": "4", "lr": "0"}
    assert run_program(lambda: stylegan2.main(flags({**options, "init_from": folder, "out": run}))) == 0
    was, now = (checkpoint.find(each)[1]["trainer"]["networks"] for each in (folder, run))
    for name in was:
        assert was[name].keys() == now[name].keys()
        moved = [key for key in was[name] if not torch.equal(was[name][key], now[name][key])]
        assert moved == (["mapping.average.mean"] if name == "G" else [])


def test_it_is_no_run_that_could_be_resumed(imported, capsys):
    assert "config.json does not exist" in error_of(r3gan.main, ["--resume", str(imported[1])], capsys)


def write(path: Path, tensors: dict[str, Tensor]) -> Path:
    """In the format that the path's suffix names."""
    if path.suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in tensors.items()})
    elif path.suffix == ".safetensors":
        pytest.importorskip("safetensors.torch").save_file(tensors, path)
    else:
        networks = {role: {n[6:]: t for n, t in tensors.items() if n[4] == role} for role in "GD"}
        torch.save({"G_ema": networks["G"], "D": networks["D"], "note": "hello"}, path)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt", ".pth"])
def test_every_format_is_read(tmp_path, suffix):
    tensors = {name: t.half() for name, t in authors("r3gan-16").items() if name.startswith("net.")}
    tensors = {name: t.contiguous() for name, t in tensors.items()}
    file = write(tmp_path / f"weights{suffix}", tensors)
    assert import_weights.main([str(file), "--out", str(tmp_path / "out")]) == 0
    networks = checkpoint.find(tmp_path / "out")[1]["trainer"]["networks"]
    assert torch.equal(networks["D"]["from_rgb"], tensors["net.D.ExtractionLayer.Layer.weight"].float())


def test_samples_are_drawn_from_the_averaged_generator_and_training_goes_on_with_the_other(tmp_path):
    g = {name[6:]: t for name, t in authors("r3gan-16").items() if name.startswith("net.G.")}
    torch.save({"G": g, "G_ema": {name: 2 * t if "Kernel" not in name else t for name, t in g.items()}}, tmp_path / "w")
    assert import_weights.main([str(tmp_path / "w"), "--out", str(tmp_path / "out")]) == 0
    trainer = checkpoint.find(tmp_path / "out")[1]["trainer"]
    torch.testing.assert_close(trainer["averages"]["G"]["scale"], 2 * trainer["networks"]["G"]["scale"])
    assert list(trainer["networks"]) == ["G"]


def test_every_tensor_that_is_not_used_is_named(tmp_path, capsys):
    tensors = {**authors("r3gan-16"), "net.G.Extra": torch.zeros(2, 3)}
    file = write(tmp_path / "weights.npz", tensors)
    assert import_weights.main([str(file), "--out", str(tmp_path / "out")]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("not used: ")]
    left = {"z [2, 8]", "c [2, 0]", "image [2, 3, 16, 16]", "score [2]", "net.G.Extra [2, 3]"}
    assert {line.removeprefix("not used: ") for line in said} == left


def test_networks_can_be_in_files_of_their_own(tmp_path):
    tensors = authors("biggan-32")
    files = []
    for role, stem in (("G", "G_ema"), ("D", "D")):
        own = {name[6:]: t for name, t in tensors.items() if name.startswith(f"net.{role}.")}
        torch.save(own, tmp_path / f"{stem}.pth")
        files.append(str(tmp_path / f"{stem}.pth"))
    assert import_weights.main([*files, "--out", str(tmp_path / "out")]) == 0
    state = checkpoint.find(tmp_path / "out")[1]
    assert state["system"] == "biggan" and state["config"]["d_width"] == 4
    assert list(state["trainer"]["networks"]) == ["G", "D"]


def without(part: str) -> dict[str, Tensor]:
    return {name: t for name, t in authors("r3gan-16").items() if part not in name}


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        (
            {"weight": torch.zeros(2)},
            "there is no generator of StyleGAN2 or StyleGAN3 or R3GAN or BigGAN (1 tensors, weight)",
        ),
        (without("net.G."), "there is no generator of StyleGAN2 or StyleGAN3 or R3GAN or BigGAN"),
        (without("net.G.MainLayers.0.Layers.0.Basis"), "net.G.: these are not the tensors of an R3GAN"),
        (without("net.D.MainLayers.1.Layers.0.NonLinearity1"), "D stages.1.0.enter_bias is absent there"),
        (without("net.G.MainLayers.2.Layers.0.LinearLayer.Layer"), "G ups.1.weight is absent there"),
        ({**authors("r3gan-16"), "other.AggregationLayer.Layer.weight": torch.zeros(2)}, "more than one G"),
    ],
    ids=["other", "no G", "no basis", "no bias", "no convolution", "two of G"],
)
def test_what_is_no_network_of_ours_is_refused_and_nothing_is_written(tensors, reason, tmp_path, capsys):
    file = write(tmp_path / "weights.npz", tensors)
    line = error_of(import_weights.main, [str(file), "--out", str(tmp_path / "out")], capsys)
    assert reason in line and "weights.npz" in line
    assert not (tmp_path / "out").exists()
