"""What can be measured is measured; the rest is left out with the reason, or refused where it was asked for."""

import json

import pytest
import torch

from train import evaluate, pggan
from train.base.errors import NotMeasurable, run_program
from train.data import ImageSet, load_images
from train.measure import classifier
from train.measure.classifier import trained_classifier

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture
def unlabelled(digits_folder):
    """A folder of 30 digits."""
    return digits_folder(0, 30)


def test_without_labels_the_default_is_what_needs_none(unlabelled, measured):
    result = measured("digits", "--data", unlabelled)
    assert list(result["metrics"]) == ["swd", "swd_16", "msssim"]
    assert list(result["left_out"]) == ["is", "fid", "kid", "pr", "birthday"]
    assert "digits has no labels (all images are in one folder) to train a classifier on" in result["left_out"]["fid"]


def test_with_few_images_the_default_is_all_but_kid(measured):
    result = measured("digits", "--data", "digits", "--resolution", "16", "--images", "60")
    assert [name.split("[")[0] for name in result["metrics"]][2:5] == ["msssim", "is", "fid"]
    assert list(result["left_out"]) == ["kid"]
    assert "generated images, but there are 60: a smaller --kid-subset, such as 30" in result["left_out"]["kid"]


def test_small_images_have_metrics_of_features_alone(measured):
    result = measured("digits", "--data", "digits", "--resolution", "8", "--images", "60", "--kid-subset", "30")
    assert {name.split("[")[0] for name in result["metrics"]} == {
        "is", "fid", "kid", "precision", "recall", "density", "coverage", "birthday", "intra-fid", "accuracy"
    }  # fmt: skip
    assert result["left_out"]["swd"] == "swd needs images of at least 16x16, not 8x8"


def test_a_smaller_kid_subset_is_part_of_the_result(measured):
    options = ("digits", "--data", "digits", "--resolution", "16", "--images", "60", "--metrics", "kid")
    result = measured(*options, "--kid-subset", "30")
    assert (result["kid_subset"], result["kid_subsets"]) == (30, 5)
    assert result["left_out"] == {}
    assert len(result["deviations"]) == 1


def test_subsets_of_all_images_have_no_deviation(measured):
    options = ("digits", "--data", "digits", "--resolution", "16", "--images", "60", "--metrics", "kid")
    assert measured(*options, "--kid-subset", "60")["deviations"] == {}


def test_the_table_says_a_reason_once_for_all_that_it_keeps_from_being_measured(unlabelled, capsys):
    assert evaluate.main(["digits", "--data", unlabelled, "--kid-subset", "5"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left out")]
    assert line.startswith("left out: no features for is, fid, kid, pr, birthday: digits has no labels")


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("swd,fid", "no features for fid: digits has no labels"),
        ("kid", "kid needs at least 1000 real images, but there are 30"),
        ("swd,msssim,is,fid,kid,pr", "kid needs at least 1000 real images, but there are 30"),
    ],
)
def test_what_is_asked_for_by_name_is_refused_instead(unlabelled, fails, metrics, message):
    assert message in fails("digits", "--data", unlabelled, "--metrics", metrics)


def test_nothing_at_all_to_measure_is_an_error(unlabelled, fails):
    message = fails("digits", "--data", unlabelled, "--resolution", "8")
    assert message.startswith("error: nothing can be measured: swd needs images of at least 16x16")
    assert "digits has no labels" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--inception-weights", "nowhere.pth"), "nowhere.pth cannot be used"),
        (("--kid-subset", "1"), "error: kid_subset=1 is less than 2"),
    ],
)
def test_by_default_a_mistake_is_still_a_mistake(fails, options, message):
    assert message in fails("digits", "--data", "digits", *options)


def test_a_run_measures_what_it_can_and_says_what_it_cannot(tiny_options, unlabelled, tmp_path):
    options = tiny_options(out=tmp_path / "run", data=unlabelled, data_size=None, metrics="auto", metrics_images=20)
    assert run_program(lambda: pggan.main([*options, "--resolution", "16", "--kimg", "0.008"])) == 0
    log = (tmp_path / "run" / "log.txt").read_text().splitlines()
    assert "labels: none (all images are in one folder)" in log
    assert len([line for line in log if line.startswith("left out: ")]) == 2  # features; kid, for the number of images
    stats = [json.loads(line) for line in (tmp_path / "run" / "stats.jsonl").read_text().splitlines()]
    (line,) = [line for line in stats if "evaluation" in line]
    assert "swd" in line and list(line["evaluation"]["left_out"]) == ["is", "fid", "kid", "pr", "birthday"]


# Classifiers that cannot classify


def labelled(labels: torch.Tensor, name: str = "pictures") -> ImageSet:
    return ImageSet.from_images(load_images("digits", 8).level(8), name=name, labels=labels)


def test_a_classifier_at_chance_is_refused_with_both_numbers():
    random = torch.Generator().manual_seed(0)
    images = labelled(torch.randint(10, (1797,), generator=random))
    message = r"pictures-classifier-v1@8 classifies [0-9.]+% of 180 held-out images correctly, hardly more than the"
    with pytest.raises(NotMeasurable, match=message + r" [0-9.]+% .* --inception-weights$"):
        trained_classifier(images)


def test_one_that_always_names_a_frequent_class_is_refused():
    random = torch.Generator().manual_seed(0)
    rare = torch.rand(1797, generator=random) < 0.05
    with pytest.raises(NotMeasurable, match=r"9[0-9]\.[0-9]% of 180 .* hardly more than the 9[0-9]\.[0-9]%"):
        trained_classifier(labelled(rare.long()))


def test_one_that_tells_a_rare_class_is_not():
    digits = load_images("digits", 8)
    assert trained_classifier(labelled((digits.labels == 0).long()))[1]["accuracy"] > 0.97  # a tenth are zeros


def test_one_class_is_refused_before_training(monkeypatch):
    monkeypatch.setattr(classifier, "_train", lambda *_: pytest.fail("trained"))
    with pytest.raises(NotMeasurable, match="the 180 images to test pictures-classifier-v1@8 on are all of one class"):
        trained_classifier(labelled(torch.zeros(1797, dtype=torch.int64)))
