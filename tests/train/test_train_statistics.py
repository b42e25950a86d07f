"""Statistics of real images in a file, in place of the images."""

import json

import numpy as np
import pytest
import torch

from train import evaluate, pggan
from train.data import load_images
from train.measure import features
from train.measure.evaluator import versions
from train.measure.features import choose_features
from train.measure.real_side import RealImages
from train.measure.stored_statistics import save_statistics

AT = ("--resolution", "16")
FEW = ("--images", "60", "--kid-subset", "20")
METRICS = ("--metrics", "is,fid,kid,pr,birthday")


@pytest.fixture(autouse=True)
def six_features(shared_cache, monkeypatch):
    """Of Inception's stand-in."""
    monkeypatch.setattr(features, "LENGTH", 6)


@pytest.fixture
def stored(shared):
    """A file of statistics of 60 digits at 16x16, by the digits' classifier."""
    path = shared / "digits.npz"
    if not path.exists():
        images = load_images("digits", 16)
        network = choose_features(images, "", torch.device("cpu"))
        save_statistics(path, RealImages(images, 60), network, versions())
    return path


@pytest.fixture
def folder(digits_folder):
    """Digits as files, 70 of them that are not among the first."""
    return digits_folder(500, 570)


class Inception:
    """Stands for the real one: six features and three logits."""

    name, digest = "inception-2015-12-05", "0123abcd"

    def __init__(self, path, device):
        pass

    def __call__(self, images):
        parts = torch.nn.functional.adaptive_avg_pool2d(images.float().mean(1) / 255, (3, 2)).flatten(1)
        return parts, parts[:, :3]


@pytest.fixture
def inception(monkeypatch):
    """Options that name weights."""
    monkeypatch.setattr("gan_ops.metrics.inception.Inception", Inception)
    return ("--inception-weights", "weights.pth")


def changed(path, to, **arrays):
    """A copy of a file with other arrays; None leaves one out."""
    with np.load(path) as archive:
        content = {**archive, **arrays}
    np.savez(to, **{name: array for name, array in content.items() if array is not None})
    return str(to)


def about(path, **changes):
    with np.load(path) as archive:
        return np.array(json.dumps({**json.loads(str(archive["about"])), **changes}))


def test_stored_statistics_give_what_the_images_give(folder, measured, tmp_path):
    path = str(tmp_path / "stats.npz")
    there = measured(folder, "--data", "digits", *AT, *FEW, *METRICS, "--save-stats", path)
    here = measured(folder, "--stats", path, *FEW, *METRICS)
    assert here["metrics"] == pytest.approx(there["metrics"], rel=1e-6)
    assert here["deviations"] == pytest.approx(there["deviations"], rel=1e-6)
    assert (here["data"], here["real"], here["resolution"], here["stats"]) == ("digits", 60, 16, path)
    assert here["features"] == there["features"]


def test_neither_the_data_nor_a_classifier_is_needed_with_them(folder, stored, measured, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("train.measure.classifier._train", lambda *_: pytest.fail("trained"))
    assert "fid[digits-classifier-v1@16]" in measured(folder, "--stats", str(stored), *FEW)["metrics"]


def test_swd_is_left_out_or_refused_with_them(folder, stored, measured, fails):
    result = measured(folder, "--stats", str(stored), *FEW)
    assert list(result["left_out"]) == ["swd"] and "msssim" in result["metrics"]
    message = fails(folder, "--stats", str(stored), *FEW, "--metrics", "swd")
    assert f"swd compares images, and {stored} holds only statistics of them" in message


def test_classes_are_compared_with_them(measured, fails, tmp_path):
    path = str(tmp_path / "stats.npz")
    labelled = ("digits", "--images", "100", "--metrics", "intra-fid,accuracy")
    there = measured(*labelled, "--data", "digits", *AT, "--save-stats", path)
    here = measured(*labelled, "--stats", path)
    assert here["metrics"] == pytest.approx(there["metrics"], rel=1e-6) and len(here["metrics"]) == 2
    older = changed(path, tmp_path / "older.npz", classes=None)
    assert "intra-fid needs the class of each real image" in fails(*labelled, "--stats", older)


def test_a_run_with_labels_draws_them_from_the_file(tiny_options, stored, measured, tmp_path, monkeypatch):
    run = tmp_path / "run"
    options = tiny_options(out=run, data="digits", data_size=None, resolution=16, kimg=0.008, condition="cgan")
    assert pggan.main(options) == 0
    there = measured(str(run), *FEW, "--metrics", "fid")
    monkeypatch.setattr("train.run.lists.load_images", lambda *_, **__: pytest.fail("the data was loaded"))
    here = measured(str(run), "--stats", str(stored), *FEW, "--metrics", "fid")
    assert here["metrics"] == pytest.approx(there["metrics"], rel=1e-6)


def test_images_can_be_compared_with_pytorch_fids_files(folder, inception, measured, tmp_path):
    ours, theirs = str(tmp_path / "ours.npz"), str(tmp_path / "theirs.npz")
    exact = measured(folder, "--data", "digits", *AT, *FEW, "--metrics", "fid", "--save-stats", ours, *inception)
    with np.load(ours) as archive:
        np.savez_compressed(theirs, mu=archive["mu"], sigma=archive["sigma"])  # as pytorch-fid --save-stats does
    result = measured(folder, "--stats", theirs, *FEW, *inception)
    assert result["metrics"]["fid"] == pytest.approx(exact["metrics"]["fid"], rel=1e-6)
    assert list(result["left_out"]) == ["swd", "kid", "pr", "birthday"]
    assert result["left_out"]["kid"] == f"kid needs the features themselves, and {theirs} holds only mu and sigma"
    assert (result["real"], result["stats_network"]) == (None, None)


def test_the_table_says_that_a_file_names_no_network(folder, inception, tmp_path, capsys):
    np.savez(tmp_path / "theirs.npz", mu=np.zeros(6), sigma=np.eye(6))
    assert evaluate.main([folder, "--stats", str(tmp_path / "theirs.npz"), *FEW, *inception]) == 0
    text = capsys.readouterr().out
    assert "60 generated and an unknown number of real images" in text
    assert "theirs.npz, which names no network: taken to be of the one below" in text


def test_features_of_another_network_are_refused_by_name(folder, stored, inception, fails, tmp_path, monkeypatch):
    message = fails(folder, "--stats", str(stored), *FEW, *inception)
    assert "features of digits-classifier-v1@16 (weights " in message
    assert "they cannot be compared with those of inception-2015-12-05 (weights 0123abcd)" in message
    ours = str(tmp_path / "ours.npz")
    assert evaluate.main([folder, "--data", "digits", *AT, *FEW, "--save-stats", ours, *inception]) == 0
    monkeypatch.setattr(Inception, "digest", "4567cdef")
    assert "of inception-2015-12-05 (weights 0123abcd): they cannot be compared" in fails(
        folder, "--stats", ours, *FEW, *inception
    )


def test_another_number_of_features_is_refused(folder, inception, fails, tmp_path):
    np.savez(tmp_path / "theirs.npz", mu=np.zeros(4), sigma=np.eye(4))
    message = fails(folder, "--stats", str(tmp_path / "theirs.npz"), *FEW, *inception)
    assert "holds 4 features per image, and inception-2015-12-05 has 6" in message


def test_a_file_that_a_classifier_in_it_cannot_have_made_is_refused(folder, stored, fails, tmp_path):
    other = {"mu": np.zeros(4), "sigma": np.eye(4), "features": np.zeros((60, 4), np.float32)}
    message = fails(folder, "--stats", changed(stored, tmp_path / "file.npz", **other), *FEW)
    assert "holds 4 features per image, and digits-classifier-v1@16 has 128" in message


def test_the_network_has_to_be_named_where_the_file_holds_none(folder, fails, measured, tmp_path):
    np.savez(tmp_path / "theirs.npz", mu=np.zeros(6), sigma=np.eye(6))
    options = (folder, "--stats", str(tmp_path / "theirs.npz"), *FEW)
    reason = "holds features of Inception, by all appearances: name its weights with --inception-weights"
    assert reason in fails(*options, "--metrics", "fid")
    result = measured(*options, "--resolution", "16")
    assert list(result["metrics"]) == ["msssim"] and reason in result["left_out"]["fid"]


def test_images_of_another_size_are_refused(folder, stored, fails):
    message = fails(folder, "--stats", str(stored), *FEW, "--resolution", "8")
    assert "is of images at 16x16, not 8x8: compare with --resolution 16" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "digits"), "so --data cannot be given"),
        (("--reals", "9"), "so --reals cannot be given"),
        (("--save-stats", "new.npz"), "so --save-stats cannot be given"),
    ],
)
def test_what_stats_are_in_place_of_cannot_be_given_beside_them(folder, stored, fails, options, message):
    assert message in fails(folder, "--stats", str(stored), *options)


def test_a_file_that_is_there_is_not_written_over(folder, stored, fails, tmp_path):
    before = stored.read_bytes()
    options = (folder, "--data", "digits", *AT, *FEW)
    assert f"--save-stats {stored} exists already" in fails(*options, "--save-stats", str(stored))
    assert "there is no folder" in fails(*options, "--save-stats", str(tmp_path / "none" / "a.npz"))
    assert stored.read_bytes() == before


def test_statistics_of_data_without_a_network_are_refused_before_anything_is_measured(folder, fails, tmp_path):
    options = ("digits", "--data", folder, *AT, *FEW, "--metrics", "swd", "--save-stats", str(tmp_path / "a.npz"))
    assert "--save-stats has no features to store: digits has no labels" in fails(*options)
    assert not (tmp_path / "a.npz").exists()


class Trap:
    """Pickled, it writes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_nothing_in_a_file_is_executed(folder, fails, tmp_path):
    trap = np.array([Trap(tmp_path / "sprung")], dtype=object)
    np.savez(tmp_path / "trap.npz", mu=trap, sigma=trap)
    assert "trap.npz cannot be read: Object arrays cannot be loaded" in fails(
        folder, "--stats", str(tmp_path / "trap.npz"), *AT
    )
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "is not an .npz file"),
        (b"<html>404</html>", "is not an .npz file"),
        ({"fid": np.zeros(3)}, "holds no mu: it holds fid"),
        ({"mu": np.zeros(6)}, "holds no sigma"),
        ({"mu": np.zeros((2, 3)), "sigma": np.eye(6)}, "mu has the shape [2, 3]"),
        ({"mu": np.zeros(6), "sigma": np.eye(5)}, "sigma has the shape [5, 5]"),
        ({"mu": np.full(6, np.nan), "sigma": np.eye(6)}, "mu has values that are not finite"),
        ({"mu": np.array(list("abcdef")), "sigma": np.eye(6)}, "mu has the shape [6] and the type <U1"),
        ({"mu": np.zeros(6), "sigma": np.eye(6), "about": np.array("{")}, "is damaged"),
        ({"mu": np.zeros(6), "sigma": np.eye(6), "about": np.array("{}")}, "is damaged"),
        ({"mu": np.zeros(6), "sigma": np.eye(6), "about": np.array("[]")}, "is damaged"),
    ],
)
def test_a_file_of_something_else_is_one_line(folder, fails, tmp_path, content, message):
    path = tmp_path / "file.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        np.savez(path, **content)
    assert message in fails(folder, "--stats", str(path), *AT)


@pytest.mark.parametrize(
    "changes",
    [
        {"features": np.zeros((60, 3), np.float32)},
        {"features": None},
        {"classes": np.zeros(3, dtype=np.int64)},
        {"labels": None},
        {"labels": np.full(9, 77)},
        {"classifier/head.bias": None},
        {"classifier/head.bias": np.zeros(3, np.float32)},
        {"classifier/head.bias": np.zeros(10, np.float32)},
        {"classifier/scale": np.array("x")},
    ],
)
def test_a_damaged_file_of_ours_is_one_line(folder, stored, fails, tmp_path, changes):
    path = changed(stored, tmp_path / "file.npz", **changes)
    assert "is damaged" in fails(folder, "--stats", path, *FEW, "--metrics", "fid")


@pytest.mark.parametrize(
    "changes",
    [
        {"count": 3},
        {"count": "x"},
        {"count": float("inf")},
        {"network": None},
        {"network": {}},
        {"channels": 3},
        {"resolution": None},
    ],
)
def test_a_damaged_description_is_one_line(folder, stored, fails, tmp_path, changes):
    path = changed(stored, tmp_path / "file.npz", about=about(stored, **changes))
    assert "is damaged" in fails(folder, "--stats", path, *FEW, "--metrics", "fid")
