"""Finds and loads ``gan_ops._C``, the compiled ops; refuses a build for another torch or from other sources."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import mmap
import os
import re
import struct
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import torch

from gan_ops._fingerprint import fingerprint

_PACKAGE = Path(__file__).parent
_CSRC = _PACKAGE.parent / "csrc"
_MARK = re.compile(rb"gan_ops-build:torch=([\w.+]+);fingerprint=(\w+);")


class BuildError(ImportError):
    """The compiled part of gan_ops is missing, or was built for another torch or from other sources."""


def mend(path: Path | None = None) -> str:
    """The advice that ends every error: the command that builds ``_C`` again, in place of ``path`` if there is one.

    A ``_C`` beside the package is found before any installed one, so only an editable install replaces it.
    """
    target = "-e ." if path is not None and path.parent == _PACKAGE and _CSRC.is_dir() else "."
    return f"in the checkout, run: pip install --no-build-isolation --force-reinstall --no-deps {target}"


def find() -> Path:
    """The file of ``_C``: beside this package, else in an installed distribution of gan_ops.

    The second matters in a checkout after a plain ``pip install .``: there the checkout's own ``gan_ops/`` comes first
    on the path and has no ``_C``.
    """
    names = ["_C" + suffix for suffix in EXTENSION_SUFFIXES]
    for name in names:
        if (_PACKAGE / name).exists():
            return _PACKAGE / name
    for distribution in importlib.metadata.distributions(name="gan_ops"):
        for name in names:
            path = Path(str(distribution.locate_file(f"gan_ops/{name}")))
            if path.exists():
                return path
    raise BuildError(f"gan_ops._C, the compiled part of gan_ops, is not installed; {mend()}")


def check(path: Path) -> None:
    """Reads what ``_C`` was built from without loading it: in another torch it might crash instead of failing."""
    with path.open("rb") as file:
        if _is_cut_short(file):
            raise BuildError(f"{path} is truncated; {mend(path)}")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = _MARK.search(content)
            mark = found and [group.decode() for group in found.groups()]
    if mark is None:
        raise BuildError(f"{path} is not a build of gan_ops; {mend(path)}")
    built_against, built_from = mark
    running = torch.__version__.split("+")[0]
    if built_against.split("+")[0] != running:
        raise BuildError(
            f"gan_ops was built against torch {built_against}, but torch {running} is running; {mend(path)}"
        )
    if _CSRC.is_dir() and fingerprint(_CSRC) != built_from:
        raise BuildError(
            f"{path} was built from other sources than those in {_CSRC} "
            f"(fingerprint {built_from}, not {fingerprint(_CSRC)}); {mend(path)}"
        )


def _is_cut_short(file: BinaryIO) -> bool:
    """Whether an ELF file lacks its end: the system's loader would crash on it. Leaves files of other formats be."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    header = file.read(64)
    if not header.startswith(b"\x7fELF\x02\x01"):  # 64 bit, little-endian
        return size == 0
    if len(header) < 64:
        return True
    (section_table,) = struct.unpack_from("<Q", header, 40)  # linkers write it last
    entry_size, entries = struct.unpack_from("<HH", header, 58)
    return size < section_table + entry_size * entries


def load() -> ModuleType:
    """``gan_ops._C``, loaded once; importing it registers ``torch.ops.gan_ops.*``. Raises BuildError."""
    if "gan_ops._C" in sys.modules:
        return sys.modules["gan_ops._C"]
    path = find()
    check(path)
    spec = importlib.util.spec_from_file_location("gan_ops._C", path)
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError as error:
        raise BuildError(f"{path} does not load: {error}; {mend(path)}") from error
    sys.modules["gan_ops._C"] = module
    return module
