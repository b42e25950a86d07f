"""What runs make of images, measured and exported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from train import evaluate, export
from train.data import load_images
from train.export import FORMATS
from train.measure.evaluator import Evaluator
from train.measure.measurable import plan
from train.measure.real_side import RealImages
from train.measure.samples import given, made
from train.run.restoring import build_networks, find_checkpoint

from .runs import error_of, flags
from .test_train_views import CPU, TINY, paint
from .view_systems import ENCODER, TRANSLATOR, start

pytestmark = pytest.mark.usefixtures("toy_systems", "shared_cache")
MEASURED = {"metrics": "swd,msssim", "metrics_every": "0.012", "metrics_images": 6}
FEW = ("--images", "6", "--metrics", "swd,msssim")


@pytest.fixture
def folders(shared):
    return paint(shared / "a", 6), paint(shared / "b", 9, seed=1)


@pytest.fixture
def run(shared, folders):
    if not (shared / "run").exists():
        a, b = folders
        assert start(TRANSLATOR, *flags({**TINY, **MEASURED, "a": a, "b": b, "out": shared / "run"})) == 0
    return str(shared / "run")


@pytest.fixture
def encoder_run(shared, folders):
    if not (shared / "encoder").exists():
        assert start(ENCODER, *flags({**TINY, **MEASURED, "data": folders[0], "out": shared / "encoder"})) == 0
    return str(shared / "encoder")


def last_evaluation(run: str) -> dict[str, float]:
    lines = [json.loads(line) for line in Path(run, "stats.jsonl").read_text().splitlines()]
    line = [line for line in lines if "evaluation" in line][-1]
    return {name: line[name] for name in ("swd", "msssim")}


def by_hand(run: str, network: str, source: str, like: str) -> dict[str, float]:
    """What the averaged network makes of the images of a folder, against those of another."""
    real, images = RealImages(load_images(like, 16), 6), load_images(source, 16)
    averaged = build_networks(*find_checkpoint(Path(run)), CPU)[network]
    samples = made(averaged, "samples", images, 6, 16, 0, CPU)
    return Evaluator(plan("swd,msssim", real, 6, "", CPU), real).measure(samples)["metrics"]


def named(metrics: dict[str, float]) -> dict[str, float]:
    return {name: metrics[name] for name in ("swd", "msssim")}


def test_translations_are_compared_with_the_other_list(run, folders, measured):
    a, b = folders
    for options, expected in (((), by_hand(run, "AB", a, b)), (("--view", "b-to-a"), by_hand(run, "BA", b, a))):
        result = measured(run, *FEW, *options)
        assert named(result["metrics"]) == named(expected)
        assert (result["generated"], result["real"]) == (6, 6)
    assert (result["made_of"], result["data"]) == ("b", "a")
    assert "made of images of b" in evaluate.table(result)


def test_a_run_measures_on_its_way_what_evaluate_measures(run, encoder_run, measured):
    for folder in (run, encoder_run):
        assert last_evaluation(folder) == named(measured(folder, *FEW)["metrics"])


def test_an_autoencoder_is_measured_by_its_samples_unless_asked_for_reconstructions(encoder_run, measured):
    samples, again = (measured(encoder_run, *FEW, *more)["metrics"] for more in ((), ("--view", "reconstruct")))
    assert samples["swd"] != again["swd"]


def test_the_other_side_can_be_other_images(run, folders, measured):
    a, _ = folders
    assert named(measured(run, *FEW, "--data", a)["metrics"]) == named(by_hand(run, "AB", a, a))


def test_reconstructions_of_other_images_are_compared_with_these(encoder_run, folders, measured):
    own, other = (measured(encoder_run, *FEW, "--view", "reconstruct", *more) for more in ((), ("--data", folders[1])))
    assert other["data"] == "b" and other["metrics"]["swd"] != own["metrics"]["swd"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--view", "x"], "train.toy_translator has no view 'x': there are a-to-b, b-to-a"),
        (["--resolution", "8", "--metrics", "is"], "makes 16x16, more than resolution=8"),
    ],
)
def test_what_cannot_be_measured_is_one_line(run, fails, options, message):
    assert message in fails(run, "--images", "6", *options)


def test_images_have_no_view(folders, fails):
    assert "is not a run or checkpoint, and has no --view a-to-b" in fails(folders[0], "--view", "a-to-b")


def test_colour_is_no_input_of_a_grey_network(encoder_run, shared, fails):
    colour = paint(shared / "colour", 3, channels=3)
    assert "are in colour" in fails(encoder_run, *FEW, "--view", "reconstruct", "--data", colour)


@pytest.mark.parametrize("name", FORMATS)
def test_a_translation_is_exported_and_makes_the_same_images(run, folders, tmp_path, capsys, name):
    out = tmp_path / ("made" + FORMATS[name].suffix)
    assert export.main([run, "--view", "b-to-a", "--format", name, "--out", str(out)]) == 0
    assert f"{out}: x [N, 1, 16, 16] to images of 16x16, checked" in capsys.readouterr().out
    network = build_networks(*find_checkpoint(Path(run)), CPU)["BA"]
    x = given(network, load_images(folders[1], 16), torch.arange(5))
    torch.testing.assert_close(FORMATS[name].load(out, CPU)(x), network(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", FORMATS)
def test_an_autoencoder_is_exported_whole_or_as_a_generator(encoder_run, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    networks, suffix = build_networks(*find_checkpoint(Path(encoder_run)), CPU), FORMATS[name].suffix
    for options in ((), ("--view", "reconstruct")):
        assert export.main([encoder_run, "--format", name, *options]) == 0
    z, x = torch.randn(5, 3), torch.rand(5, 1, 16, 16)
    drawn = FORMATS[name].load(Path("generator" + suffix), CPU)(z)
    again = FORMATS[name].load(Path("reconstruct" + suffix), CPU)(x)
    torch.testing.assert_close(drawn, networks["G"](z), rtol=0, atol=1e-5)
    torch.testing.assert_close(again, networks["G"](networks["E"](x)), rtol=0, atol=1e-5)


def test_an_unknown_view_is_not_exported(run, shared_run, capsys):
    assert "has no view 'x': there are a-to-b, b-to-a" in error_of(export.main, [run, "--view", "x"], capsys)
    plain = str(shared_run("plain"))
    assert "train.pggan makes images of latents alone" in error_of(export.main, [plain, "--view", "x"], capsys)
