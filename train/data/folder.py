"""Images in a folder or a zip file."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np

from .decode import SUFFIXES
from .errors import DataError, UnreadableImage
from .source import LARGEST_FILE, FileSource


def open_path(path: Path, resolution: int, *, resize: bool = False) -> FileSource:
    """All images below a folder or in a zip file, by their names' suffixes, sorted by path.

    Labels: the number of the first-level folder, in alphabetical order, if every image is in one. In a zip file folders
    around everything do not count. Hidden files are passed over. DataError for a path that is missing, is neither,
    cannot be read, or holds no image.
    """
    if path.is_dir():
        names, read, stamp = _list_folder(path)
    elif path.is_file():
        names, read, stamp = _list_zip(path)
    else:
        raise DataError(f"{path}: no such folder or zip file")
    if not names:
        raise DataError(f"{path} holds no images (files that end in {', '.join(sorted(SUFFIXES))})")
    labels, num_classes = _labels(names if path.is_dir() else _without_shared_folders(names))
    return FileSource(
        path.resolve().name, names, read, stamp, resolution, resize=resize, labels=labels, num_classes=num_classes
    )


def read_file(path: Path) -> bytes:
    """Contents of a file that ought to be an image."""
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


Listing = tuple[list[str], Callable[[int], bytes], Callable[[int], object]]  # names, read, stamp


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
    names.sort()
    place = str(root.resolve())
    return names, lambda n: read_file(root / names[n]), lambda n: (place, stamp_file(root / names[n]))


def _list_zip(path: Path) -> Listing:
    try:
        archive = zipfile.ZipFile(path)
        entries = sorted(archive.infolist(), key=lambda entry: entry.filename)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{path} is neither a folder nor a zip file that can be read: {error}") from error
    entries = [entry for entry in entries if not entry.is_dir() and _is_image(entry.filename)]

    def read(index: int) -> bytes:
        entry = entries[index]
        if entry.file_size > LARGEST_FILE:
            raise UnreadableImage(f"larger than {LARGEST_FILE} bytes")
        try:
            return archive.read(entry)
        except Exception as error:  # BadZipFile, zlib.error, RuntimeError for encrypted ones, …
            raise UnreadableImage(str(error)) from error

    def stamp(index: int) -> object:
        return entries[index].file_size, entries[index].CRC, entries[index].header_offset

    return [entry.filename for entry in entries], read, stamp


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return not hidden and path.suffix.lower() in SUFFIXES


def _without_shared_folders(names: list[str]) -> list[str]:
    """Names less the folders that all of them are in: an archive often has one around everything."""
    paths = [PurePosixPath(name) for name in names]
    shared = set.intersection(*({*path.parents} for path in paths))
    around = max(shared, key=lambda path: len(path.parts))
    return [path.relative_to(around).as_posix() for path in paths]


def _labels(names: list[str]) -> tuple[np.ndarray | None, int]:
    parts = [PurePosixPath(name).parts for name in names]
    if any(len(part) < 2 for part in parts):
        return None, 0
    classes, labels = np.unique([part[0] for part in parts], return_inverse=True)
    return labels.astype(np.int64).reshape(-1), len(classes)
