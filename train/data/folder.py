"""Images in a folder or a zip file."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from train.base.errors import DataError, UnreadableImage

from .decode import SUFFIXES
from .labels import label_files
from .source import LARGEST_FILE, FileSource


def open_path(path: Path, resolution: int, resize: bool = False, *, labelled: bool = True) -> FileSource:
    """All images below a folder or in a zip file, by their names' suffixes, sorted by name and then by path.

    So the order is the same whichever folders the same files are spread over. `label_files` says what their labels are;
    where some images have labels, those without are left out. Without `labelled` nobody asks for any. Hidden files are
    passed over.

    DataError for a path that is missing, is neither, cannot be read, or holds no image.
    """
    if path.is_dir():
        listing = _list_folder(path)
    elif path.is_file():
        listing = _list_zip(path)
    else:
        raise DataError(f"{path}: no such folder or zip file")
    if not listing.names:
        raise DataError(f"{path} holds no images (files that end in {', '.join(sorted(SUFFIXES))})")
    places = [PurePosixPath(name) for name in listing.names]
    listing = listing.only(sorted(range(len(places)), key=lambda n: (places[n].name, listing.names[n])))
    if not labelled:
        return FileSource(path.resolve().name, listing.names, listing.read, listing.stamp, resolution, resize)
    labelling = label_files(str(path), listing.names, listing.read_other)
    if labelling.labels is not None:
        labelled = np.flatnonzero(labelling.labels >= 0)
        listing, labelling = listing.only(labelled), labelling._replace(labels=labelling.labels[labelled])
    return FileSource(path.resolve().name, listing.names, listing.read, listing.stamp, resolution, resize, *labelling)


def read_file(path: Path) -> bytes:
    """Contents of a file that ought to be an image; UnreadableImage if it is too long for one."""
    if path.stat().st_size > LARGEST_FILE:
        raise UnreadableImage(f"larger than {LARGEST_FILE} bytes")
    return path.read_bytes()


def stamp_file(path: Path) -> tuple[int, int] | None:
    """Size and time of change; None if there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


class Listing(NamedTuple):
    """The images at a place."""

    names: list[str]  # paths there
    read: Callable[[int], bytes]
    stamp: Callable[[int], object]
    read_other: Callable[[str], bytes | None]  # any file there by its path; None if there is none

    def only(self, kept: Sequence[int]) -> Listing:
        """Some of the images, in this order."""
        names = [self.names[n] for n in kept]
        return Listing(names, lambda n: self.read(kept[n]), lambda n: self.stamp(kept[n]), self.read_other)


def _list_folder(root: Path) -> Listing:
    def fail(error: OSError) -> None:
        raise DataError(f"{error.filename}: {error.strerror}") from error

    names = []
    seen = set()  # real paths: a link back up would go round for ever
    for folder, subfolders, files in os.walk(root, onerror=fail, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        # Sorted, so that of two links to one folder it is always the same that is seen first.
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        relative = Path(folder).relative_to(root)
        names += [(relative / file).as_posix() for file in files if _is_image(file)]
    place = str(root.resolve())

    def read_other(name: str) -> bytes | None:
        try:
            return read_file(root / name) if (root / name).is_file() else None
        except OSError as error:
            raise DataError(f"{root / name}: {error.strerror}") from error
        except UnreadableImage as error:
            raise DataError(f"{root / name} cannot be read: {error}") from error

    return Listing(
        names, lambda n: read_file(root / names[n]), lambda n: (place, stamp_file(root / names[n])), read_other
    )


def _list_zip(path: Path) -> Listing:
    try:
        archive = zipfile.ZipFile(path)
        entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{path} is neither a folder nor a zip file that can be read: {error}") from error
    others = {entry.filename.lstrip("/"): entry for entry in entries}
    entries = [entry for entry in entries if not entry.is_dir() and _is_image(entry.filename)]

    def contents(entry: zipfile.ZipInfo) -> bytes:
        if entry.file_size > LARGEST_FILE:
            raise UnreadableImage(f"larger than {LARGEST_FILE} bytes")
        try:
            return archive.read(entry)
        except Exception as error:  # BadZipFile, zlib.error, RuntimeError for encrypted ones, …
            raise UnreadableImage(str(error)) from error

    def stamp(index: int) -> object:
        return entries[index].file_size, entries[index].CRC, entries[index].header_offset

    def read_other(name: str) -> bytes | None:
        try:
            return contents(others[name]) if name in others else None
        except UnreadableImage as error:
            raise DataError(f"{path}: {name} cannot be read: {error}") from error

    return Listing([entry.filename for entry in entries], lambda n: contents(entries[n]), stamp, read_other)


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return not hidden and path.suffix.lower() in SUFFIXES
