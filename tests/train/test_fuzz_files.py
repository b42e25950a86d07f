"""Files with wrong contents: programs say in a line which file and what is wrong, and run no code that is in one."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from train.data import load_images
from train.data.cache import Entry
from train.data.gaussians import MIXTURES, Quality
from train.measure.cached import cached
from train.run.checkpoint import FORMAT
from train.studies import few_labels, mode_collapse
from train.studies.study import CONFIG, RESULTS, Study, opened

from .fuzzing import TRAINING, WORK, Accepted, accept, attempt, flags, furnish

MARK = "../code-was-run"


class Hostile:
    """Unpickled, it makes a folder."""

    def __reduce__(self) -> tuple[Callable, tuple]:
        return os.mkdir, (MARK,)


def saved(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def zipped(**entries: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file.getvalue()


def png(width: int, height: int) -> bytes:
    """A grey PNG whose header promises these sizes, and whose pixels are missing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


WRONG = {
    "empty": b"",
    "zeros": bytes(64),
    "random": np.random.default_rng(0).bytes(300),
    "html": b"<!DOCTYPE html>\n<html><title>404</title></html>\n",
    "list": b"[1, 2]\n",
    "number": b"3\n",
    "null": b"null\n",
    "object": b'{"a": {"b": []}}\n',
    "not-utf-8": b'{"data": "\xff"}\n',
    "deep": 100_000 * b"[" + b"\n",
    "long-number": b"1" + 5000 * b"0" + b"\n",
    "pickle": pickle.dumps(Hostile()),
    "torch-list": saved([torch.ones(2)]),
    "torch-tensor": saved(torch.ones(2)),
    "torch-network": saved(torch.nn.Linear(2, 2).state_dict()),
    "torch-code": saved({"format": FORMAT, "trainer": Hostile()}),
    "torch-format": saved({"format": FORMAT, "system": [], "trainer": 3, "config": 7}),
    "torch-older": saved({"format": 1, "family": "pggan"}),
    "zip": zipped(**{"../../up.png": b"x", "a\0b.png": b"", "d.txt": b""}),
    "large-png": png(20000, 20000),
    "cut-png": png(16, 16),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Working folder of the starts; programs end before what takes long."""
    place = tmp_path_factory.mktemp("files") / "here"
    furnish(place)
    evaluated = {"images": 48, "kimg": 0.048, "msssim": 0.5}
    about = {"generated": 8, "real": 8, "seed": 0, "features": None}
    with open(place / "run" / "stats.jsonl", "a") as stats:
        stats.write(json.dumps({**evaluated, "evaluation": about}) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("XDG_CACHE_HOME", str(place.parent / "cache"))
        for work in WORK:
            patch.setattr(work, accept)
        yield place


@pytest.fixture(autouse=True)
def _no_code_is_run(place) -> Iterator[None]:
    yield
    assert not (place / MARK).exists()


def with_content(path: Path, content: bytes, start: Callable[[], str]) -> str:
    """What ``start`` comes to while a file holds something else."""
    before = path.read_bytes() if path.exists() else None
    path.write_bytes(content)
    try:
        return start()
    except (AssertionError, Accepted):
        raise
    except Exception as error:
        raise AssertionError(f"{path.name} with {content[:40]!r} ends in a traceback") from error
    finally:
        path.unlink()
        if before is not None:
            path.write_bytes(before)


@pytest.mark.parametrize(
    ("name", "program", "args"),
    [
        ("config.json", "train.pggan", ["--resume=run"]),
        ("config.json", "train.report", ["run"]),
        ("stats.jsonl", "train.report", ["run"]),
        ("reals.png", "train.report", ["run"]),
        ("fakes_000000.png", "train.report", ["run"]),
        ("checkpoint_000000048.pt", "train.pggan", ["--resume=run/checkpoint_000000048.pt"]),
        ("checkpoint_000000048.pt", "train.generate", ["run/checkpoint_000000048.pt"]),
        ("checkpoint_000000048.pt", "train.evaluate", ["run/checkpoint_000000048.pt", "--metrics=swd"]),
    ],
)
def test_a_runs_file(place, name, program, args):
    path = place / "run" / name
    for kind, content in {**WRONG, "cut": path.read_bytes()[: path.stat().st_size // 2]}.items():
        line = with_content(path, content, lambda: attempt(program, args, place))
        # The end of a run's statistics may be half a line, and other programs' options may be few.
        half = name == "stats.jsonl" and b"\n" not in content[-1:]
        assert line != "accepted" or half or (program, kind) == ("train.report", "object"), kind
        assert line == "accepted" or "run" in line


def parts(state: Any, path: tuple = ()) -> Iterator[tuple]:
    """Where a checkpoint's values are, but for those within networks and optimizers."""
    for key, value in state.items():
        yield (*path, key)
        of_tensors = key in ("optimizer", "generator_options", "config") or path[-1:] in (("networks",), ("averages",))
        if isinstance(value, dict) and not of_tensors:
            yield from parts(value, (*path, key))


def test_a_checkpoint_with_a_part_of_another_kind(place):
    path = place / "run" / "checkpoint_000000048.pt"
    state = torch.load(path, weights_only=True)
    for number, where in enumerate(parts(state)):
        *outer, last = where
        for replacement in (["x", None, -1, [], {}][number % 5], torch.ones(3)):
            copy = torch.load(path, weights_only=True)
            inner = copy
            for key in outer:
                inner = inner[key]
            inner[last] = replacement
            line = with_content(path, saved(copy), lambda: attempt("train.pggan", [f"--resume={path}"], place))
            assert line == "accepted" or "checkpoint" in line, (where, replacement, line)


@pytest.mark.parametrize("program", ["train.pggan", "train.evaluate"])
def test_a_data_set(place, program):
    for kind, content in WRONG.items():
        for data in ("odd.zip", "odd"):
            (place / "odd").mkdir(exist_ok=True)
            path = place / ("odd.zip" if data == "odd.zip" else "odd/a.png")
            if program == "train.pggan":
                args = [*flags({**TRAINING, "data": data})]
            else:
                args = [data, "--data=pictures", "--metrics=swd"]
            line = with_content(path, content, lambda args=args: attempt(program, args, place))
            assert line != "accepted" and "odd" in line, (kind, data, line)
    shutil.rmtree(place / "odd")


@pytest.mark.parametrize("data", ["mnist", "cifar10", "svhn", "stl10", "celeba", "lsun"])
def test_a_data_set_that_torchvision_reads(place, data):
    names = {
        "mnist": [f"MNIST/raw/train-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1")],
        "cifar10": ["cifar-10-batches-py/data_batch_1"],
        "svhn": ["train_32x32.mat"],
        "stl10": ["stl10_binary/unlabeled_X.bin"],
        "celeba": ["celeba/list_attr_celeba.txt"],
        "lsun": ["bedroom_train_lmdb/data.mdb"],
    }[data]
    if data == "lsun":
        pytest.importorskip("lmdb")
    for kind in ("empty", "zeros", "random", "html", "pickle", "zip"):
        for name in names:
            path = place / "sets" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(WRONG[kind])
        line = attempt("train.pggan", flags({**TRAINING, "data": data, "data_root": "sets"}), place)
        assert data in line, (kind, line)
    shutil.rmtree(place / "sets")


def test_inception_weights(place):
    pytest.importorskip("torch_fidelity")
    path = place / "weights.pth"
    args = ["pictures", "--data=pictures", "--metrics=fid", "--inception-weights=weights.pth"]
    for kind, content in WRONG.items():
        line = with_content(path, content, lambda: attempt("train.evaluate", args, place))
        assert "weights.pth" in line and len(line) < 500, (kind, line)


def test_what_is_cached_is_made_again(place):
    file = place.parent / "cache" / "gan_ops" / "things" / "a.pt"
    file.parent.mkdir(parents=True)
    for kind, content in WRONG.items():
        file.write_bytes(content)
        found = cached("things", "a", lambda: {"value": 1})
        # Tensors by name could have been kept there.
        if kind not in ("torch-format", "torch-older"):
            assert found.keys() == ({"weight", "bias"} if kind == "torch-network" else {"value"}), kind

    def load() -> Any:
        return load_images("pictures", 8, memory_limit=0, cache=place.parent / "images")

    pixels = load().level(8).clone()
    (entry,) = [path for path in (place.parent / "images").iterdir() if path.is_dir()]
    for name in ("meta.json", "8.bin"):
        for content in WRONG.values():
            (entry / name).write_bytes(content)
            assert torch.equal(load().level(8), pixels)
    for wrong in ({"resolution": "8"}, {"length": -1}, {"length": 1e300}, {"skipped": [1]}, {"skipped": [[1, 2, 3]]}):
        meta = json.loads((entry / "meta.json").read_text())
        (entry / "meta.json").write_text(json.dumps({**meta, **wrong}))
        assert torch.equal(load().level(8), pixels)
    assert Entry(place / "nowhere", "a", "b").load() is None


@pytest.mark.parametrize("name", ["weights.npz", "weights.safetensors", "weights.pt", "weights.pkl"])
def test_weights_of_another_codebase(place, name):
    def start() -> str:
        return attempt("train.import_weights", [name], place)

    whole = (place / "weights.npz").read_bytes()
    for kind, content in {**WRONG, "cut": whole[: len(whole) // 2], "npz": zipped(**{"a.npy": b"x"})}.items():
        line = with_content(place / name, content, start)
        assert line != "accepted" and name in line, (kind, line)


STUDY = ["--only=baseline", "--seeds=1", "--out=mix"]


@pytest.fixture
def strips(place) -> Iterator[list[Path]]:
    """Pictures of a study of one technique, which has its results."""
    tasks = [mode_collapse.Task(data, "baseline", "", 0) for data in MIXTURES]
    with opened(place / "mix", mode_collapse.shared(0), mode_collapse.Task, Quality) as study:
        for task in tasks:
            study.add(task, Quality(8, 0.5, 0.1))
    (place / "mix" / "strips").mkdir()
    yield [mode_collapse.strip_file(place / "mix", task) for task in tasks]
    shutil.rmtree(place / "mix")


@pytest.mark.parametrize("name", [CONFIG, RESULTS])
def test_what_a_study_keeps(place, strips, name):
    for kind, content in WRONG.items():
        line = with_content(place / "mix" / name, content, lambda: attempt("train.studies.mode_collapse", STUDY, place))
        assert name in line or "mix holds results" in line or (name == RESULTS and b"\n" not in content), (kind, line)


def test_a_picture_of_a_study_of_mixtures(place, strips, monkeypatch):
    monkeypatch.setattr(Study, "complete", lambda *_: 0)
    for kind in ("empty", "random", "html", "large-png"):
        for file in strips:
            file.write_bytes(WRONG[kind])
        line = attempt("train.studies.mode_collapse", STUDY, place)
        assert "strips" in line and "damaged" in line, (kind, line)


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_probabilities_of_a_gan_are_whole_or_not(place, content):
    task = few_labels.Task("gan", 20, 0)
    file = few_labels.probabilities_file(place, task)
    file.parent.mkdir()
    assert not with_content(file, content, lambda: few_labels.has_probabilities(place, task, (797, 10)))
    file.parent.rmdir()
