"""The folders that runs live in."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from train.config import TrainConfig, to_dict
from train.errors import UsageError
from train.files import write_atomically

RUNS = Path("runs")
LOCK = "lock"


def run_name(config: TrainConfig, preset: TrainConfig) -> str:
    """``<preset>-<resolution>``, or ``<data>-<resolution>`` where the data is not the preset's own."""
    name = config.preset if config.data == preset.data else Path(config.data).stem
    return f"{name}-{config.resolution}"


def new_folder(out: Path | None, name: str) -> Path:
    """Makes a run's folder: ``out``, or the first of ``runs/<name>-1``, ``-2``, … that is free.

    Raises:
        UsageError: if ``out`` has something in it already.
    """
    if out is not None:
        if out.is_file() or (out.is_dir() and any(out.iterdir())):
            raise UsageError(f"--out {out} is not empty: choose another folder, or go on there with --resume {out}")
        out.mkdir(parents=True, exist_ok=True)
        return out
    RUNS.mkdir(exist_ok=True)
    for number in itertools.count(1):
        folder = RUNS / f"{name}-{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError("unreachable")


@contextlib.contextmanager
def locked(folder: Path, program: str) -> Iterator[BinaryIO]:
    """Keeps others who ask from working in the folder while this process lives, or one that it passes the file to.

    Raises:
        UsageError: if another is at work there.
    """
    with open(folder / LOCK, "wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another {program} is at work in {folder}") from None
        yield lock


def write_config(folder: Path, config: TrainConfig) -> None:
    """Writes ``config.json``."""
    text = json.dumps(to_dict(config), indent=2) + "\n"
    write_atomically(folder / "config.json", lambda file: file.write(text.encode()))
