"""Decoded images on disk, for sets that do not fit into memory.

An entry is a folder `<name>-<fingerprint>` with one raw uint8 file per resolution and `meta.json`. It is written beside
its place, flushed to the disk and renamed, so that an entry that exists is whole.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from train.base.errors import DataError
from train.base.files import sync_folder

from .pyramid import resolutions

VERSION = 1  # of the layout, and of how pixels are computed: raise it when either changes


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/gan_ops`, or the same in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gan_ops"


class Stored(NamedTuple):
    levels: dict[int, torch.Tensor]  # resolution → uint8 [N, C, r, r], mapped read-only
    skipped: list[list]  # what the builder said of images left out


class Entry:
    """One set of images at one resolution with one set of options."""

    def __init__(self, cache: Path, name: str, fingerprint: str) -> None:
        readable = re.sub(r"[^A-Za-z0-9]+", "_", name)[:40]
        self.path = cache / f"v{VERSION}-{readable}-{fingerprint[:32]}"

    def load(self) -> Stored | None:
        """What is stored, or None if it is not, or not whole."""
        try:
            meta = json.loads((self.path / "meta.json").read_text())
            count, channels, sizes = meta["length"], meta["channels"], resolutions(meta["resolution"])
            levels = {r: _mapped(self._file(self.path, r), (count, channels, r, r)) for r in sizes}
            if any([type(part) for part in one] != [int, str, str] for one in meta["skipped"]):
                return None
            return Stored(levels, meta["skipped"])
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
            return None

    @contextmanager
    def building(self) -> Iterator[Writer | None]:
        """A writer to fill; None if the entry turns out to be there, made by another process while this one waited."""
        part = self.path.with_name(self.path.name + ".part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # The lock goes with its process, however that ends; the file stays.
            with open(self.path.with_name(self.path.name + ".lock"), "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if self.load() is not None:
                    yield None
                    return
                shutil.rmtree(part, ignore_errors=True)  # what a killed process left
                part.mkdir()
                try:
                    with closing(Writer(part)) as writer:
                        yield writer
                    shutil.rmtree(self.path, ignore_errors=True)  # an entry that is not whole
                    part.rename(self.path)
                    sync_folder(self.path.parent)
                finally:
                    shutil.rmtree(part, ignore_errors=True)
        except OSError as error:
            raise DataError(
                f"the image cache {self.path.parent} cannot be written: {error.strerror or error}; another folder can "
                "be named with --cache"
            ) from error

    @staticmethod
    def _file(folder: Path, resolution: int) -> Path:
        return folder / f"{resolution}.bin"


class Writer:
    """Fills an entry chunk by chunk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict = {}

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def reserve(self, size: int) -> None:
        """DataError unless `size` bytes are free."""
        free = shutil.disk_usage(self.folder).free
        if size > free:
            raise DataError(
                f"the decoded images need {size / 1e9:.1f} GB in {self.folder.parent}, where {free / 1e9:.1f} GB are "
                "free; name another folder with --cache, or delete old sets in this one"
            )

    def append(self, levels: dict[int, np.ndarray]) -> None:
        """More images, resolution → uint8 [n, C, r, r]."""
        for r, images in levels.items():
            if r not in self._files:
                self._files[r] = open(Entry._file(self.folder, r), "wb")  # noqa: SIM115 closed in close
            self._files[r].write(np.ascontiguousarray(images).data)

    def finish(self, length: int, channels: int, resolution: int, skipped: list) -> None:
        """Say what has been written, and see it to the disk."""
        meta = {"length": length, "channels": channels, "resolution": resolution, "skipped": skipped}
        self._files["meta"] = open(self.folder / "meta.json", "w")  # noqa: SIM115 closed in close
        json.dump(meta, self._files["meta"])
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.folder)


def _mapped(path: Path, shape: tuple[int, ...]) -> torch.Tensor:
    """ValueError if the file is not as long as the shape wants."""
    if path.stat().st_size != np.prod(shape, dtype=np.int64):
        raise ValueError(f"{path} is incomplete")
    # Read-only: a private writable mapping would count against memory, a shared one would let a slip spoil the cache.
    array = np.memmap(path, dtype=np.uint8, mode="r", shape=shape)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)
