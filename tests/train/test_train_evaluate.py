"""Generators, folders and zip files against real images, and runs that are measured on their way."""

import json
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from train import evaluate
from train.measure import classifier
from train.measure.metric_names import better, is_lower_better, parse_metrics, qualified
from train.measure.pictures import save_png
from train.run import checkpoint

from .runs import assert_same, newest, train

FEW = ("--images", "60")
LABEL = "[digits-classifier-v1@16]"  # of the folder's images
LABEL_AT_32 = "[digits-classifier-v1]"  # of the set at the default resolution

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture
def folder(digits_folder):
    """Digits as files, the first 70 of them."""
    return digits_folder(0, 70)


@pytest.fixture
def noise(shared):
    path = shared / "noise"
    if not path.exists():
        path.mkdir()
        random = torch.Generator().manual_seed(0)
        for i in range(70):
            save_png(path / f"{i:03d}.png", torch.randint(256, (1, 16, 16), generator=random).to(torch.uint8))
    return str(path)


RUN = {"resolution": 16, "data": "digits", "data_size": None, "kimg": 0.04, "condition": "cgan"}


@pytest.fixture
def run(shared_run):
    """A run on digits that has come to 8x8 of 16x16."""
    return str(shared_run("run", **RUN))


def test_a_result_says_what_it_was_measured_with(folder, measured):
    result = measured(folder, "--data", "digits", *FEW, "--metrics", "swd,msssim,is,fid,pr", "--seed", "3")
    parts = ("is", "fid", "precision", "recall", "density", "coverage")
    assert list(result["metrics"]) == ["swd", "swd_16", "msssim", *(part + LABEL for part in parts)]
    assert (result["generated"], result["real"], result["seed"], result["resolution"]) == (60, 60, 3, 16)
    assert result["features"]["name"] == "digits-classifier-v1@16" and result["features"]["length"] == 128
    assert result["versions"]["torch"] == torch.__version__ and "gan_ops" in result["versions"]
    assert (result["msssim_pairs"], result["msssim_scales"], result["swd_images"]) == (30, 1, 60)
    assert list(result["deviations"]) == ["is" + LABEL]


def test_kid_has_a_deviation(measured):
    result = measured("digits", "--data", "digits", "--images", "1001", "--metrics", "kid")
    assert list(result["metrics"]) == list(result["deviations"]) == ["kid" + LABEL_AT_32]


def test_noise_is_further_from_digits_than_digits_are(folder, noise, measured):
    options = ("--data", "digits", *FEW, "--metrics", "swd,is,fid,pr")
    near, far = (measured(source, *options)["metrics"] for source in (folder, noise))
    del near["precision" + LABEL]  # of so few images: a ball around an outlier is wide enough for noise
    for name in near:
        assert (near[name] < far[name]) == is_lower_better(name), name


def test_repeated_images_are_found_out_and_shown(folder, tmp_path, measured):
    few = tmp_path / "few"
    few.mkdir()
    for i in range(60):  # six images, ten times each
        (few / f"{i:03d}.png").write_bytes(sorted(Path(folder).iterdir())[i % 6].read_bytes())
    shown = tmp_path / "pairs.png"
    result = measured(str(few), "--data", "digits", *FEW, "--metrics", "birthday", "--pairs", str(shown))
    found = result["birthday"]
    assert found["pairs"] >= 6 * 45  # 45 pairs among ten
    assert result["metrics"]["birthday" + LABEL] == 60 * 59 / 2 / found["pairs"] <= 6.6 < found["real_support"]
    assert len(found["closest"]) == 6  # all others are nearest to one in these
    with Image.open(shown) as picture:
        assert picture.size == (6 * 16, 2 * 16)
        upper, lower = (picture.crop((0, top, 6 * 16, top + 16)).tobytes() for top in (0, 16))
    assert upper == lower  # each above its equal


def test_pairs_are_of_birthday(folder, fails, tmp_path):
    given = (folder, "--data", "digits", *FEW, "--pairs")
    message = fails(*given, str(tmp_path / "pairs.png"), "--metrics", "swd")
    assert message.endswith("--pairs shows what birthday finds, which is not measured: see --metrics")
    assert "there is no folder" in fails(*given, str(tmp_path / "nowhere" / "pairs.png"))


def test_the_same_images_are_at_no_distance(folder, measured):
    result = measured(folder, "--data", folder, "--images", "70", "--metrics", "swd")
    assert result["metrics"]["swd"] > 0  # other patches of the same images
    result = measured("digits", "--data", "digits", "--images", "2000", "--metrics", "fid,pr,birthday")
    assert result["metrics"]["fid" + LABEL_AT_32] == pytest.approx(0, abs=1e-5)
    assert result["metrics"]["precision" + LABEL_AT_32] == 1
    assert result["birthday"]["pairs"] == result["birthday"]["real_pairs"] > 0


def test_a_zip_file_is_as_good_as_its_folder(folder, noise, tmp_path, measured):
    with zipfile.ZipFile(tmp_path / "digits.zip", "w") as archive:
        for i in range(70):
            archive.write(f"{folder}/{i:03d}.png", f"{i:03d}.png")
    options = ("--data", noise, *FEW, "--metrics", "swd,msssim")
    zipped, plain = (measured(source, *options) for source in (str(tmp_path / "digits.zip"), folder))
    assert zipped["metrics"] == plain["metrics"]


def test_a_run_is_compared_with_its_own_data_at_its_full_size(run, measured):
    result = measured(run, *FEW, "--metrics", "msssim,fid")
    assert result["data"] == "digits" and result["source"] == f"{run}/checkpoint_000000040.pt"
    assert (result["resolution"], result["enlarged_from"]) == (16, 8)
    assert measured(result["source"], *FEW, "--metrics", "msssim,fid") == result
    other = measured(run, *FEW, "--metrics", "fid", "--no-ema")
    assert other["metrics"]["fid" + LABEL] != result["metrics"]["fid" + LABEL]


def test_a_set_of_too_few_real_images_limits_both_sides_of_swd(folder, measured):
    result = measured("digits", "--data", folder, "--images", "90", "--metrics", "swd")
    assert (result["generated"], result["real"], result["swd_images"]) == (90, 70, 70)


def test_without_labels_feature_metrics_are_refused_and_the_others_work(folder, noise, measured, fails):
    message = fails(noise, "--data", folder, *FEW, "--metrics", "swd,fid")
    assert "--inception-weights or GAN_OPS_INCEPTION" in message and "labelled data" in message
    assert set(measured(noise, "--data", folder, *FEW, "--metrics", "swd,msssim")["metrics"]) >= {"swd"}


def test_features_of_real_images_are_computed_once_for_each_content(folder, noise, monkeypatch, measured):
    measured(folder, "--data", "digits", *FEW, "--metrics", "is")  # trains the classifier if no other test has
    seen = []
    compute = classifier.Classifier.forward
    monkeypatch.setattr(classifier.Classifier, "forward", lambda self, x: seen.append(len(x)) or compute(self, x))

    def images_seen(*options: str) -> int:
        seen.clear()
        measured(folder, "--data", "digits", "--metrics", "fid", "--seed", "9", *options)
        return sum(seen)

    assert [images_seen("--images", "50"), images_seen("--images", "50")] == [100, 50]
    assert images_seen("--images", "50", "--reals", "51") == 101


def test_grey_images_can_be_compared_with_colour_but_not_the_reverse(folder, tmp_path, measured, fails):
    for i in range(4):
        Image.new("RGB", (16, 16), (i, 9, 80)).save(tmp_path / f"{i}.png")
    assert measured(folder, "--data", str(tmp_path), *FEW, "--metrics", "swd")["real"] == 4
    assert "is in colour, and digits is grey" in fails(str(tmp_path), "--data", folder, "--metrics", "swd")


def test_a_table_for_people(run, capsys):
    capsys.readouterr()
    assert evaluate.main([run, *FEW, "--metrics", "msssim,is"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("checkpoint_000000040.pt against digits at 16x16")
    assert lines[1:4] == [
        "60 generated and 60 real images, seed 0",
        "labels of the real images: 10 classes (the data set's own)",
        "enlarged from 8x8",
    ]
    assert "±" in lines[-1] and lines[-1].startswith("is" + LABEL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metrics", "fid,kod"], "metrics: 'kod' is not one of swd, msssim, is, fid, kid, pr, birthday"),
        (["--metrics", ""], "name at least one of"),
        (["--images", "500", "--metrics", "swd,kid"], "kid needs at least 1000 generated images, but there are 500"),
        (["--images", "1000", "--reals", "999", "--metrics", "kid"], "kid needs at least 1000 real images, but there"),
        (["--images", "0"], "images=0 is too few"),
        (["--resolution", "8", *FEW, "--metrics", "swd"], "swd needs images of at least 16x16, not 8x8"),
        (["--resolution", "4", *FEW, "--metrics", "is"], "draws 8x8, more than resolution=4"),
        (["--imges", "3"], "did you mean --images?"),
    ],
)
def test_what_cannot_be_done_is_one_line(run, options, message, fails):
    assert message in fails(run, *options)


def test_images_need_something_to_be_compared_with_at_some_size(folder, tmp_path, fails):
    assert "name the images to compare it with in --data" in fails(folder)
    Image.new("L", (20, 30)).save(tmp_path / "a.png")
    assert "give the size to compare at with --resolution" in fails(str(tmp_path), "--data", "digits")
    assert "nothing-of-the-kind: no such folder or zip file" in fails("nothing-of-the-kind", "--data", "digits")


# While training


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]


MEASURED = {**RUN, "metrics": "msssim,fid", "metrics_images": 20, "metrics_every": "0.016"}


def test_a_run_that_is_measured_is_the_run_that_is_not(run, tiny_options, tmp_path):
    assert train(*tiny_options(out=tmp_path / "run", **MEASURED)) == 0
    assert_same(newest(Path(run))["trainer"], newest(tmp_path / "run")["trainer"])


def test_metrics_on_the_way_are_those_of_evaluate(tiny_options, tmp_path, measured):
    assert train(*tiny_options(out=tmp_path, **{**MEASURED, "seed": 5})) == 0
    found = [line for line in lines(tmp_path) if "evaluation" in line]
    assert [line["images"] for line in found] == [16, 32, 40]
    result = measured(str(tmp_path), "--images", "20", "--metrics", "msssim,fid")
    assert {name: found[-1][name] for name in result["metrics"]} == result["metrics"]
    for name in ("generated", "real", "enlarged_from", "features", "seed", "versions"):
        assert found[-1]["evaluation"][name] == result[name]


def scripted(monkeypatch, values: list[float], name: str = "fid[x]"):
    """A run's evaluations give these values, one after another."""
    remaining = iter(values)

    def evaluation(generator):
        return {"metrics": {name: next(remaining), "msssim": 0.5}, "deviations": {}, "generated": 1, "real": 1}

    monkeypatch.setattr("train.run.session.follow", lambda *_: (evaluation, []))


def names(folder) -> list[int]:
    """The images of the checkpoints that are there."""
    return [int(path.stem.split("_")[1]) for path in checkpoint.checkpoints(folder)]


SCRIPTED = {"metrics": "fid", "metrics_every": "0.008", "checkpoint_kimg": "0.016", "keep": 1}


@pytest.mark.parametrize(("metric", "best"), [("fid[x]", 16), ("is[x]", 32)])
def test_the_best_checkpoint_stays_and_is_reported(tiny_options, tmp_path, monkeypatch, capsys, metric, best):
    scripted(monkeypatch, [3, 1, 2, 4, float("nan"), 1.5], metric)
    assert train(*tiny_options(out=tmp_path, **SCRIPTED)) == 0
    assert names(tmp_path) == [best, 48]
    text = capsys.readouterr().out
    value = {16: 1, 32: 4}[best]
    assert f"best {metric} {value} at {best / 1000:g} kimg, in checkpoint_{best:09d}.pt; last 1.5" in text
    assert [line[metric] for line in lines(tmp_path) if "evaluation" in line] == [3, 1, 2, 4, None, 1.5]


def test_a_resumed_run_remembers_its_best(tiny_options, tmp_path, monkeypatch):
    scripted(monkeypatch, [3, 1, 2, 4])
    assert train(*tiny_options(out=tmp_path, **SCRIPTED, kimg=0.032)) == 0
    scripted(monkeypatch, [2, 5, 6])
    assert train("--resume", str(tmp_path), "--kimg", "0.048") == 0
    assert names(tmp_path) == [16, 48]


def test_an_evaluation_missing_at_the_end_is_made_up_for_once(tiny_options, tmp_path, monkeypatch, capsys):
    def failing(generator):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("train.run.session.follow", lambda *_: (failing, []))
    assert train(*tiny_options(out=tmp_path, metrics="fid", metrics_every="0")) == 1
    scripted(monkeypatch, [3])
    for _ in range(2):
        assert train("--resume", str(tmp_path)) == 0
    (line,) = [line for line in lines(tmp_path) if "evaluation" in line]
    assert (line["images"], line["fid[x]"]) == (48, 3)
    assert newest(tmp_path)["best"] == {"metric": "fid[x]", "value": 3, "images": 48}
    assert "nothing left to do" in capsys.readouterr().out


def test_another_leading_metric_starts_a_new_best(tiny_options, tmp_path, monkeypatch):
    scripted(monkeypatch, [3, 1, 2, 4])
    assert train(*tiny_options(out=tmp_path, **SCRIPTED, kimg=0.032)) == 0
    scripted(monkeypatch, [10, 20], "swd")
    assert train("--resume", str(tmp_path), "--kimg", "0.048", "--metrics", "swd") == 0
    assert names(tmp_path) == [40, 48]


def test_tensorboard_gets_the_metrics(tiny_options, tmp_path, monkeypatch):
    seen = {}

    class Writer:
        def __init__(self, *_, **__):
            pass

        def add_scalar(self, name, value, images):
            seen.setdefault(name, []).append(value)

        def add_image(self, *_):
            pass

        close = add_image

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", Writer)
    scripted(monkeypatch, [3, 1, 2, 4, 5, 6])
    assert train(*tiny_options(out=tmp_path, **{**SCRIPTED, "tensorboard": True})) == 0
    assert seen["fid/x"] == [3, 1, 2, 4, 5, 6]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": "fod"}, "metrics: 'fod' is not one of"),
        ({"metrics": "fid", "metrics_every": "x"}, "metrics_every: 'x'"),
        ({"metrics": "kid", "metrics_images": 20}, "kid needs at least 1000 generated images, but there are 20"),
    ],
)
def test_a_run_that_could_not_be_measured_does_not_begin(tiny_options, tmp_path, capsys, options, message):
    assert train(*tiny_options(out=tmp_path / "run", **options)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_names_of_results():
    assert parse_metrics("fid, swd,fid") == ("fid", "swd")
    assert qualified("fid", None) == "fid" and qualified("fid", "x-v1") == "fid[x-v1]"
    assert [is_lower_better(name) for name in ("swd_32", "msssim", "kid[x]", "is[x]", "recall[x]")] == [1, 1, 1, 0, 0]
    assert better("is", [1, 3, 2], key=float) == 3 and better("fid[is]", [2, 1, 3], key=float) == 1
