"""A folder or a zip file of images."""

import warnings
import zipfile

import pytest
from PIL import Image

from train.data import DataError, load_images


def test_images_come_in_the_order_of_their_names_and_then_their_paths(pictures, values):
    assert values(load_images(str(pictures), 8)) == [10, 20, 30, 40]


def test_first_level_folders_are_the_labels(pictures):
    images = load_images(str(pictures), 8)
    assert images.labels.tolist() == [0, 0, 1, 1]
    assert images.num_classes == 2


def test_no_labels_if_an_image_is_in_no_folder(pictures, draw):
    draw(pictures / "loose.png", 0)
    images = load_images(str(pictures), 8)
    assert images.labels is None
    assert images.num_classes == 0


def test_a_zip_gives_what_its_folder_gives(pictures, zipped, values):
    images = load_images(str(zipped(pictures)), 8)
    assert values(images) == [10, 20, 30, 40]
    assert images.labels.tolist() == [0, 0, 1, 1]


def test_a_folder_around_everything_in_a_zip_is_no_class(pictures, zipped):
    assert load_images(str(zipped(pictures, "photos/2020/")), 8).num_classes == 2


def test_grey_only_gives_one_channel(tmp_path, draw):
    draw(tmp_path / "grey" / "1.png", 5, "L")
    draw(tmp_path / "grey" / "2.png", 6, "L")
    assert load_images(str(tmp_path / "grey"), 8).level(8).shape == (2, 1, 8, 8)


def test_one_image_in_colour_makes_all_three_channels(tmp_path, draw):
    draw(tmp_path / "mixed" / "1.png", 5, "L")
    draw(tmp_path / "mixed" / "2.png", 6, "RGB")
    assert load_images(str(tmp_path / "mixed"), 8).channels == 3


def test_other_files_and_hidden_ones_are_passed_over(pictures, draw, values):
    (pictures / "notes.txt").write_text("no image")
    (pictures / "cats" / "._1.png").write_bytes(b"what another system leaves")
    draw(pictures / ".thumbnails" / "1.png", 99)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert values(load_images(str(pictures), 8)) == [10, 20, 30, 40]


def test_suffixes_may_be_capitals(tmp_path, draw):
    draw(tmp_path / "camera" / "1.PNG", 1)
    assert len(load_images(str(tmp_path / "camera"), 8)) == 1


def test_links_to_folders_are_followed_and_circles_end(pictures, tmp_path, draw):
    draw(tmp_path / "elsewhere" / "1.png", 1)
    (pictures / "link").symlink_to(tmp_path / "elsewhere")
    (pictures / "circle").symlink_to(pictures)
    assert len(load_images(str(pictures), 8)) == 5


def test_resize_squashes(tmp_path):
    (tmp_path / "wide").mkdir()
    image = Image.new("L", (16, 8), 0)
    image.paste(200, (4, 0, 12, 8))
    image.save(tmp_path / "wide" / "1.png")
    assert load_images(str(tmp_path / "wide"), 8).level(8).unique().tolist() == [200]
    assert load_images(str(tmp_path / "wide"), 8, resize=True).level(8)[0, 0, 0].tolist() == [0, 0] + [200] * 4 + [0, 0]


def test_unreadable_files_are_named_and_skipped(pictures, values):
    (pictures / "cats" / "2.png").write_bytes(b"rubbish")
    with pytest.warns(UserWarning, match=r"skipped 1 unreadable.*cats/2\.png \(not an image"):
        images = load_images(str(pictures), 8)
    assert values(images) == [10, 20, 30, 40]
    assert images.labels.tolist() == [0, 0, 1, 1]


def test_a_truncated_file_is_unreadable(pictures):
    whole = (pictures / "dogs" / "3.bmp").read_bytes()
    (pictures / "dogs" / "3.bmp").write_bytes(whole[:100])
    with pytest.warns(UserWarning, match=r"dogs/3\.bmp"):
        assert load_images(str(pictures), 8).labels.tolist() == [0, 0, 1]


def test_damaged_entry_of_a_zip_is_unreadable(pictures, zipped):
    path = zipped(pictures)
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("cats/1.png")
    data = bytearray(path.read_bytes())
    data[entry.header_offset + 30 + len("cats/1.png") + 20] ^= 255
    path.write_bytes(data)
    with pytest.warns(UserWarning, match=r"cats/1\.png \(Bad CRC"):
        assert len(load_images(str(path), 8)) == 3


def test_too_many_unreadable_files_are_an_error(pictures):
    for name in "xyz":
        (pictures / f"{name}.png").write_bytes(b"rubbish")
    with pytest.raises(DataError, match=r"3 of the first 7 images.*2 that may be skipped.*x\.png"):
        load_images(str(pictures), 8, unreadable_limit=2)


def test_nothing_readable_is_an_error(tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "1.png").write_bytes(b"rubbish")
    with pytest.raises(DataError, match=r"bad: none of its 1 images.*1\.png"):
        load_images(str(tmp_path / "bad"), 8)


def test_an_empty_folder_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no images"):
        load_images(str(tmp_path / "empty"), 8)


def test_an_empty_zip_is_named(tmp_path):
    zipfile.ZipFile(tmp_path / "empty.zip", "w").close()
    with pytest.raises(DataError, match=r"empty\.zip holds no images"):
        load_images(str(tmp_path / "empty.zip"), 8)


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere"):
        load_images(str(tmp_path / "nowhere"), 8)


def test_a_file_that_is_no_zip_is_named(pictures):
    with pytest.raises(DataError, match=r"1\.png is neither a folder nor a zip file"):
        load_images(str(pictures / "cats" / "1.png"), 8)


def test_a_truncated_zip_is_named(pictures, zipped):
    path = zipped(pictures)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"pictures\.zip is neither"):
        load_images(str(path), 8)
