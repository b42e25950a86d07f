"""The systems that can be trained: one file each in the folder ``train``, with a ``SYSTEM`` that says how."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from train.base.errors import UsageError
from train.data import ImageSet
from train.engine.trainer import Trainer
from train.run.options import TrainConfig

FOLDER = Path(__file__).parent.parent


@dataclass(frozen=True)
class System:
    """What the programs need to know of a system.

    Attributes:
        name: of its module in ``train``, which checkpoints hold.
        about: what ``--help`` says first.
        presets: options by name; the first is the default.
        build: from options and data to what trains, and the arguments of ``generator`` that go into checkpoints.
        generator: makes the network that draws images.
    """

    name: str
    about: str
    presets: Mapping[str, TrainConfig]
    build: Callable[[Any, ImageSet, torch.device], tuple[Trainer, dict[str, Any]]]
    generator: Callable[..., nn.Module]

    @property
    def program(self) -> str:
        """What to type."""
        return f"python -m train.{self.name}"

    @property
    def options(self) -> type[TrainConfig]:
        return type(next(iter(self.presets.values())))


def system(name: str) -> System:
    """The system of a name; UsageError if there is none that makes images."""
    found = getattr(importlib.import_module(f"train.{name}"), "SYSTEM", None) if name in catalogue() else None
    if found is None:
        raise UsageError(f"there is no system {name!r} that makes images")
    return found


def catalogue() -> dict[str, str]:
    """What each system is and its paper, by name: the first line of the files that name a paper there. Nothing is
    imported."""
    lines = {path.stem: first_line(path) for path in sorted(FOLDER.glob("*.py"))}
    return {name: line for name, line in lines.items() if "arXiv" in line}


def first_line(path: Path) -> str:
    """What a file says of itself first, without the full stop; the file is not imported."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0].rstrip(".")
