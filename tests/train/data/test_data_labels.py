"""Where labels come from: folders, or the dataset.json of NVIDIA's dataset tool."""

import json
import zipfile

import pytest
import torch

from train.data import DataError, load_images


@pytest.fixture
def sharded(tmp_path, draw):
    """sharded(content, count) → a folder as the dataset tool writes it: images in shards (here of two) and a json."""

    def make(content: object, count: int = 4):
        root = tmp_path / "sharded"
        for n in range(count):
            draw(root / f"{n // 2:05d}" / f"img{n:08d}.png", 10 * (n + 1))
        text = content if isinstance(content, str) else json.dumps(content)
        (root / "dataset.json").write_text(text)
        return root

    return make


def labels(*classes: int) -> dict:
    return {"labels": [[f"{n // 2:05d}/img{n:08d}.png", label] for n, label in enumerate(classes)]}


@pytest.mark.parametrize("prefix", ["", "set/"])
def test_the_json_of_a_zip_gives_the_labels(sharded, zipped, prefix, values):
    images = load_images(str(zipped(sharded(labels(2, 0, 1, 2)), prefix)), 8)
    assert (images.labels.tolist(), values(images)) == ([2, 0, 1, 2], [10, 20, 30, 40])
    assert images.describe_labels() == "3 classes (dataset.json)"


def test_names_in_a_zip_may_be_absolute(sharded, tmp_path):
    root = sharded(labels(2, 0, 1, 2))
    with zipfile.ZipFile(tmp_path / "absolute.zip", "w") as archive:
        for file in root.rglob("*.*"):
            slash = "" if file.stem.endswith("3") else "/"
            archive.writestr(slash + file.relative_to(root).as_posix(), file.read_bytes())
    assert load_images(str(tmp_path / "absolute.zip"), 8).labels.tolist() == [2, 0, 1, 2]


def test_the_json_of_a_folder_gives_the_labels(sharded):
    assert load_images(str(sharded(labels(2, 0, 1, 2))), 8).labels.tolist() == [2, 0, 1, 2]


def test_the_json_has_the_last_word_over_folders(pictures):
    named = {"labels": [["cats/1.png", 0], ["cats/deep/2.png", 1], ["dogs/2.png", 1], ["dogs\\3.bmp", 0]]}
    (pictures / "dataset.json").write_text(json.dumps(named))
    assert load_images(str(pictures), 8).labels.tolist() == [0, 1, 1, 0]


def test_classes_are_numbered_as_they_occur(sharded):
    images = load_images(str(sharded(labels(7, 10**30, 7, 0))), 8)
    assert (images.labels.tolist(), images.num_classes) == ([1, 2, 1, 0], 3)


def test_images_that_the_json_does_not_list_are_left_out_and_counted(sharded, values):
    root = sharded(labels(0, 1))
    images = load_images(str(root), 8)
    assert (values(images), images.labels.tolist()) == ([10, 20], [0, 1])
    assert "2 images that it does not list are left out, such as 00001/img00000002.png" in images.describe_labels()


@pytest.mark.parametrize(
    ("content", "reason"), [({"labels": None}, '"labels" is null'), (labels(3, 3, 3, 3), "dataset.json has one class")]
)
def test_a_json_without_classes_means_no_labels(sharded, content, reason):
    images = load_images(str(sharded(content)), 8)
    assert (images.labels, images.num_classes, len(images)) == (None, 0, 4)
    assert reason in images.describe_labels()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ([], 'has no list "labels"'),
        ({"name": "mine"}, 'has no list "labels"'),
        ({"labels": {"a": 1}}, 'has no list "labels"'),
        ({"labels": [["00000/img00000000.png", 0], "x"]}, 'entry 1, "x", is not a file\'s name and its class'),
        ({"labels": [["00000/img00000000.png", [0, 1]]]}, 'entry 0, ["00000/img00000000.png", [0, 1]], has several'),
        ({"labels": [["a.png", 1.5]]}, "has a class that is not a whole number from 0"),
        ({"labels": [["a.png", True]]}, "has a class that is not a whole number from 0"),
        ({"labels": [["a.png", -1]]}, "has a class that is not a whole number from 0"),
        ({"labels": [["a.png", 1], ["a.png", 2]]}, 'entry 1, ["a.png", 2], gives another class than an earlier entry'),
        ({"labels": [["img00000000.png", 1]]}, "lists none of the 4 images, such as '00000/img00000000.png'"),
        ({"labels": []}, "lists none of the 4 images"),
    ],
)
def test_a_json_that_cannot_be_used_is_named_with_the_entry(sharded, content, message):
    with pytest.raises(DataError, match=r"sharded: dataset\.json") as error:
        load_images(str(sharded(content)), 8)
    assert message in str(error.value)


def test_a_damaged_json_in_a_zip_is_named(sharded, zipped):
    path = zipped(sharded(labels(0, 1, 0, 1)))
    data = path.read_bytes()
    path.write_bytes(data.replace(b'{"labels"', b'{"lobels"', 1))  # now the checksum is wrong
    with pytest.raises(DataError, match=r"sharded\.zip: dataset\.json cannot be read"):
        load_images(str(path), 8)


def test_a_json_of_enormous_length_is_not_read(sharded, zipped, monkeypatch):
    root = sharded({"labels": [], "more": 1000 * "x"})
    monkeypatch.setattr("train.data.folder.LARGEST_FILE", 1000)
    for path in (root, zipped(root)):
        with pytest.raises(DataError, match=r"dataset\.json cannot be read: larger than 1000 bytes"):
            load_images(str(path), 8)


def test_shards_are_no_classes(sharded):
    root = sharded({})
    (root / "dataset.json").unlink()
    images = load_images(str(root), 8)
    assert (images.labels, len(images)) == (None, 4)
    assert "such as 00000, are taken for the dataset tool's shards" in images.describe_labels()


@pytest.mark.parametrize("names", [("0", "1"), ("n01440764", "n01443537"), ("0001", "0002"), ("00000", "cats")])
def test_other_folders_of_digits_are_classes(tmp_path, draw, names):
    for n, name in enumerate(names):
        draw(tmp_path / "set" / name / f"{n}.png", n)
    images = load_images(str(tmp_path / "set"), 8)
    assert images.labels.tolist() == [0, 1]
    assert images.describe_labels() == "2 classes (one folder each)"


def test_one_class_is_no_label(tmp_path, draw):
    for n in range(3):
        draw(tmp_path / "set" / "pictures" / f"{n}.png", n)
    images = load_images(str(tmp_path / "set"), 8)
    assert images.labels is None
    assert images.describe_labels() == "none (all images are in one folder)"


def test_flat_sharded_and_zipped_copies_are_the_same_set(sharded, zipped, tmp_path, draw, values):
    root = sharded(labels(*range(12)), count=12)
    flat = {"labels": [[name.split("/")[1], label] for name, label in labels(*range(12))["labels"]]}
    for n in range(12):
        draw(tmp_path / "flat" / f"img{n:08d}.png", 10 * (n + 1))
    (tmp_path / "flat" / "dataset.json").write_text(json.dumps(flat))
    sets = [load_images(str(path), 8) for path in (root, zipped(root), tmp_path / "flat", zipped(tmp_path / "flat"))]
    for images in sets:
        assert torch.equal(images.level(8), sets[0].level(8)) and torch.equal(images.labels, sets[0].labels)


def test_folders_do_not_change_the_order(tmp_path, draw, values):
    for n, folder in enumerate("babab"):
        draw(tmp_path / "classes" / folder / f"{n}.png", n)
        draw(tmp_path / "flat" / f"{n}.png", n)
    assert values(load_images(str(tmp_path / "classes"), 8)) == values(load_images(str(tmp_path / "flat"), 8))


def test_known_sets_have_labels_of_their_own():
    assert load_images("glyphs", 8, size=36).describe_labels() == "36 classes (the data set's own)"
