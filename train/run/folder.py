"""The folders that runs live in."""

from __future__ import annotations

import contextlib
import itertools
import json
from pathlib import Path

from train.base.errors import UsageError
from train.base.files import write_atomically
from train.base.lock import LOCK
from train.data.decode import SUFFIXES
from train.run.options import TrainConfig, to_dict

RUNS = Path("runs")


def run_name(config: TrainConfig, preset: TrainConfig) -> str:
    """``<preset>-<resolution>``, or ``<data>-<resolution>`` where the data is not the preset's own."""
    lists = config.lists()
    name = config.preset if lists == preset.lists() else "-".join(Path(spec).stem for spec in lists.values())
    return f"{name}-{config.resolution}"


def new_folder(out: Path | None, name: str) -> Path:
    """Makes a run's folder: ``out``, or the first of ``runs/<name>-1``, ``-2``, … that is free.

    Raises:
        UsageError: if ``out`` has something in it already, but for a lock that nobody may hold any more.
    """
    if out is not None:
        if out.is_file() or (out.is_dir() and any(path.name != LOCK for path in out.iterdir())):
            raise UsageError(
                f"--out {out} is not empty: choose another folder, or continue that run with --resume {out}"
            )
        out.mkdir(parents=True, exist_ok=True)
        return out
    RUNS.mkdir(exist_ok=True)
    for number in itertools.count(1):
        folder = RUNS / f"{name}-{number}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder


def write_config(folder: Path, config: TrainConfig, program: str) -> None:
    """Writes ``config.json``: the options, and whose they are."""
    text = json.dumps({"program": program, **to_dict(config)}, indent=2) + "\n"
    write_atomically(folder / "config.json", lambda file: file.write(text.encode()))


def check_folder(folder: Path) -> None:
    """UsageError unless single images can go there: if there are some already, at any depth, whoever measures the
    folder or trains on it would take old and new ones for one set."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is a file: --images and --input write into a folder")
    there = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if there:
        raise UsageError(
            f"--out {folder} holds images already ({len(there)}, such as {there[0].relative_to(folder)}), and old ones"
            " would be mixed with new ones: choose another folder with --out, or remove those images first"
        )
