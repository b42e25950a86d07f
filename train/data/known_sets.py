"""Sets with names: scikit-learn's digits; mnist, cifar10, svhn, stl10 and celeba by way of torchvision; and lsun."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from train.base.errors import DataError

from .folder import read_file, stamp_file
from .source import ArraySource, FileSource, Source

DIGITS = tuple("0123456789")


def open_digits(resolution: int) -> ArraySource:
    """1797 handwritten digits, grey 8 x 8; enlarged smoothly (Lanczos) beyond. DataError without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError("digits come with scikit-learn, which is not installed: pip install scikit-learn") from error
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # ink is counted from 0 to 16
    return ArraySource("digits", images[:, None], resolution, digits.target, 10, mirror=False, class_names=DIGITS)


def open_mnist(root: Path, resolution: int, *, download: bool = False, test: bool = False) -> ArraySource:
    """60 000 training or 10 000 test digits, grey, with a frame of 2 black pixels: 28 x 28 → 32 x 32, as in the PGGAN
    paper."""
    from torchvision.datasets import MNIST

    data = _open("mnist", root / "MNIST" / "raw", download, lambda: MNIST(root, train=not test, download=download))
    images = np.pad(data.data.numpy(), ((0, 0), (2, 2), (2, 2)))[:, None]
    return ArraySource("mnist", images, resolution, data.targets.numpy(), 10, mirror=False, class_names=DIGITS)


def open_cifar10(root: Path, resolution: int, *, download: bool = False, test: bool = False) -> ArraySource:
    """50 000 training or 10 000 test images, RGB 32 x 32, ten classes."""
    from torchvision.datasets import CIFAR10

    folder = root / CIFAR10.base_folder
    data = _open("cifar10", folder, download, lambda: CIFAR10(root, train=not test, download=download))
    images, names = data.data.transpose(0, 3, 1, 2), tuple(data.classes)
    return ArraySource("cifar10", images, resolution, np.array(data.targets), 10, class_names=names)


def open_svhn(root: Path, resolution: int, *, download: bool = False, test: bool = False) -> ArraySource:
    """73 257 training or 26 032 test house numbers, RGB 32 x 32, labelled with their middle digit. Needs scipy."""
    from torchvision.datasets import SVHN

    data = _open("svhn", root, download, lambda: SVHN(root, split="test" if test else "train", download=download))
    return ArraySource("svhn", data.data, resolution, data.labels, 10, mirror=False, class_names=DIGITS)


def open_stl10(root: Path, resolution: int, *, download: bool = False, test: bool = False) -> ArraySource:
    """100 000 images without labels, of which GANs learn, or the 8 000 test images of ten classes, RGB 96 x 96."""
    from torchvision.datasets import STL10

    part = "test" if test else "unlabeled"
    data = _open("stl10", root / STL10.base_folder, download, lambda: STL10(root, split=part, download=download))
    labelling = {"labels": data.labels.astype(np.int64), "num_classes": 10, "class_names": tuple(data.classes)}
    return ArraySource("stl10", data.data, resolution, **(labelling if test else {}))


def open_celeba(root: Path, resolution: int, *, download: bool = False, resize: bool = False) -> FileSource:
    """All 202 599 aligned faces, RGB 178 x 218. No labels: CelebA has 40 attributes, not classes."""
    from torchvision.datasets import CelebA

    folder = root / CelebA.base_folder
    data = _open("celeba", folder, download, lambda: CelebA(root, split="all", target_type=[], download=download))
    files = [folder / "img_align_celeba" / name for name in data.filename]
    names, read, stamp = list(map(str, files)), lambda n: read_file(files[n]), lambda n: stamp_file(files[n])
    return FileSource("celeba", names, read, stamp, resolution, resize)


def open_lsun(root: Path, resolution: int, *, download: bool = False, resize: bool = False) -> FileSource:
    """The training databases `<category>_train_lmdb` in `root`, as many as are there; several make labelled classes.

    Read directly: torchvision's class writes a pickle of each database's keys into the working directory, and reads one
    found there without checking it.
    """
    try:
        import lmdb
    except ImportError as error:
        raise DataError("lsun is read with lmdb, which is not installed: pip install lmdb") from error
    folders = sorted(path.parent for path in root.glob("*_train_lmdb/data.mdb"))
    if not folders:
        raise DataError(
            f"lsun: no folder like bedroom_train_lmdb with a data.mdb in {root}"
            + (": LSUN cannot be downloaded here" if download else "")
            + "; fetch and unzip one as https://github.com/fyu/lsun says"
        )
    databases, keys = [], []
    for folder in folders:
        try:
            database = lmdb.open(str(folder), readonly=True, lock=False, readahead=False, meminit=False)
            with database.begin() as transaction:
                keys.append(list(transaction.cursor().iternext(keys=True, values=False)))
        except lmdb.Error as error:
            raise DataError(f"lsun: {folder} cannot be read: {error}") from error
        databases.append(database)
    owner = np.repeat(np.arange(len(folders)), [len(part) for part in keys])  # [N] database of each image
    flat = [key for part in keys for key in part]
    if not flat:
        raise DataError(f"lsun: the databases in {root} are empty")

    def read(index: int) -> bytes:
        with databases[owner[index]].begin() as transaction:
            return transaction.get(flat[index])

    stamps = [(str(folder.resolve()), stamp_file(folder / "data.mdb")) for folder in folders]
    categories = [folder.name.removesuffix("_train_lmdb") for folder in folders]
    labelling = (None, 0, "there is one database")
    if len(folders) > 1:
        labelling = (owner, len(folders), "one database each", categories)
    names = [key.decode("ascii", "backslashreplace") for key in flat]
    return FileSource("lsun", names, read, lambda n: stamps[owner[n]], resolution, resize, *labelling)


TEST_PARTS = ("mnist", "cifar10", "svhn", "stl10")
"""Sets that have test images."""

# From torchvision's folder, or downloaded to it.
IN_DATA_ROOT: dict[str, Callable[..., Source]] = {
    "mnist": open_mnist,
    "cifar10": open_cifar10,
    "svhn": open_svhn,
    "stl10": open_stl10,
    "celeba": open_celeba,
    "lsun": open_lsun,
}


def _open(name: str, folder: Path, download: bool, construct: Callable[[], Any]) -> Any:
    """What `construct` makes, with torchvision's troubles told as ours. Of several processes one downloads at a time,
    and the next finds the files."""
    try:
        with contextlib.ExitStack() as held:
            if download:
                folder.mkdir(parents=True, exist_ok=True)
                lock = held.enter_context(open(folder / "download.lock", "w"))
                with contextlib.suppress(OSError):  # a file system without locks
                    fcntl.flock(lock, fcntl.LOCK_EX)
            return construct()
    except ImportError as error:
        raise DataError(f"{name} needs {error.name}, which is not installed: pip install {error.name}") from error
    except MemoryError:
        raise
    # What torchvision and the parsers under it raise: for what is missing or has a wrong checksum RuntimeError, for
    # the network and the disk OSError, for damaged files whatever their code runs into.
    except Exception as error:
        if download:
            raise DataError(f"{name} could not be downloaded to {folder}: {error}") from error
        raise DataError(
            f"{name} is missing or damaged in {folder}: pass --download to fetch it, or --data-root with the folder "
            "that torchvision has put it in"
        ) from error
