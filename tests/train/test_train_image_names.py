"""A resumed run says how its pictures have changed since it began."""

import json

import pytest
from PIL import Image

from train.base.errors import UsageError
from train.data import load_images
from train.run import image_names

from .runs import train


def paint(folder, *names: str):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (40 * number, 90, 10)).save(folder / name)


@pytest.fixture
def pictures(tmp_path):
    paint(tmp_path / "pictures", "a.png", "b.png", "c.png", "d.png")
    return tmp_path / "pictures"


@pytest.fixture
def run(pictures, tiny_options, tmp_path):
    """The folder of a run on four pictures, to be gone on with."""
    assert train(*tiny_options(out=tmp_path / "run", data=pictures, data_size=0, kimg=0.02)) == 0
    return tmp_path / "run"


def going_on(run) -> int:
    return train("--resume", str(run), "--kimg", "0.028")


def test_as_long_as_nothing_changes_nothing_is_said(run, capsys):
    capsys.readouterr()
    assert going_on(run) == 0
    assert "changed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("added", "gone", "said"),
    [
        (["new.png"], [], "5 now, 4 when the run began; added: new.png."),
        ([], ["b.png"], "3 now, 4 when the run began; gone: b.png."),
        (
            [f"{i}.png" for i in range(5)],
            ["a.png"],
            "8 now, 4 when the run began; added: 0.png, 1.png, 2.png and 2 more;",
        ),
    ],
)
def test_pictures_more_or_fewer_are_named_with_what_to_do(run, pictures, capsys, added, gone, said):
    capsys.readouterr()
    paint(pictures, *added)
    for name in gone:
        (pictures / name).unlink()
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert going_on(run) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"error: the images in {pictures} have changed: " in line and said in line
    command = f"python -m train.pggan --init-from {run} --data {pictures} --resolution 8"
    assert line.endswith(f"Undo that, or start a new run with the networks of this one: {command}")
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_the_advice_works(run, pictures, tiny_options, tmp_path):
    paint(pictures, "new.png")
    changed = tiny_options("--init-from", str(run), data=pictures, data_size=0, kimg=0.02, out=tmp_path / "second")
    assert train(*changed) == 0
    (pictures / "new.png").unlink()
    assert going_on(run) == 0


def test_other_names_of_as_many_pictures_are_a_warning(run, pictures, capsys):
    (pictures / "a.png").rename(pictures / "z.png")
    assert going_on(run) == 0
    said = f"warning: the images in {pictures} have changed: 4 now, 4 when the run began; added: z.png; gone: a.png"
    assert said in capsys.readouterr().out


def test_the_same_pictures_in_another_place_are_the_same(run, pictures, tmp_path, capsys):
    pictures.rename(tmp_path / "elsewhere")
    assert train("--resume", str(run), "--kimg", "0.028", "--data", str(tmp_path / "elsewhere")) == 0
    assert "changed" not in capsys.readouterr().out


def test_a_run_without_a_list_goes_on_and_counts_at_least(run, pictures, capsys):
    (run / image_names.FILE).unlink()
    assert going_on(run) == 0
    paint(pictures, "new.png")
    assert train("--resume", str(run), "--kimg", "0.04") == 2
    assert "was trained on 4 images, but data now has 5" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["[", "{}", "[1]", "\x00"])
def test_a_damaged_list_is_one_line(run, capsys, content):
    (run / image_names.FILE).write_text(content)
    assert going_on(run) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{run / image_names.FILE} is" in line and "without this file the run continues unchecked" in line


@pytest.mark.parametrize("content", ["[]", '["a"]', '{"a": 3}', '{"a": [3]}', "3", 99999 * "["])
def test_damaged_names_of_several_lists_are_refused(tmp_path, content):
    (tmp_path / image_names.FILE).write_text(content)
    with pytest.raises(UsageError, match="without this file the run continues unchecked"):
        image_names.changes(tmp_path, {"a": ["x"], "b": ["y"]})


def test_a_list_of_which_no_names_were_kept_is_not_compared(tmp_path):
    image_names.write(tmp_path, {"a": ["x"]})
    assert image_names.changes(tmp_path, {"a": ["x"], "b": ["y"]}) == {}
    assert image_names.changes(tmp_path, {"a": ["z"], "b": ["y"]}).keys() == {"a"}


def test_names_of_any_bytes_are_kept(tmp_path):
    names = ["\udcff.png", "a\nb.png", "ü.png"]
    image_names.write(tmp_path, {"images": names})
    assert image_names.changes(tmp_path, {"images": names}) == {}
    assert json.loads((tmp_path / image_names.FILE).read_text()) == names


def test_a_set_knows_the_files_that_it_took(pictures):
    (pictures / "broken.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match="skipped 1"):
        assert load_images(str(pictures), 8).files == ["a.png", "b.png", "c.png", "d.png"]
    (pictures / "broken.png").unlink()
    some = load_images(str(pictures), 8, size=2)
    assert len(some.files) == 2 and set(some.files) < {"a.png", "b.png", "c.png", "d.png"}
    assert load_images("glyphs", 8, size=4).files is None


def test_known_sets_need_no_list(tiny_options, tmp_path):
    assert train(*tiny_options(out=tmp_path / "run", kimg=0.02)) == 0
    assert not (tmp_path / "run" / image_names.FILE).exists()


def test_changes_say_what_was_added_and_what_is_gone(tmp_path):
    image_names.write(tmp_path, {"images": ["a", "b"]})
    changed = image_names.changes(tmp_path, {"images": ["b", "c"]})["images"]
    assert str(changed) == "2 now, 2 when the run began; added: c; gone: a" and not changed.counts_differ
    with pytest.raises(UsageError):
        (tmp_path / image_names.FILE).write_text("")
        image_names.changes(tmp_path, {"images": []})
