"""The systems that can be trained: one file each in the folder ``train``, with a ``SYSTEM`` that says how."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from train.base.errors import UsageError
from train.data import ImageSet
from train.engine.trainer import Trainer
from train.run.options import TrainConfig

FOLDER = Path(__file__).parent.parent


Networks = Mapping[str, nn.Module]
"""A system's averaged networks, by name."""


@dataclass(frozen=True)
class View:
    """Images that a run makes of images: a translation, a reconstruction; or of latents.

    What ``make`` and ``back`` give maps images [N, C, R, R] in [−1, 1] to such. The networks that it is made of have
    ``resolution`` (R) and ``image_channels`` (C). What maps latents has ``resolution``, ``latent_dim`` and
    ``num_classes``, as generators have.

    Attributes:
        takes: the list of images that it is for; "" for the samples that a network draws from latents.
        like: the list that its results are compared with.
        make: of the averaged networks, what makes the images.
        back: what makes the third line of grids: there and back. None: samples of latents stand there.
        encode: maps images to the latents [N, L] that the sampler draws from, to interpolate between them.
        is_graph: whether it is a function that torch can export: one that takes gradients is none.
    """

    takes: str
    like: str
    make: Callable[[Networks], nn.Module]
    back: Callable[[Networks], nn.Module] | None = None
    encode: Callable[[Networks], nn.Module] | None = None
    is_graph: bool = True

    def network(self, networks: Networks) -> nn.Module:
        """What ``make`` makes, with the resolution and channels of its networks where it does not say them."""
        made = self.make(networks).eval()
        for name in ("resolution", "image_channels") if self.takes else ():
            if not hasattr(made, name):
                setattr(made, name, getattr(next(iter(networks.values())), name))
        return made


@dataclass(frozen=True)
class System:
    """What the programs need to know of a system."""

    name: str  # of its module in ``train``, which checkpoints hold
    about: str  # what ``--help`` says first
    presets: Mapping[str, TrainConfig]  # options by name; the first is the default
    # From options and lists of images by name to what trains, and the arguments of ``networks`` for checkpoints.
    build: Callable[[Any, Mapping[str, ImageSet], torch.device], tuple[Trainer, dict[str, Any]]]
    networks: Mapping[str, Callable[..., nn.Module]]  # each makes one of the averaged networks
    views: Mapping[str, View] = field(default_factory=dict)  # by name; the first is the default

    @property
    def program(self) -> str:
        """What to type."""
        return f"python -m train.{self.name}"

    @property
    def options(self) -> type[TrainConfig]:
        return type(next(iter(self.presets.values())))

    def view(self, name: str = "", sampler: str = "") -> View:
        """The view of a name; without one, the samples that the network ``sampler`` draws, or the first view.

        Raises:
            UsageError: if there is no such view.
        """
        if not name and sampler:
            first_list, *_ = next(iter(self.presets.values())).lists()
            return View("", first_list, lambda networks: networks[sampler])
        if not self.views:
            raise UsageError(f"train.{self.name} makes images of latents alone: it has no --view, and takes no images")
        name = name or next(iter(self.views))
        if name not in self.views:
            raise UsageError(f"train.{self.name} has no view {name!r}: there are {', '.join(self.views)}")
        return self.views[name]

    @property
    def views_of_images(self) -> dict[str, View]:
        """Those that make images of images."""
        return {name: view for name, view in self.views.items() if view.takes}


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
