"""From what the user wrote after --data to images."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from train.base.capacity import check_fits
from train.base.errors import DataError

from .folder import open_path
from .glyphs import VARIANTS, Glyphs
from .image_set import ImageSet
from .known_sets import IN_DATA_ROOT, TEST_PARTS, open_digits
from .pyramid import check_resolution
from .source import at_most
from .store import store

MEMORY_LIMIT = 4 * 2**30
UNREADABLE_LIMIT = 100
GLYPHS = 20_000  # images in the default set

NAMES = (*VARIANTS, "digits", *IN_DATA_ROOT)


def same_images(spec: str, other: str) -> bool:
    """Whether both name the same set, or the same folder or file, by whatever path."""
    if spec in NAMES or other in NAMES:
        return spec == other
    return os.path.realpath(os.path.expanduser(spec)) == os.path.realpath(os.path.expanduser(other))


def load_images(
    spec: str,
    resolution: int,
    *,
    data_root: Path | None = None,
    download: bool = False,
    resize: bool = False,
    seed: int = 0,
    size: int | None = None,
    test: bool = False,
    cache: Path | None = None,
    unreadable_limit: int = UNREADABLE_LIMIT,
    memory_limit: int = MEMORY_LIMIT,
) -> ImageSet:
    """Images at `resolution` (a power of two ≥ 4, or three times one) and its halves down to 4 or 6, decoded once.

    spec: `glyphs`, `glyphs-serif` (dark on light), `glyphs-sans` (light on dark), `glyphs-digits` (white on black),
        `digits`, `mnist`, `cifar10`, `svhn`, `stl10`, `celeba`, `lsun`, or the path of a folder or a zip file
        (`./mnist` for a folder of such a name).
    data_root: folder where torchvision's sets are, or with `download` will be.
    resize: squash images that are not square instead of cutting out their centre square.
    seed: of the glyphs, and of the choice that `size` makes.
    size: how many glyphs to draw (20 000); of any other set, take this many at random if it has more.
    test: the set's test images instead of its training images, which mnist, cifar10, svhn and stl10 have.
    cache: folder for decoded sets that need more than `memory_limit` bytes, `~/.cache/gan_ops` if not given.
    unreadable_limit: how many files may be skipped, with a warning that names them.

    DataError, a ValueError with a message of one line, for all that the user can mend; UsageError, another, where so
    many glyphs cannot be.
    """
    check_resolution(resolution)
    if size is not None and size < 1:
        raise DataError(f"size={size}: a set needs at least one image")
    if test and spec not in TEST_PARTS:
        raise DataError(f"data {spec!r} has no test images of its own, as {', '.join(TEST_PARTS)} have")
    if spec in VARIANTS:
        count = GLYPHS if size is None else size
        check_fits(8 * count, torch.device("cpu"), f"size={count}")  # their labels alone
        source = Glyphs(resolution, count, seed, spec)
    elif spec == "digits":
        source = open_digits(resolution)
    elif spec in IN_DATA_ROOT:
        if data_root is None:
            raise DataError(f"{spec} needs --data-root: the folder of its files, also for --download")
        options = {"test": test} if spec in TEST_PARTS else {"resize": resize}
        source = IN_DATA_ROOT[spec](Path(data_root), resolution, download=download, **options)
    else:
        path = os.path.expanduser(spec)
        if not os.path.exists(path):
            raise DataError(f"data {spec!r} is neither a folder or zip file that exists nor one of {', '.join(NAMES)}")
        source = open_path(Path(path), resolution, resize)
    source = at_most(source, size, seed)
    return store(source, memory_limit=memory_limit, cache=cache, unreadable_limit=unreadable_limit)


def load_pictures(path: Path, resolution: int, *, resize: bool = False) -> ImageSet:
    """All images of a folder or a zip file, whatever is said of labels there; otherwise as `load_images`."""
    source = open_path(path, resolution, resize, labelled=False)
    return store(source, memory_limit=MEMORY_LIMIT, cache=None, unreadable_limit=UNREADABLE_LIMIT)
