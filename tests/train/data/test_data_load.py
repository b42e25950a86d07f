"""What `--data` may say, and what happens if it says something else."""

import pytest
import torch

from train.base.errors import UsageError
from train.data import DataError, load_images, same_images


@pytest.mark.parametrize("resolution", [40, 3, 2, 0, -4])
def test_a_resolution_that_images_cannot_have_is_named(resolution):
    with pytest.raises(ValueError, match=f"resolution={resolution} is not a power of two"):
        load_images("glyphs", resolution)


def test_misspelt_name_lists_the_names():
    with pytest.raises(
        DataError,
        match=r"'mnits'.*glyphs, glyphs-serif, glyphs-sans, glyphs-digits, digits, mnist, cifar10, svhn, stl10, celeba,"
        " lsun",
    ):
        load_images("mnits", 32)


@pytest.mark.parametrize("spec", ["", "~nobody-of-this-name/x", "x" * 5000, "a\0b"])
def test_no_spelling_of_a_path_crashes(spec):
    with pytest.raises(DataError, match="neither a folder or zip file that exists"):
        load_images(spec, 32)


@pytest.mark.parametrize("size", [0, -1])
def test_size_must_be_positive(size):
    with pytest.raises(DataError, match=f"size={size}"):
        load_images("glyphs", 32, size=size)


def test_messages_are_one_line():
    assert str(DataError("two\n   lines")) == "two lines"


def test_size_takes_some_images_by_seed(pictures, values):
    some = [values(load_images(str(pictures), 8, size=2, seed=seed)) for seed in range(20)]
    assert all(len(set(two)) == 2 and two == sorted(two) for two in some)
    assert len({tuple(two) for two in some}) > 1
    assert values(load_images(str(pictures), 8, size=2, seed=3)) == some[3]


def test_size_beyond_the_set_takes_all(pictures):
    assert len(load_images(str(pictures), 8, size=100)) == 4


def test_labels_follow_the_images_taken():
    pytest.importorskip("sklearn")
    everything = load_images("digits", 8)
    some = load_images("digits", 8, size=50)
    for image, label in zip(some.level(8), some.labels, strict=True):
        same = (everything.level(8) == image).flatten(1).all(1)
        assert label in everything.labels[same]


def test_a_folder_named_like_a_set_is_reached_by_its_path(tmp_path, draw, monkeypatch):
    draw(tmp_path / "digits" / "1.png", 3)
    monkeypatch.chdir(tmp_path)
    assert len(load_images("./digits", 8)) == 1


def test_levels_reach_down_to_four(pictures):
    images = load_images(str(pictures), 16)
    assert [images.level(r).shape[-1] for r in (4, 8, 16)] == [4, 8, 16]
    assert images.level(4).dtype == torch.uint8


def test_what_names_the_same_images(tmp_path):
    folder, other = tmp_path / "pictures", tmp_path / "others"
    folder.mkdir(), other.mkdir()
    link = tmp_path / "link"
    link.symlink_to(folder)
    for spec in (f"{folder}/", str(link), f"{other}/../pictures", str(folder)):
        assert same_images(str(folder), spec)
    assert not same_images(str(folder), str(other))
    assert same_images("glyphs", "glyphs") and not same_images("glyphs", "./glyphs")


def test_more_glyphs_than_there_is_memory_for_are_refused():
    with pytest.raises(UsageError, match=f"size={2**40}: that takes"):
        load_images("glyphs", 32, size=2**40)
