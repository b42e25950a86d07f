"""Images that are made of pictures: translations, reconstructions, and walks between encoded pictures."""

from __future__ import annotations

import zipfile
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from train import generate, pggan
from train.data import to_float, to_uint8
from train.measure.pictures import png_names
from train.measure.walks import closed_walk
from train.run.restoring import build_networks, find_checkpoint

from .runs import error_of, flags
from .test_train_views import CPU, TINY, paint, tiles
from .view_systems import ENCODER, TRANSLATOR, start

pytestmark = pytest.mark.usefixtures("toy_systems")
fails = partial(error_of, generate.main)


@pytest.fixture
def pictures(shared):
    return paint(shared / "pictures", 5)


@pytest.fixture
def run(shared, pictures):
    if not (shared / "run").exists():
        assert start(TRANSLATOR, *flags({**TINY, "a": pictures, "b": pictures, "out": shared / "run"})) == 0
    return str(shared / "run")


@pytest.fixture
def encoder_run(shared, pictures):
    if not (shared / "encoder").exists():
        assert start(ENCODER, *flags({**TINY, "data": pictures, "out": shared / "encoder"})) == 0
    return str(shared / "encoder")


def read(path: Path) -> Tensor:
    """uint8 [H, W] of a grey picture."""
    image = Image.open(path)
    assert image.mode == "L"
    return torch.tensor(list(image.tobytes()), dtype=torch.uint8).view(image.size[::-1])


def made_by(network: nn.Module, path: Path) -> Tensor:
    return to_uint8(network(to_float(read(path))[None, None]))[0, 0]


def networks_of(run: str, **options: bool) -> dict[str, nn.Module]:
    return build_networks(*find_checkpoint(Path(run)), CPU, **options)


@pytest.mark.parametrize(
    ("options", "name", "ema"),
    [([], "AB", True), (["--view", "b-to-a"], "BA", True), (["--no-ema", "--batch", "2"], "AB", False)],
)
def test_each_picture_is_translated_under_its_own_name(run, pictures, tmp_path, options, name, ema):
    assert generate.main([run, "--input", pictures, "--out", str(tmp_path / "out"), *options]) == 0
    network = networks_of(run, ema=ema)[name]
    made = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in made] == [f"{i:02d}.png" for i in range(5)]
    for path in made:
        assert torch.equal(read(path), made_by(network, Path(pictures, path.name)))


def test_the_first_view_of_an_autoencoder_is_what_pictures_go_through(encoder_run, pictures, tmp_path):
    assert generate.main([encoder_run, "--input", pictures, "--out", str(tmp_path / "out"), "--scale", "2"]) == 0
    networks = networks_of(encoder_run)
    expected = made_by(nn.Sequential(networks["E"], networks["G"]), Path(pictures, "03.png"))
    assert torch.equal(read(tmp_path / "out" / "03.png")[::2, ::2], expected)


def test_without_pictures_it_draws_from_latents(encoder_run, tmp_path):
    assert generate.main([encoder_run, "--out", str(tmp_path / "g.png"), "--grid", "2x3"]) == 0
    assert Image.open(tmp_path / "g.png").size == (48, 32)


def test_pictures_of_any_size_in_folders_and_zip_files_are_taken_and_unreadable_ones_skipped(run, tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    Image.new("L", (40, 30), 99).save(tmp_path / "in" / "sub" / "wide.jpg")
    Image.new("L", (16, 16), 10).save(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "broken.png").write_bytes(b"no image")
    (tmp_path / "in" / "dataset.json").write_text('{"labels": [["b.png", 1]]}')  # labels do not matter
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for name in ("b.png", "sub/wide.jpg", "broken.png"):
            archive.write(tmp_path / "in" / name, name)
    for source, out in (("in", "one"), ("in.zip", "two")):
        with pytest.warns(UserWarning, match=r"skipped 1 unreadable images: broken\.png"):
            assert generate.main([run, "--input", str(tmp_path / source), "--out", str(tmp_path / out)]) == 0
    found = [
        {path.relative_to(tmp_path / out).as_posix(): path.read_bytes() for path in (tmp_path / out).rglob("*.png")}
        for out in ("one", "two")
    ]
    assert found[0] == found[1] and found[0].keys() == {"b.png", "sub/wide.png"}


def test_names_stay_different_and_in_their_folder():
    assert png_names(["x/a.jpg", "x/a.png", "x/a.jpg", "../../up.png", "/b.tif", "c.d.webp"]) == [
        "x/a.png",
        "x/a.png.png",
        "x/a.jpg.png",
        "up.png",
        "b.png",
        "c.d.png",
    ]


def test_a_walk_goes_between_encoded_pictures(encoder_run, pictures, tmp_path):
    out = tmp_path / "walk.png"
    assert generate.main([encoder_run, "--input", pictures, "--interpolate", "3x4", "--out", str(out)]) == 0
    networks = networks_of(encoder_run)
    three = torch.stack([read(Path(pictures, f"{i:02d}.png")) for i in range(3)])
    z = closed_walk(networks["E"](to_float(three)[:, None]), 4)
    assert torch.equal(tiles(out).flatten(0, 1), to_uint8(networks["G"](z))[:, 0])


def test_grey_pictures_become_colour_and_colour_ones_are_refused_by_a_grey_network(run, pictures, tmp_path, capsys):
    colour = paint(tmp_path / "colour", 2, channels=3)
    out = str(tmp_path / "out")
    assert "the images of colour are in colour" in fails([run, "--input", colour, "--out", out], capsys)
    options = flags({**TINY, "a": colour, "b": colour, "out": tmp_path / "run"})
    assert start(TRANSLATOR, *options) == 0
    assert generate.main([str(tmp_path / "run"), "--input", pictures, "--out", out]) == 0
    network = networks_of(str(tmp_path / "run"))["AB"]
    expected = to_uint8(network(to_float(read(Path(pictures, "00.png"))).expand(1, 3, -1, -1)))[0]
    made = Image.open(tmp_path / "out" / "00.png")
    assert made.mode == "RGB" and bytes(expected.permute(1, 2, 0).flatten().tolist()) == made.tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--view", "x"], "train.toy_translator has no view 'x': there are a-to-b, b-to-a"),
        (["--interpolate", "2x3"], "--interpolate with --input needs an encoder, and train.toy_translator has none"),
        (["--images", "3"], "--images and --input cannot be combined"),
        (["--classes", "1"], "--classes and --input cannot be combined"),
        (["--seed", "1"], "--seed and --input cannot be combined"),
        (["--grid", "2x2"], "--grid and --input cannot be combined"),
    ],
)
def test_what_makes_no_sense_with_pictures_is_one_line(run, pictures, tmp_path, capsys, options, message):
    assert message in fails([run, "--input", pictures, "--out", str(tmp_path / "out.png"), *options], capsys)
    assert not (tmp_path / "out.png").exists()


def test_a_place_without_pictures_is_one_line(run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert "empty holds no images" in fails([run, "--input", str(tmp_path / "empty")], capsys)
    assert "no such folder or zip file" in fails([run, "--input", str(tmp_path / "none")], capsys)


def test_pictures_are_not_mixed_with_those_in_the_folder(run, pictures, capsys):
    assert f"--out {pictures} holds images already" in fails([run, "--input", pictures, "--out", pictures], capsys)


def test_too_few_pictures_for_a_walk_are_counted(encoder_run, pictures, capsys):
    assert "has only 5 pictures" in fails([encoder_run, "--input", pictures, "--interpolate", "6x2"], capsys)


def test_without_pictures_a_system_without_latents_says_what_to_give(run, capsys):
    expected = "train.toy_translator makes images of images: give some with --input (--view a-to-b or b-to-a)"
    assert expected in fails([run], capsys)
    assert "give these with --input" in fails([run, "--view", "a-to-b"], capsys)


def test_a_system_of_latents_takes_no_pictures(shared_run, pictures, capsys):
    line = fails([str(shared_run("plain")), "--input", pictures], capsys)
    assert "train.pggan makes images of latents alone" in line
    assert pggan.SYSTEM.views == {}
