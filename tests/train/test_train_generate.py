"""Pictures from a checkpoint."""

import math

import pytest
import torch
from PIL import Image

from train import generate
from train.measure.pictures import latents
from train.measure.walks import closed_walk, slerp
from train.run import checkpoint

from .runs import error_of


@pytest.fixture
def run(shared_run):
    return str(shared_run("plain"))


@pytest.fixture
def labelled_run(shared_run):
    return str(shared_run("labelled", condition="cgan", kimg=0.02))


def fails(capsys, *args: str) -> str:
    return error_of(generate.main, args, capsys)


def test_a_grid(run, tmp_path):
    assert generate.main([run, "--out", str(tmp_path / "new" / "g.png"), "--grid", "2x5", "--scale", "3"]) == 0
    assert Image.open(tmp_path / "new" / "g.png").size == (5 * 8 * 3, 2 * 8 * 3)


def test_single_images_are_the_same_for_a_seed_however_many_at_once(run, tmp_path):
    for name, options in (("a", ["--batch", "2"]), ("b", []), ("c", ["--seed", "1"])):
        assert generate.main([run, "--out", str(tmp_path / name), "--images", "5", *options]) == 0
    a, b, c = ([p.read_bytes() for p in sorted((tmp_path / name).iterdir())] for name in "abc")
    assert len(a) == 5 and a == b and all(x != y for x, y in zip(a, c, strict=True))


def test_the_averaged_generator_is_the_default(run, tmp_path):
    for name, options in (("default", []), ("ema", ["--ema"]), ("raw", ["--no-ema"])):
        assert generate.main([run, "--out", str(tmp_path / f"{name}.png"), *options]) == 0
    default, ema, raw = ((tmp_path / f"{name}.png").read_bytes() for name in ("default", "ema", "raw"))
    assert default == ema != raw


def test_an_interpolation_as_a_grid_and_as_a_loop(run, tmp_path):
    png, gif = tmp_path / "i.png", tmp_path / "i.gif"
    for out in (png, gif):
        assert generate.main([run, "--out", str(out), "--interpolate", "2x4"]) == 0
    assert Image.open(png).size == (4 * 8, 2 * 8)
    assert Image.open(gif).n_frames == 8


def test_a_checkpoint_file_will_do(run, tmp_path):
    assert generate.main([run + "/checkpoint_000000048.pt", "--out", str(tmp_path / "g.png")]) == 0


def test_classes_choose_what_is_drawn(labelled_run, tmp_path):
    for name, options in (("three", ["--classes", "3"]), ("five", ["--classes", "5"]), ("both", ["--classes", "3,5"])):
        out = str(tmp_path / name)
        assert generate.main([labelled_run, "--out", out, "--images", "2", *options]) == 0
    three, five, both = ([p.read_bytes() for p in sorted((tmp_path / n).iterdir())] for n in ("three", "five", "both"))
    assert both == [three[0], five[1]]


@pytest.mark.parametrize("name", ["000001.png", "old.JPG", "sub/folder/a.webp"])
def test_new_images_are_not_mixed_with_those_in_the_folder(run, tmp_path, capsys, name):
    out = tmp_path / "samples"
    assert generate.main([run, "--out", str(out), "--images", "2"]) == 0
    for path in out.iterdir():
        path.unlink()
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_text("precious")
    (out / "notes.txt").write_text("these are no image")
    line = fails(capsys, run, "--out", str(out), "--images", "2")
    assert f"--out {out} holds images already (1, such as {name})" in line and "choose another folder" in line
    assert (out / name).read_text() == "precious" and len([p for p in out.rglob("*") if p.is_file()]) == 2


def test_other_files_in_the_folder_do_not_matter(run, tmp_path):
    (tmp_path / "notes.txt").write_text("these are no image")
    assert generate.main([run, "--out", str(tmp_path), "--images", "2"]) == 0
    assert len(list(tmp_path.glob("*.png"))) == 2


def test_the_default_folder_is_looked_at_too(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert generate.main([run, "--images", "1"]) == 0
    assert "--out images holds images already" in fails(capsys, run, "--images", "1")


def test_a_file_for_a_folder_and_a_folder_for_a_file_are_told_apart(run, tmp_path, capsys):
    (tmp_path / "file.png").touch()
    assert f"--out {tmp_path / 'file.png'} is a file" in fails(
        capsys, run, "--out", str(tmp_path / "file.png"), "--images", "1"
    )
    assert f"--out {tmp_path} is a folder: a grid" in fails(capsys, run, "--out", str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--grid", "3"], "grid: '3' is not ROWSxCOLUMNS"),
        (["--interpolate", "x"], "interpolate: 'x'"),
        (["--classes", "1"], "classes=1: this generator was trained without labels"),
        (["--images", "3", "--interpolate", "2x2"], "cannot be combined"),
        (["--out", "a.jpg"], "--out a.jpg"),
        (["--batch", "0"], "batch=0"),
        (["--imges", "3"], "unknown option --imges (did you mean --images?)"),
    ],
)
def test_a_wrong_option_is_one_line(run, capsys, options, message):
    assert message in fails(capsys, run, *options)


def test_a_missing_or_foreign_checkpoint_is_one_line(capsys, tmp_path):
    assert "there is no checkpoint" in fails(capsys, str(tmp_path / "none"))
    assert "holds no checkpoint" in fails(capsys, str(tmp_path))
    torch.save({"format": checkpoint.FORMAT, "system": "diffusion"}, tmp_path / "a.pt")
    assert "cannot be drawn from: there is no system 'diffusion'" in fails(capsys, str(tmp_path / "a.pt"))


def test_latents_do_not_depend_on_how_many_are_drawn():
    assert torch.equal(latents(9, 5, seed=1)[:3], latents(3, 5, seed=1))


def test_slerp_keeps_to_the_arc():
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 4.0])
    quarter = slerp(a, b, torch.tensor([0.0, 0.5, 1.0]))
    expected = torch.stack([a, 3 * torch.tensor([1.0, 1.0]) / math.sqrt(2), b])
    assert torch.allclose(quarter, expected, atol=1e-6)
    assert torch.allclose(slerp(a, 2 * a, torch.tensor([0.5])), 1.5 * a)


def test_a_walk_starts_at_each_key_and_returns():
    keys = torch.randn(3, 7)
    walk = closed_walk(keys, 4)
    assert walk.shape == (12, 7)
    assert torch.allclose(walk[::4], keys, atol=1e-5)
