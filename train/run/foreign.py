"""Tensors by name in files that other programs wrote, and what their networks were made with."""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train.base.errors import UsageError, is_out_of_memory
from train.base.files import first_line, read_torch
from train.run.pickles import read_pickle

DEEPEST = 20  # of dicts in dicts


@dataclass(frozen=True)
class Weights:
    """What a file holds.

    Attributes:
        tensors: by name, on the CPU, floating-point ones as float32.
        arguments: what networks were made with, where the file says it, by what stands before the names of their
            tensors, such as ``"G_ema."``.
    """

    tensors: dict[str, Tensor]
    arguments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def below(self, name: str) -> Weights:
        """The same, with a name before every other."""
        return Weights(
            {f"{name}.{own}": tensor for own, tensor in self.tensors.items()},
            {f"{name}.{own}": made_with for own, made_with in self.arguments.items()},
        )


def read_weights(path: Path) -> Weights:
    """Those of a ``.npz``, ``.safetensors`` or torch file, or of a ``.pkl`` of the authors' code of StyleGAN2-ADA,
    StyleGAN3 or R3GAN; no code in the file is run.

    Names of tensors in dicts of dicts are joined by dots. What is no tensor of numbers is left out.

    Raises:
        UsageError: naming the file, if it is missing, damaged, holds objects, or no tensor.
    """
    if not path.is_file():
        raise UsageError(f"{path} is no file" if path.exists() else f"there is no file {path}")
    arguments: Mapping[str, Mapping[str, Any]] = {}
    try:
        if path.suffix == ".pkl" and not _is_of_torch(path):
            found, arguments = read_pickle(path)
        else:
            read = {".npz": _read_npz, ".safetensors": _read_safetensors}.get(path.suffix, read_torch)
            found = dict(_flat(read(path)))
    except ValueError as error:
        raise UsageError(f"{path} {error}") from None
    if not found:
        raise UsageError(f"{path} holds no tensors by name")
    numbers = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in found.items()}
    return Weights(numbers, arguments)


def _is_of_torch(path: Path) -> bool:
    """Whether a file begins as torch.save's does."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\3\4"


def _flat(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor) and name:
        yield name, value.detach()
    elif isinstance(value, Mapping) and depth < DEEPEST:
        for key, part in value.items():
            yield from _flat(part, f"{name}.{key}" if name else str(key), depth + 1)


def _read_npz(path: Path) -> dict[str, Tensor]:
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("it is not an archive of arrays")
        with file:  # other files of an archive are bytes
            arrays = {name: array for name in file.files if isinstance(array := file[name], np.ndarray)}
        return {name: torch.from_numpy(array) for name, array in arrays.items() if array.dtype.kind in "fiub"}
    except (zipfile.BadZipFile, EOFError, KeyError, OSError, TypeError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"is damaged ({first_line(error)})") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    if not importlib.util.find_spec("safetensors"):
        raise ValueError("needs a package that is not installed: pip install safetensors")
    import safetensors.torch

    try:
        return safetensors.torch.load_file(path)
    except Exception as error:
        # Its reader is not torch's, and says in many ways that bytes are none of its own.
        if is_out_of_memory(error) or (isinstance(error, OSError) and error.errno is not None):
            raise
        raise ValueError(f"is damaged ({first_line(error)})") from error


class Asked(Mapping[str, Tensor]):
    """The tensors whose names begin with a prefix, by the rest of their names.

    Attributes:
        names: whole names of those that were asked for.
        arguments: what the network of these names was made with; empty where the file does not say it.
    """

    def __init__(self, weights: Weights, prefix: str) -> None:
        self._tensors, self._prefix = weights.tensors, prefix
        self.arguments = weights.arguments.get(prefix, {})
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._tensors[self._prefix + name]
        self.names.add(self._prefix + name)
        return tensor

    def __contains__(self, name: object) -> bool:
        return f"{self._prefix}{name}" in self._tensors

    def __iter__(self) -> Iterator[str]:
        return (name.removeprefix(self._prefix) for name in self._tensors if name.startswith(self._prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)
