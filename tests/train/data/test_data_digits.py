"""scikit-learn's handwritten digits."""

import sys

import pytest

from train.data import DataError, load_images


def test_digits_are_enlarged_and_labelled():
    pytest.importorskip("sklearn")
    digits = load_images("digits", 32)
    assert digits.level(32).shape == (1797, 1, 32, 32)
    assert (digits.num_classes, digits.mirror) == (10, False)
    assert digits.labels.bincount().min() > 150


def test_digits_use_all_of_the_range():
    pytest.importorskip("sklearn")
    pixels = load_images("digits", 8).level(8)
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataError, match="pip install scikit-learn"):
        load_images("digits", 8)
