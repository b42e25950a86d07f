"""Where images come from: anything that can give its n-th one in the wanted size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image

from train.base.errors import UnreadableImage

from .decode import decode, fit_square, is_grey, to_array

OWN = "the data set's own"
"""Labels that come with a known set."""
NONE = "the data has none"
LARGEST_FILE = 2**30  # bytes; a longer "image" is a mistake or a bomb


class Source(Protocol):
    """Images before they are stored; `ImageSet` holds them afterwards."""

    name: str
    mirror: bool  # whether a mirrored image could be one of the data too
    parallel: bool  # whether several threads decode sooner than one
    resolution: int
    labels: np.ndarray | None  # int64 [N]
    num_classes: int
    labels_from: str  # where the classes come from, or why there are none
    class_names: Sequence[str]  # by label; empty where they have none
    files: Sequence[str] | None  # names of the files that the images are in, one each

    def __len__(self) -> int: ...

    def channels(self) -> int:
        """1 or 3."""

    def fingerprint(self) -> str:
        """Hexadecimal digest of everything that the pixels depend on."""

    def describe(self, index: int) -> str:
        """What the user calls this image: its file's name."""

    def decode(self, index: int, channels: int) -> np.ndarray:
        """uint8 [channels, resolution, resolution]; UnreadableImage if it cannot be."""


@dataclass(eq=False)
class ArraySource:
    """Images that are already in memory, uint8 [N, C, h, w], fitted to the resolution as `fit_square` does."""

    name: str
    images: np.ndarray
    resolution: int
    labels: np.ndarray | None = None
    num_classes: int = 0
    mirror: bool = True
    class_names: Sequence[str] = ()

    parallel = False
    files = None

    @property
    def labels_from(self) -> str:
        return NONE if self.labels is None else OWN

    def __len__(self) -> int:
        return len(self.images)

    def channels(self) -> int:
        return self.images.shape[1]

    def fingerprint(self) -> str:
        return digest([self.name, self.resolution, self.images.shape, self.images.tobytes()])

    def describe(self, index: int) -> str:
        return f"image {index}"

    def decode(self, index: int, channels: int) -> np.ndarray:
        image = self.images[index]  # [C, h, w]
        if image.shape[1:] == (self.resolution, self.resolution):
            return image
        picture = Image.fromarray(image[0] if channels == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
        return to_array(fit_square(picture, self.resolution))


@dataclass(eq=False)
class FileSource:
    """Encoded images, read by number. `stamp(n)` changes whenever the n-th file does: it keys the cache."""

    name: str
    files: Sequence[str]
    read: Callable[[int], bytes]
    stamp: Callable[[int], object]
    resolution: int
    resize: bool
    labels: np.ndarray | None = None
    num_classes: int = 0
    labels_from: str = NONE
    class_names: Sequence[str] = ()

    mirror = True
    parallel = True  # Pillow decodes and resizes without holding the interpreter's lock

    def __len__(self) -> int:
        return len(self.files)

    def channels(self) -> int:
        """3 as soon as one file is in colour. Looks at headers, up to the first such."""
        for index in range(len(self)):
            try:
                if not is_grey(self._read(index)):
                    return 3
            except UnreadableImage:
                continue  # `decode` will meet it again, and there it counts
        return 1

    def fingerprint(self) -> str:
        stamps = ((name, self.stamp(index)) for index, name in enumerate(self.files))
        return digest([self.name, self.resolution, self.resize, *stamps])

    def describe(self, index: int) -> str:
        return self.files[index]

    def decode(self, index: int, channels: int) -> np.ndarray:
        return decode(self._read(index), channels, self.resolution, self.resize)

    def _read(self, index: int) -> bytes:
        try:
            return self.read(index)
        except OSError as error:
            raise UnreadableImage(error.strerror or str(error)) from error


class Subset:
    """Some images of another source, in its order; what is not of single images is the source's own."""

    def __init__(self, source: Source, indices: np.ndarray) -> None:
        self.source = source
        self.indices = indices  # int64 [n]
        self.labels = None if source.labels is None else source.labels[indices]
        self.files = None if source.files is None else [source.files[i] for i in indices.tolist()]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def __len__(self) -> int:
        return len(self.indices)

    def fingerprint(self) -> str:
        return digest([self.source.fingerprint(), self.indices.tobytes()])

    def describe(self, index: int) -> str:
        return self.source.describe(int(self.indices[index]))

    def decode(self, index: int, channels: int) -> np.ndarray:
        return self.source.decode(int(self.indices[index]), channels)


def at_most(source: Source, size: int | None, seed: int) -> Source:
    """`source`, or `size` of its images drawn by `seed` if it has more; all of them if it has not."""
    if size is None or size >= len(source):
        return source
    keys = np.random.default_rng(seed % 2**64).random(len(source))
    return Subset(source, np.sort(np.argsort(keys, kind="stable")[:size]))


def digest(parts: Iterable[object]) -> str:
    """SHA-256 over the parts and their boundaries, hexadecimal."""
    hasher = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else repr(part).encode("utf-8", "backslashreplace")
        hasher.update(len(data).to_bytes(8, "little"))
        hasher.update(data)
    return hasher.hexdigest()
