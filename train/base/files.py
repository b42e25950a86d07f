"""Files that are either the old or the new one, never half of either."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

from train.base.errors import is_out_of_memory

TEMPORARY = ".tmp"


def write_atomically(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Lets ``write`` fill a temporary file beside ``path``, brings it to the disk and renames it to ``path``.

    Raises:
        OSError: from the file system, a full disk for one; what was at ``path`` is still there.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with open(temporary, "wb") as file:
            try:
                write(file)
            except RuntimeError as error:
                # torch.save stumbles over its own bookkeeping when the file fails, and hides the reason.
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, f"cannot write {path}: {os.strerror(error.errno)}") from error
        raise
    sync_folder(path.parent)


def read_torch(path: Path) -> Any:
    """What torch.save wrote, onto the CPU; no code in the file is run.

    Raises:
        ValueError: in one line, if it is truncated, damaged, or holds more than tensors and plain types.
        OSError, MemoryError: it cannot be read now, which says nothing about what it holds.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch muses about pickle's protocol before it refuses the file
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "unsupported global" in str(error).lower():
            raise ValueError("holds objects that could run code, which are not read") from error
        raise ValueError("is truncated or damaged (it is not a file that torch wrote)") from error
    except Exception as error:
        # In a truncated file torch seeks to where there is nothing: EINVAL. Other errors are not the file's fault.
        if is_out_of_memory(error) or (isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)):
            raise
        # Hostile bytes make torch's readers fail in whatever way their code does: RuntimeError, EOFError, IndexError, …
        raise ValueError(f"is truncated or damaged ({first_line(error)})") from error


def first_line(error: Exception) -> str:
    """What another library says of a file, at most a line of it."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def sync_folder(folder: Path) -> None:
    """Brings a rename in the folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
