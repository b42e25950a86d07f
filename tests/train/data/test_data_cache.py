"""Sets too large for memory live in mapped files."""

import json
import os
import shutil
import threading
import time
from collections import namedtuple

import pytest
import torch

from train.data import DataError, load_images, store
from train.data import cache as cache_module


@pytest.fixture
def load(pictures, tmp_path):
    """load(**options) loads the pictures with no memory allowed."""

    def load(**options):
        defaults = {"memory_limit": 0, "cache": tmp_path / "cache"}
        return load_images(str(pictures), 16, **(defaults | options))

    return load


@pytest.fixture
def decodings(monkeypatch):
    """A list that grows by one whenever a source is decoded."""
    counted = []
    decode = store._decode
    monkeypatch.setattr(store, "_decode", lambda *arguments: counted.append(1) or decode(*arguments))
    return counted


def entries(folder):
    return [path for path in folder.iterdir() if path.is_dir()]


def test_mapped_and_in_memory_are_the_same(load):
    mapped, plain = load(), load(memory_limit=2**30)
    for r in (4, 8, 16):
        assert torch.equal(mapped.level(r), plain.level(r))
    assert mapped.labels.tolist() == plain.labels.tolist()
    assert (len(mapped), mapped.channels, mapped.num_classes) == (4, 3, 2)


def test_batches_of_a_mapped_set_may_be_written_to(load):
    images = load()
    images.batch(torch.tensor([1, 2]), 8).zero_()
    assert images.level(8)[1].min() == 20


def test_small_sets_leave_no_files(load, tmp_path):
    load(memory_limit=2**30)
    assert not (tmp_path / "cache").exists()


def test_grey_sets_count_one_channel(tmp_path, draw):
    draw(tmp_path / "grey" / "1.png", 5, "L")
    load_images(str(tmp_path / "grey"), 8, memory_limit=64 + 16, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_the_second_time_nothing_is_decoded(load, decodings):
    load()
    load()
    assert len(decodings) == 1


def test_the_default_folder_is_the_users_cache(load, tmp_path):
    load(cache=None)
    assert len(entries(tmp_path / "home-cache" / "gan_ops")) == 1


@pytest.mark.parametrize("options", [{"resize": True}, {"size": 3}])
def test_other_options_are_another_entry(load, decodings, options):
    load()
    load(**options)
    assert len(decodings) == 2


def test_a_changed_file_is_another_entry(load, pictures, draw, values):
    load()
    draw(pictures / "cats" / "1.png", 99)
    os.utime(pictures / "cats" / "1.png", ns=(1, 1))
    assert values(load()) == [99, 20, 30, 40]


def test_a_zip_is_cached_too(pictures, zipped, tmp_path, decodings):
    path = str(zipped(pictures))
    for _ in range(2):
        load_images(path, 8, memory_limit=0, cache=tmp_path / "cache")
    assert len(decodings) == 1


def test_glyphs_are_cached_too(tmp_path, decodings):
    first, second = (load_images("glyphs", 8, size=9, memory_limit=0, cache=tmp_path / "cache") for _ in range(2))
    assert torch.equal(first.level(8), second.level(8))
    assert len(decodings) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: os.truncate(entry / "8.bin", 100),
        lambda entry: (entry / "16.bin").unlink(),
        lambda entry: (entry / "meta.json").unlink(),
        lambda entry: (entry / "meta.json").write_text('{"length": 4'),
        lambda entry: (entry / "meta.json").write_text("[]"),
        lambda entry: (entry / "meta.json").write_text(json.dumps({"length": 4})),
    ],
    ids=["short level", "no level", "no meta", "half a meta", "other meta", "incomplete meta"],
)
def test_a_torn_entry_is_made_anew(load, tmp_path, decodings, values, damage):
    load()
    damage(entries(tmp_path / "cache")[0])
    assert values(load()) == [10, 20, 30, 40]
    assert len(decodings) == 2


def test_a_failure_while_writing_leaves_nothing_that_could_be_used(load, tmp_path, monkeypatch, values):
    def fail(images):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "box_pyramid", fail)
        with pytest.raises(KeyboardInterrupt):
            load()
    assert entries(tmp_path / "cache") == []
    assert values(load()) == [10, 20, 30, 40]


def test_what_a_killed_process_left_is_swept_up(load, tmp_path):
    load()
    (entry,) = entries(tmp_path / "cache")
    shutil.move(entry, entry.with_name(entry.name + ".part"))
    load()
    assert entries(tmp_path / "cache") == [entry]


def test_skipped_files_are_named_again_from_the_cache(load, pictures, decodings):
    (pictures / "cats" / "bad.png").write_bytes(b"rubbish")
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"cats/bad\.png"):
            assert load().labels.tolist() == [0, 0, 1, 1]
    assert len(decodings) == 1


def test_want_of_space_is_told_before_work_begins(load, tmp_path, monkeypatch, decodings):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda folder: usage(2000, 1000, 1000))
    with pytest.raises(DataError, match=rf"need 0\.0 GB in {tmp_path / 'cache'}.*--cache"):
        load()
    assert decodings == []
    assert entries(tmp_path / "cache") == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_disk_that_fills_up_is_an_error_of_one_line(load, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module.Entry, "_file", staticmethod(lambda folder, resolution: "/dev/full"))
    with pytest.raises(DataError, match=r"cache .* cannot be written: No space left on device"):
        load()
    assert entries(tmp_path / "cache") == []


def test_a_cache_folder_that_cannot_be_made_is_named(load, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=rf"{tmp_path / 'file'}.* cannot be written"):
        load(cache=tmp_path / "file" / "cache")


def test_of_several_processes_one_decodes_and_the_others_wait(load, monkeypatch):
    started = []
    decode = store._decode

    def slow(*arguments):
        started.append(1)
        time.sleep(0.2)
        return decode(*arguments)

    monkeypatch.setattr(store, "_decode", slow)
    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(started) == 1
