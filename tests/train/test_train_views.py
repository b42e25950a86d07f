"""Systems of several lists of images, and those that make images of images, in a run of their own."""

from __future__ import annotations

import json
from functools import partial
from html import escape
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from train import report
from train.base.seeds import stream_seed
from train.data import to_float, to_uint8
from train.measure.pictures import latents, save_png
from train.run.lists import real_images, training_images
from train.run.restoring import build_generator, build_networks, find_checkpoint
from train.run.session import train_as_told

from .runs import assert_same, error_of, flags, newest
from .view_systems import ENCODER, TRANSLATOR, TranslatorConfig, start

pytestmark = pytest.mark.usefixtures("toy_systems")
CPU = torch.device("cpu")
TINY = {"resolution": 16, "kimg": 0.024, "grid": "7x4", "tensorboard": False, "device": "cpu", "log_kimg": "0.008"}
TINY |= {"checkpoint_kimg": "0.012", "image_kimg": "0.012", "ema_kimg": "0.01"}


def paint(folder: Path, count: int, *, first: int = 0, channels: int = 1, seed: int = 0) -> str:
    """Pictures of noise."""
    folder.mkdir(exist_ok=True)
    random = torch.Generator().manual_seed(seed)
    for i in range(first, first + count):
        save_png(folder / f"{i:02d}.png", torch.randint(256, (channels, 16, 16), generator=random).to(torch.uint8))
    return str(folder)


@pytest.fixture
def a(tmp_path):
    return paint(tmp_path / "a", 6)


@pytest.fixture
def b(tmp_path):
    return paint(tmp_path / "b", 9, seed=1)


@pytest.fixture
def run(tmp_path, a, b):
    """The folder of a finished run of the translator."""
    assert start(TRANSLATOR, *flags({**TINY, "a": a, "b": b, "out": tmp_path / "run"})) == 0
    return tmp_path / "run"


@pytest.fixture
def encoder_run(tmp_path, a):
    assert start(ENCODER, *flags({**TINY, "data": a, "out": tmp_path / "run"})) == 0
    return tmp_path / "run"


def tiles(path: Path) -> Tensor:
    """The pictures in a grid of 16x16 ones, uint8 [rows, columns, H, W]."""
    pixels = torch.tensor(list(Image.open(path).tobytes()), dtype=torch.uint8)
    width, height = Image.open(path).size
    return pixels.view(height // 16, 16, width // 16, 16).transpose(1, 2)


def images_of(folder: str) -> list[bytes]:
    return [Image.open(path).tobytes() for path in sorted(Path(folder).iterdir())]


def made_by(network, inputs: Tensor) -> Tensor:
    """Of uint8 [N, H, W]."""
    return to_uint8(network(to_float(inputs)[:, None]))[:, 0]


def test_a_run_says_what_its_lists_are(run, a, b, capsys, tmp_path):
    said = (run / "log.txt").read_text().splitlines()
    assert f"a: 6 images of a for {run}" in said and f"b: 9 images of b for {run}" in said
    config = json.loads((run / "config.json").read_text())
    assert (config["a"], config["b"]) == (a, b) and "data" not in config
    assert report.main([str(run), "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text()
    assert b in page and "Loss of both" in page and escape("Norm of both's gradient") in page


def test_lists_that_are_drawn_are_different_images():
    config = TranslatorConfig(resolution=16, data_size=5, seed=3)
    lists = training_images(config)
    assert not torch.equal(lists["a"].level(16), lists["b"].level(16))
    assert torch.equal(training_images(config)["b"].level(16), lists["b"].level(16))


def test_what_a_list_is_measured_against_does_not_depend_on_the_runs_seed(monkeypatch):
    monkeypatch.setattr("train.data.load.GLYPHS", 5)
    one, other = (real_images(TranslatorConfig(resolution=16, seed=seed), "b") for seed in (1, 2))
    assert torch.equal(one.level(16), other.level(16))


def test_lists_of_different_channels_are_refused(a, tmp_path, capsys):
    colour = paint(tmp_path / "colour", 3, channels=3)
    args = flags({**TINY, "a": a, "b": colour, "out": tmp_path / "run"})
    line = error_of(partial(train_as_told, TRANSLATOR), args, capsys)
    assert f"--a {a} has 1, --b {colour} has 3" in line.replace(" channel", "") and "grey" in line
    assert not (tmp_path / "run").exists()


def test_an_empty_list_is_refused(a, tmp_path, capsys):
    (tmp_path / "none").mkdir()
    args = flags({**TINY, "a": a, "b": tmp_path / "none", "out": tmp_path / "run"})
    assert f"{tmp_path / 'none'} holds no images" in error_of(partial(train_as_told, TRANSLATOR), args, capsys)


def test_a_list_that_has_changed_is_named(run, a, b, tmp_path, capsys):
    assert json.loads((run / "images.json").read_text()).keys() == {"a", "b"}
    going_on = ["--resume", str(run), "--kimg", "0.03"]
    Path(a, "00.png").rename(Path(a, "x.png"))
    assert start(TRANSLATOR, *going_on) == 0
    assert f"warning: the images in {a} have changed: 6 now" in capsys.readouterr().out
    paint(tmp_path / "b", 1, first=50)
    line = error_of(partial(train_as_told, TRANSLATOR), going_on, capsys)
    assert f"the images in {b} have changed: 10 now, 9 when the run began; added: 50.png" in line
    assert f"python -m train.toy_translator --init-from {run} --a {a} --b {b} --resolution 16" in line


def test_a_run_is_resumed_exactly(run, a, b, tmp_path):
    options = flags({**TINY, "a": a, "b": b, "kimg": 0.012, "out": tmp_path / "again"})
    assert start(TRANSLATOR, *options) == 0
    assert start(TRANSLATOR, "--resume", str(tmp_path / "again"), "--kimg", "0.024") == 0
    assert_same(newest(tmp_path / "again")["trainer"], newest(run)["trainer"])
    for name in ("fakes_000000.png", "reals.png"):
        assert (tmp_path / "again" / name).read_bytes() == (run / name).read_bytes()


@pytest.mark.parametrize("system", [TRANSLATOR, ENCODER], ids=["translator", "autoencoder"])
def test_a_run_can_start_from_anothers_networks(system, a, b, tmp_path):
    data = {"a": a, "b": b} if system is TRANSLATOR else {"data": a}
    for name, more in (("first", []), ("second", ["--init-from", str(tmp_path / "first")])):
        assert start(system, *flags({**TINY, **data, "out": tmp_path / name}), *more) == 0
    log = (tmp_path / "second" / "log.txt").read_text()
    assert "at 16x16" in log and "2 of 2 tensors taken, 100.0% of the values" in log


def test_grids_show_images_what_is_made_of_them_and_these_there_and_back(run, a, b):
    picture = tiles(run / "fakes_000000.png")
    assert picture.shape == (6, 4, 16, 16)  # a block of three lines for each view
    networks = build_networks(*find_checkpoint(run), CPU)
    for block, own, there, back in ((picture[:3], a, "AB", "BA"), (picture[3:], b, "BA", "AB")):
        inputs, made, again = block
        assert {bytes(tile.flatten().tolist()) for tile in inputs} <= set(images_of(own))
        assert torch.equal(made, made_by(networks[there], inputs))
        back_again = networks[back](networks[there](to_float(inputs)[:, None]))
        assert torch.equal(again, to_uint8(back_again)[:, 0])


def test_grids_of_an_autoencoder_end_with_samples(encoder_run):
    blocks = tiles(encoder_run / "fakes_000000.png").unflatten(0, (2, 3))  # 7 rows: two blocks
    networks = build_networks(*find_checkpoint(encoder_run), CPU)
    z = latents(8, 3, stream_seed(0, "grid"))
    assert torch.equal(blocks[:, 2].flatten(0, 1), to_uint8(networks["G"](z))[:, 0])
    inputs = blocks[:, 0].flatten(0, 1)
    made = networks["G"](networks["E"](to_float(inputs)[:, None]))
    assert torch.equal(blocks[:, 1].flatten(0, 1), to_uint8(made)[:, 0])


def test_real_images_of_each_list_are_shown(run, a, b):
    picture = tiles(run / "reals.png")
    assert picture.shape == (6, 4, 16, 16)
    for part, own in ((picture[:3], a), (picture[3:], b)):
        assert {bytes(tile.flatten().tolist()) for tile in part.flatten(0, 1)} <= set(images_of(own))


def test_nothing_there_draws_from_latents(run):
    with pytest.raises(ValueError, match="toy_translator makes images of images"):
        build_generator(*find_checkpoint(run), CPU)
