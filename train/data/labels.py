"""Labels of image files: from a dataset.json as NVIDIA's dataset tool writes it, or from the folders they lie in."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from train.base.errors import DataError

TABLE = "dataset.json"
EXPECTED = 'expected {"labels": [["00000/img00000000.png", 3], …]} or {"labels": null}'
SHARD = re.compile(r"[0-9]{5}")
"""Folders that the dataset tool spreads images over: 00000, 00001, …, by number and not by class."""


class Labelling(NamedTuple):
    """How files are labelled."""

    labels: np.ndarray | None  # int64 [N], −1 for a file that has none; None where there are no labels at all
    num_classes: int
    origin: str  # where the classes come from, or why there are none
    names: Sequence[str] = ()  # of the classes, in their order


def label_files(place: str, names: Sequence[str], read: Callable[[str], bytes | None]) -> Labelling:
    """Labels of the files ``names`` in a folder or a zip file ``place``; ``read`` gives another file's contents there.

    A dataset.json beside the images, or beside a folder that holds all of them, has the last word. Otherwise each
    first-level folder is a class, in alphabetical order, if every image is in one and their names are not all those of
    shards. Folders around everything do not count. One class is no label.

    Raises:
        DataError: dataset.json is not what the dataset tool writes, or lists none of the images.
    """
    names = [name.lstrip("/") for name in names]  # some zip files have absolute ones
    # The innermost folder that holds all of them.
    around = PurePosixPath(posixpath.commonpath([PurePosixPath(name).parent for name in names]))
    for folder in reversed((around, *around.parents)):
        path = (folder / TABLE).as_posix()
        if (contents := read(path)) is not None:
            inside = [PurePosixPath(name).relative_to(folder).as_posix() for name in names]
            return _from_table(f"{place}: {path}", contents, inside)
    return _from_folders([PurePosixPath(name).relative_to(around).parts[:-1] for name in names])


def _from_table(table: str, contents: bytes, names: Sequence[str]) -> Labelling:
    listed = _read_table(table, contents)
    if listed is None:
        return Labelling(None, 0, f'"labels" is null in {TABLE}')
    found = [listed.get(name) for name in names]
    present = sorted({label for label in found if label is not None})
    if not present:
        example = f", such as {next(iter(listed))!r}" if listed else ""
        raise DataError(
            f"{table} lists none of the {len(names)} images, such as {names[0]!r}: its names are relative to its own"
            f" folder{example}"
        )
    if len(present) == 1:
        return Labelling(None, 0, f"{TABLE} has one class only")
    number = {label: place for place, label in enumerate(present)} | {None: -1}
    origin = TABLE
    if missing := [name for name, label in zip(names, found, strict=True) if label is None]:
        origin += f"; {len(missing)} images that it does not list are left out, such as {missing[0]}"
    labels = np.array([number[label] for label in found], dtype=np.int64)
    return Labelling(labels, len(present), origin, [str(label) for label in present])


def _read_table(table: str, contents: bytes) -> dict[str, int] | None:
    """Class numbers by file name; None where the file says that there are no labels."""
    try:
        content = json.loads(contents)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{table} is not JSON ({error}): {EXPECTED}") from error
    if not isinstance(content, dict) or not isinstance(content.get("labels", ""), list | None):
        raise DataError(f'{table} has no list "labels": {EXPECTED}')
    if content["labels"] is None:
        return None
    classes: dict[str, int] = {}
    for place, entry in enumerate(content["labels"]):
        if fault := _fault(entry, classes):
            raise DataError(f"{table}: entry {place}, {json.dumps(entry)[:100]}, {fault}")
        name, label = entry
        classes[name.replace("\\", "/")] = label
    return classes


def _fault(entry: object, earlier: dict[str, int]) -> str | None:
    """What is wrong with an entry of the table."""
    if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)):
        return f"is not a file's name and its class: {EXPECTED}"
    name, label = entry
    if isinstance(label, list):
        return "has several labels: only one class an image, a whole number, can be used"
    if type(label) is not int or label < 0:
        return "has a class that is not a whole number from 0"
    if earlier.get(name.replace("\\", "/"), label) != label:
        return "gives another class than an earlier entry for the same file"
    return None


def _from_folders(folders: Sequence[tuple[str, ...]]) -> Labelling:
    """``folders``: those that each file lies in, below what is around all of them."""
    if not any(folders):
        return Labelling(None, 0, "all images are in one folder")
    if not all(folders):
        return Labelling(None, 0, "some images are in no folder")
    classes, labels = np.unique([parts[0] for parts in folders], return_inverse=True)
    if all(SHARD.fullmatch(name) for name in classes):
        return Labelling(
            None,
            0,
            f"folders named by five digits, such as {classes[0]}, are taken for the dataset tool's shards; classes need"
            f" other names or a {TABLE}",
        )
    return Labelling(labels.astype(np.int64).reshape(-1), len(classes), "one folder each", classes.tolist())
