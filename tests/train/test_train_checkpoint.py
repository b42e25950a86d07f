"""A checkpoint is complete or it is not there."""

import errno
import multiprocessing
import os
import signal
import time

import pytest
import torch
from torch import nn

from train.base.errors import CheckpointError
from train.run import checkpoint

resource = pytest.importorskip("resource")


def state(value: float, size: int = 10) -> dict:
    return {"numbers": torch.full((size,), value), "count": 3, "name": "x", "nested": {"list": [1, 2.5, None]}}


def save(folder, images: int, size: int = 10):
    path = checkpoint.path_for(folder, images)
    checkpoint.save(path, state(images, size))
    return path


def test_what_is_saved_is_loaded(tmp_path):
    loaded = checkpoint.load(save(tmp_path, 7))
    assert torch.equal(loaded["numbers"], torch.full((10,), 7.0))
    assert loaded["nested"] == {"list": [1, 2.5, None]}


def test_checkpoints_come_in_the_order_of_their_images(tmp_path):
    paths = [save(tmp_path, images) for images in (999, 1000, 20_000_000, 5)]
    assert checkpoint.checkpoints(tmp_path) == [paths[3], paths[0], paths[1], paths[2]]


@pytest.mark.parametrize("length", [0, 10, 1000, -30, -1])
def test_a_truncated_checkpoint_is_refused_in_one_line(tmp_path, length):
    path = save(tmp_path, 1, size=1000)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=rf"{path.name} is truncated or damaged \(.+\)$"):
        checkpoint.load(path)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "checkpoint_000000001.pt"
    path.write_bytes(b"hello world" * 100)
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        checkpoint.load(path)
    torch.save({"format": 99}, path)
    with pytest.raises(CheckpointError, match="has format 99; this program reads format 3"):
        checkpoint.load(path)
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        checkpoint.load(tmp_path / "none.pt")


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trapped"),)

    path = tmp_path / "checkpoint_000000001.pt"
    torch.save({"format": checkpoint.FORMAT, "trap": Trap()}, path)
    with pytest.raises(CheckpointError):
        checkpoint.load(path)
    assert not (tmp_path / "trapped").exists()


def test_the_newest_complete_checkpoint_is_found_and_the_damaged_one_named(tmp_path):
    good, bad = save(tmp_path, 1), save(tmp_path, 2)
    bad.write_bytes(bad.read_bytes()[:500])
    path, loaded, (warning,) = checkpoint.load_newest(tmp_path)
    assert path == good and loaded["numbers"][0] == 1
    assert bad.name in warning


def test_one_that_a_run_at_work_removes_while_it_is_read_is_made_up_for_by_the_newer_one(tmp_path, monkeypatch):
    save(tmp_path, 1)
    load = checkpoint.load

    def read(path):
        monkeypatch.setattr(checkpoint, "load", load)
        save(tmp_path, 2)
        checkpoint.prune(tmp_path, 1)
        return load(path)

    monkeypatch.setattr(checkpoint, "load", read)
    assert checkpoint.load_newest(tmp_path)[1]["numbers"][0] == 2


def test_a_folder_without_a_checkpoint_is_an_error_that_names_it(tmp_path):
    with pytest.raises(CheckpointError, match=f"{tmp_path} holds no checkpoint"):
        checkpoint.load_newest(tmp_path)


def test_one_that_does_not_say_how_training_went_is_not_healthy(tmp_path):
    save(tmp_path, 1)
    assert checkpoint.newest_healthy(tmp_path) is None


def test_too_little_memory_is_not_a_damaged_checkpoint(tmp_path):
    with pytest.raises(torch.OutOfMemoryError), checkpoint.reading(tmp_path):
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_one_that_cannot_be_read_now_is_not_passed_over(tmp_path, monkeypatch):
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    load = torch.load

    def fails_on_the_newest(path, **options):
        if path == newest:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return load(path, **options)

    monkeypatch.setattr(torch, "load", fails_on_the_newest)
    with pytest.raises(PermissionError):
        checkpoint.load_newest(tmp_path)


def test_only_the_newest_are_kept(tmp_path):
    paths = [save(tmp_path, images) for images in range(5)]
    checkpoint.prune(tmp_path, 2)
    assert checkpoint.checkpoints(tmp_path) == paths[3:]


def test_going_on_from_an_older_checkpoint_sets_the_newer_ones_aside(tmp_path):
    old, new = save(tmp_path, 1), save(tmp_path, 2)
    (aside,) = checkpoint.clear_after(old)
    assert checkpoint.checkpoints(tmp_path) == [old]
    assert not new.exists() and aside.exists()


def test_a_full_disk_leaves_the_earlier_checkpoints(tmp_path):
    kept = save(tmp_path, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Files may grow no further than this: the write fails within the file, as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot write .*checkpoint_000000002.pt: .+") as caught:
            save(tmp_path, 2, size=100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == [kept]
    assert checkpoint.load(kept)["numbers"][0] == 1


def _save_for_ever(folder):
    torch.set_num_threads(1)  # a fork has none of its parent's OpenMP threads and would wait for them for ever
    images = 0
    while True:
        images += 1
        save(folder, images, size=300_000)
        checkpoint.prune(folder, 2)


def test_after_kill_9_at_any_moment_the_last_complete_checkpoint_loads(tmp_path):
    context = multiprocessing.get_context("fork")
    for attempt in range(8):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        process = context.Process(target=_save_for_ever, args=(folder,))
        process.start()
        deadline = time.monotonic() + 60
        while not checkpoint.checkpoints(folder):
            assert process.is_alive() and time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(0.003 * attempt)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        path, loaded, warnings = checkpoint.load_newest(folder)
        assert path == checkpoint.checkpoints(folder)[-1]
        assert checkpoint.path_for(folder, int(loaded["numbers"][0])) == path
        assert not warnings
        checkpoint.clear_after(path)
        assert not list(folder.glob("*.tmp"))


def test_networks_of_another_shape_are_told_apart_by_the_first_difference(tmp_path):
    with pytest.raises(
        CheckpointError,
        match=r"a.pt has another shape: generator weight is of shape \[2, 3\] there, of shape \[2, 4\] here",
    ):
        checkpoint.check_shapes("generator", nn.Linear(4, 2), nn.Linear(3, 2).state_dict(), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"bias is absent there"):
        checkpoint.check_shapes("generator", nn.Linear(3, 2), nn.Linear(3, 2, bias=False).state_dict(), tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"bias is of shape \[2\] there, absent here"):
        checkpoint.check_shapes("generator", nn.Linear(3, 2, bias=False), nn.Linear(3, 2).state_dict(), tmp_path / "a")
