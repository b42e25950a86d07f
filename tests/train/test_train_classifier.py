"""The small classifier whose features stand in for Inception's."""

import pytest
import torch

from train.base.errors import UsageError
from train.data import ImageSet, load_images
from train.measure import classifier
from train.measure.cached import cached
from train.measure.classifier import Classifier, trained_classifier
from train.measure.features import choose_features, inception_features

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Few steps, and a cache of its own for each test."""
    monkeypatch.setattr(classifier, "STEPS", 60)
    monkeypatch.setattr(classifier, "BATCH", 50)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GAN_OPS_INCEPTION", raising=False)


@pytest.fixture
def digits() -> ImageSet:
    return load_images("digits", 8)


def test_it_learns_the_classes(digits):
    _, description = trained_classifier(digits)
    assert description["name"] == "digits-classifier-v1@8"
    assert description["held_out"] == 180
    assert description["accuracy"] > 0.8  # chance is 0.1


def test_it_is_trained_once(digits, capsys):
    first, second = trained_classifier(digits), trained_classifier(digits)
    assert capsys.readouterr().err.count("training digits-classifier-v1@8") == 1
    assert first[1] == second[1]


def test_it_is_the_same_whenever_trained(digits, monkeypatch, tmp_path):
    first = trained_classifier(digits)[1]
    torch.manual_seed(5)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert trained_classifier(digits)[1] == first


@pytest.mark.parametrize("change", ["pixels", "labels"])
def test_another_set_has_another_classifier(digits, change):
    images = digits.level(8).clone()
    labels = digits.labels.clone()
    (images if change == "pixels" else labels)[0] = 3
    other = ImageSet.from_images(images, name="digits", labels=labels)
    assert trained_classifier(other)[1]["weights"] != trained_classifier(digits)[1]["weights"]


def test_training_it_leaves_the_random_state_alone(digits):
    torch.manual_seed(1)
    expected = torch.randn(3)
    torch.manual_seed(1)
    trained_classifier(digits)
    assert torch.equal(torch.randn(3), expected)


def test_features_of_real_images_have_mean_square_one(digits):
    features = choose_features(digits, "", CPU)
    found, logits = features.compute(digits.level(8))
    assert found.shape == (1797, 128) and logits.shape == (1797, 10)
    assert found.square().mean().item() == pytest.approx(1, rel=0.1)  # the scale comes from the held-out ones
    assert features.label == features.description["name"]


def test_large_images_are_seen_at_a_smaller_size(monkeypatch):
    monkeypatch.setattr(classifier, "LARGEST", 8)
    features = choose_features(load_images("digits", 16), "", CPU)
    assert features.description["input_size"] == 8
    large = load_images("digits", 16).level(16)[:5]
    assert features.compute(large)[0].shape == (5, 128)


@pytest.mark.parametrize("resolution", [4, 8, 16, 32])
def test_all_resolutions_work(resolution):
    features, logits = Classifier(resolution, 1, 7)(torch.zeros(2, 1, resolution, resolution))
    assert features.shape == (2, 128) and logits.shape == (2, 7)


def test_without_labels_both_ways_to_features_are_named(digits):
    unlabelled = ImageSet.from_images(digits.level(8), name="pictures")
    with pytest.raises(
        UsageError, match=r"pictures has no labels.*--inception-weights or GAN_OPS_INCEPTION.*labelled data"
    ):
        choose_features(unlabelled, "", CPU)


@pytest.mark.parametrize("way", ["option", "variable"])
def test_weights_that_are_named_are_never_replaced_by_a_classifier(digits, way, monkeypatch, tmp_path):
    missing = str(tmp_path / "weights.pth")
    if way == "variable":
        monkeypatch.setenv("GAN_OPS_INCEPTION", missing)
    with pytest.raises(UsageError, match=r"weights\.pth cannot be used"):
        choose_features(digits, missing if way == "option" else "", CPU)


@pytest.mark.parametrize(
    ("name", "label"), [("inception-2015-12-05", None), ("inception-0123abcd", "inception-0123abcd")]
)
def test_only_the_published_weights_give_results_without_a_label(monkeypatch, tmp_path, name, label):
    class Inception:
        def __init__(self, path, device):
            self.name, self.digest = name, "0123abcd"

    monkeypatch.setattr("gan_ops.metrics.inception.Inception", Inception)
    assert inception_features(tmp_path, CPU).label == label


def test_a_damaged_file_in_the_cache_is_made_anew(tmp_path):
    assert cached("kind", "key", lambda: {"a": 1}) == {"a": 1}
    (path,) = (tmp_path / "cache" / "gan_ops" / "kind").glob("*.pt")
    assert cached("kind", "key", lambda: {"a": 2}) == {"a": 1}
    path.write_bytes(path.read_bytes()[:20])
    assert cached("kind", "key", lambda: {"a": 2}) == {"a": 2}
    assert cached("kind", "key", lambda: {"a": 3}) == {"a": 2}
