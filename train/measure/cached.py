"""Results of long computations, kept on disk under names that say what they were computed from."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from train.base.files import read_torch, write_atomically
from train.data import default_cache


def cached(kind: str, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What is kept as ``key`` among things of this kind; made and kept first if it is not there, or damaged.

    Another process that wants the same waits and finds it made. The values are tensors, numbers, strings and
    containers of them.

    Raises:
        OSError: if the cache (``$XDG_CACHE_HOME/gan_ops`` or ~/.cache/gan_ops) cannot be written.
    """
    path = default_cache() / kind / f"{key}.pt"
    if (found := _read(path)) is not None:
        return found
    path.parent.mkdir(parents=True, exist_ok=True)
    # The lock goes with its process, however that ends; the file stays.
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (found := _read(path)) is not None:
            return found
        made = make()
        write_atomically(path, lambda file: torch.save(made, file))
        return made


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = read_torch(path)
    except (ValueError, FileNotFoundError):
        return None
    return found if isinstance(found, dict) else None
