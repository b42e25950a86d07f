"""Which pictures a run was begun with, so that it can say how they have changed when it goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from train.base.errors import UsageError, listed
from train.base.files import write_atomically

FILE = "images.json"
SHOWN = 3  # names in a message


def write(folder: Path, names: Sequence[str]) -> None:
    """Writes the names of the pictures' files into a run's folder."""
    text = json.dumps(list(names), indent=0)
    write_atomically(folder / FILE, lambda file: file.write(text.encode()))


@dataclass(frozen=True)
class Changes:
    """How pictures differ from those that a run was begun with."""

    before: list[str]
    now: list[str]

    @property
    def counts_differ(self) -> bool:
        return len(self.before) != len(self.now)

    def __str__(self) -> str:
        counts = f"{len(self.now)} now, {len(self.before)} when the run began"
        added, gone = sorted({*self.now} - {*self.before}), sorted({*self.before} - {*self.now})
        parts = [f"{what}: {listed(names, SHOWN)}" for what, names in (("added", added), ("gone", gone)) if names]
        return "; ".join([counts, *parts])


def changes(folder: Path, names: Sequence[str]) -> Changes | None:
    """What has changed since the run in the folder began; None if nothing has, or if nothing was written down then.

    Raises:
        UsageError: if the list is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        before = json.loads(path.read_text())
    except ValueError as error:
        raise UsageError(f"{path} is damaged: {error}; without this file the run continues unchecked") from None
    if not isinstance(before, list) or not all(isinstance(name, str) for name in before):
        raise UsageError(f"{path} is not a list of names; without this file the run continues unchecked")
    return None if before == list(names) else Changes(before, list(names))
