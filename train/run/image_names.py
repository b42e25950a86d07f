"""Which pictures a run was begun with, so that it can say how they have changed when it goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from train.base.errors import UsageError, listed
from train.base.files import write_atomically

FILE = "images.json"
SHOWN = 3  # names in a message


def write(folder: Path, lists: Mapping[str, Sequence[str]]) -> None:
    """Writes the names of the pictures' files of each list into a run's folder; none where there are none.

    A list called "images" is its run's only one, and stands there by itself.
    """
    if lists:
        text = json.dumps(lists.get("images", lists), indent=0)
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


def changes(folder: Path, lists: Mapping[str, Sequence[str]]) -> dict[str, Changes]:
    """How lists of pictures have changed since the run in the folder began: those that have, by name, and of which the
    names were written down then.

    Raises:
        UsageError: if the file is damaged.
    """
    path = folder / FILE
    if not lists or not path.exists():
        return {}
    instead = "without this file the run continues unchecked"
    try:
        found = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is damaged: {error}; {instead}") from None
    before = {"images": found} if "images" in lists else found
    for names in before.values() if isinstance(before, dict) else [None]:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UsageError(f"{path} is not a list of names for each list of images; {instead}")
    return {
        name: Changes(before[name], list(now))
        for name, now in lists.items()
        if name in before and before[name] != list(now)
    }
