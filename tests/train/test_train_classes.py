"""Classes have names, wherever they come from, and metrics of their own."""

from __future__ import annotations

import json
from statistics import fmean

import numpy as np
import pytest
import torch
from PIL import Image

from gan_ops.metrics import frechet_distance
from models.parts.codes import Codes
from train import dcgan, generate
from train.base.errors import run_program
from train.data import load_images
from train.measure.code_walks import code_walk
from train.measure.evaluator import Evaluator
from train.measure.features import Features
from train.measure.measurable import plan
from train.measure.pictures import row_names, save_png, with_row_names
from train.measure.real_side import RealImages
from train.measure.samples import chosen, drawn_labels
from train.run import checkpoint

from .runs import TINY_DCGAN, error_of, flags

CPU = torch.device("cpu")
NAMES = ["cat", "dog", "heron"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 digits, 0, 1 and 2, in a folder for each."""
    path = tmp_path_factory.mktemp("animals") / "animals"
    digits = load_images("digits", 16)
    for label, name in enumerate(NAMES):
        (path / name).mkdir(parents=True)
        for i, index in enumerate((digits.labels == label).nonzero()[:8, 0]):
            save_png(path / name / f"{i}.png", digits.level(16)[index])
    return path


@pytest.fixture(scope="module")
def run(folder):
    """A conditional DCGAN of these."""
    out = folder.parent / "run"
    options = {**TINY_DCGAN, "data": folder, "data_size": 0, "condition": "cgan", "grid": "3x4", "out": out}
    assert run_program(lambda: dcgan.main(flags(options))) == 0
    return out


def test_folders_name_classes(folder):
    images = load_images(str(folder), 16)
    assert images.class_names == NAMES and images.num_classes == 3


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("digits", list("0123456789")),
        ("glyphs", [*"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"]),
        ("glyphs-digits", [*"0123456789"]),
    ],
)
def test_known_sets_have_names_too(spec, names):
    images = load_images(spec, 8, size=40)
    assert list(images.class_names) == names and images.num_classes == len(names)


def test_numbers_in_a_table_are_names(folder, tmp_path):
    for path in (folder / "cat").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    labels = [[f"{i}.png", 7 if i % 2 else 30] for i in range(8)]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    images = load_images(str(tmp_path), 16)
    assert images.class_names == ["7", "30"] and images.labels.tolist() == [1, 0] * 4


def test_the_log_and_the_checkpoint_hold_them(run):
    assert "classes: cat, dog, heron" in (run / "log.txt").read_text().splitlines()
    assert checkpoint.load_newest(run)[1]["class_names"] == NAMES


def test_they_stand_on_the_left_of_the_runs_grids(run):
    wide, high = Image.open(run / "fakes_000000.png").size
    assert high == 3 * 16 and wide > 4 * 16 + 20


@pytest.mark.parametrize("option", ["--class", "--classes"])
def test_a_class_is_drawn_by_its_name_or_number(run, tmp_path, option):
    def drawn(value: str) -> list[bytes]:
        out = tmp_path / value.replace(", ", "-")
        assert generate.main([str(run), "--images", "2", option, value, "--out", str(out)]) == 0
        return [path.read_bytes() for path in sorted(out.iterdir())]

    dogs = drawn("dog")
    assert dogs == drawn("1") != drawn("cat")
    assert drawn("cat, dog")[1] == dogs[1]


def test_an_unknown_class_is_refused_with_those_there_are(run, capsys):
    line = error_of(generate.main, [str(run), "--class", "cow"], capsys)
    assert line.endswith("classes: 'cow' is not one of the 3 classes of this generator, cat, dog, heron")


def test_names_stand_beside_the_rows_of_a_grid():
    picture = torch.full((3, 40, 30), 77, dtype=torch.uint8)
    named = with_row_names(picture, ["a", "a much longer name than that"])
    assert torch.equal(named[:, :, -30:], picture)
    margin = named[:, :, :-30]
    upper, lower = margin[:, :20], margin[:, 20:]
    assert 0 < (upper > 0).sum() < (lower > 0).sum()


def test_rows_have_names_where_each_is_of_a_class():
    assert row_names(4, [0, 2], NAMES) == ["cat", "heron", "cat", "heron"]
    assert row_names(2, [0, 1, 2], NAMES) == []  # the cells go through the classes
    assert row_names(4, [0, 1], []) == row_names(4, [], NAMES) == []


# metrics of classes


@pytest.fixture
def real(folder):
    return RealImages(load_images(str(folder), 16), 24)


def few(folder, count: int):
    return chosen(load_images(str(folder), 16), count, seed=5)


@pytest.fixture
def features(monkeypatch):
    """A network of features that says of an image its mean colours by rows, and calls everything a dog."""

    def compute(pixels):
        x = pixels.double() / 255
        return x.mean((1, 3)), torch.nn.functional.one_hot(torch.ones(len(x), dtype=torch.int64), 3).double()

    network = Features("rows", {"name": "rows", "weights": "0", "length": 16}, compute, CPU)
    monkeypatch.setattr(RealImages, "choose_features", lambda *_: network)
    monkeypatch.setattr(RealImages, "choose_classifier", lambda *_: network)
    monkeypatch.setattr("train.measure.real_side.cached", lambda kind, key, make: make())
    return network


def test_intra_fid_is_the_mean_distance_over_classes(folder, real, features):
    samples = few(folder, 20)
    planned = plan("intra-fid", real, 20, "", CPU, labels=samples.labels)
    result = Evaluator(planned, real).measure(samples)
    said = torch.cat([features.compute(batch)[0] for batch in samples.batches()])
    whole = torch.cat([features.compute(batch)[0] for batch in real.samples.batches()])
    by_class = [
        frechet_distance(whole[real.samples.labels == label], said[samples.labels == label]) for label in range(3)
    ]
    assert result["metrics"] == {"intra-fid[rows]": pytest.approx(fmean(by_class))}
    counts = samples.labels.bincount()
    assert result["least_of_a_class"] == {"generated": int(counts.min()), "real": 8}


def test_accuracy_is_the_part_that_the_classifier_names_rightly(folder, real, features):
    samples = few(folder, 20)
    result = Evaluator(plan("accuracy", real, 20, "", CPU, labels=samples.labels), real).measure(samples)
    assert result["metrics"] == {"accuracy[rows]": (samples.labels == 1).sum().item() / 20}
    assert result["classifier"]["name"] == "rows"


@pytest.mark.parametrize("metric", ["intra-fid", "accuracy"])
def test_they_are_refused_by_name_where_nothing_generated_has_a_class(folder, real, features, metric):
    with pytest.raises(ValueError, match=f"{metric} is of images of classes, and the generated ones have none"):
        plan(metric, real, 20, "", CPU)


def test_they_are_passed_over_where_all_is_asked_for(folder, real, features):
    planned = plan("auto", real, 20, "", CPU)
    assert not {"intra-fid", "accuracy"} & {*planned.names, *planned.left_out}


def test_a_class_with_one_image_is_named(folder, real, features):
    labels = torch.tensor([0, 0, 1, 2, 2])
    with pytest.raises(ValueError, match="at least 2 generated images of each class, and of class dog there are 1"):
        plan("intra-fid", real, 5, "", CPU, labels=labels)


def test_labels_that_a_generator_is_asked_for_are_as_frequent_as_in_the_data(real):
    counts = drawn_labels(real, 3000, 0).bincount()
    assert np.abs(counts.numpy() / 3000 - 1 / 3).max() < 0.05  # six standard deviations


def test_a_run_measures_them_on_its_way(folder, tmp_path, quick_measurements, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = {**TINY_DCGAN, "data": "digits", "data_size": 0, "condition": "acgan", "out": tmp_path / "run"}
    measuring = {"metrics": "intra-fid,accuracy", "metrics_images": 200, "metrics_every": "0"}
    assert run_program(lambda: dcgan.main(flags({**options, **measuring}))) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "stats.jsonl").read_text().splitlines()]
    (found,) = [line for line in lines if "evaluation" in line]
    label = "[digits-classifier-v1@16]"
    assert found["intra-fid" + label] > 0 and 0 <= found["accuracy" + label] <= 1


def test_a_run_without_classes_refuses_them(folder, tmp_path, capsys):
    options = {**TINY_DCGAN, "data": folder, "data_size": 0, "metrics": "accuracy", "out": tmp_path / "run"}
    line = error_of(dcgan.main, flags(options), capsys)
    assert line.endswith("accuracy is of images of classes, and the generated ones have none")


# walks through codes


@pytest.fixture(scope="module")
def coded(folder):
    """An InfoGAN."""
    out = folder.parent / "coded"
    codes = {"condition": "infogan", "categorical": "3", "continuous": 2}
    assert run_program(lambda: dcgan.main(flags({**TINY_DCGAN, **codes, "out": out}))) == 0
    return out


@pytest.mark.parametrize("code", [1, 2, 3])
def test_a_code_is_walked(coded, tmp_path, code):
    out = tmp_path / "walk.png"
    assert generate.main([str(coded), "--codes", str(code), "--grid", "3x5", "--out", str(out)]) == 0
    assert Image.open(out).size == (5 * 16, 3 * 16)


def test_rows_have_the_categories_and_columns_the_rest():
    z = torch.randn(8, 9, generator=torch.Generator().manual_seed(0))
    walk = code_walk(Codes((3,), 2), 1, z, columns=2)
    assert walk[:, 4:7].argmax(1).tolist() == [0, 0, 1, 1, 2, 2, 0, 0]
    assert torch.equal(walk[:2, :4].repeat(4, 1), walk[:, :4]) and torch.equal(
        walk[0::2, 7:].unique(dim=0), walk[:1, 7:]
    )


def test_a_number_goes_from_minus_2_to_2_along_each_row():
    z = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    walk = code_walk(Codes((3,), 2), 3, z, columns=3)
    assert walk[:, 8].tolist() == [-2, 0, 2, -2, 0, 2]
    assert torch.equal(walk[:3, :8], walk[:1, :8].expand(3, -1)) and walk[::3, 4:7].argmax(1).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--codes", "4"], "codes=4: there are codes 1 to 3"),
        (["--codes", "1", "--images", "3"], "--codes makes a grid"),
        (["--codes", "1", "--interpolate", "2x3"], "--codes makes a grid"),
    ],
)
def test_what_cannot_be_walked(coded, capsys, options, reason):
    assert reason in error_of(generate.main, [str(coded), *options], capsys)


def test_a_network_without_codes_has_none_to_walk(run, capsys):
    assert error_of(generate.main, [str(run), "--codes", "1"], capsys).endswith("codes=1: latents have no codes")
