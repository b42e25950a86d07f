"""The networks in a checkpoint."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from train.base.errors import CheckpointError, UsageError
from train.run import checkpoint
from train.run.options import TrainConfig, from_dict
from train.run.system import System, View, system


def find_checkpoint(source: Path) -> tuple[Path, dict[str, Any]]:
    """The checkpoint, or the newest one of a run's folder, and what it holds; CheckpointError if none is whole."""
    path, state, warnings = checkpoint.find(source)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return path, state


def system_of(path: Path, state: Mapping[str, Any]) -> System:
    """The system that a checkpoint is of; CheckpointError, naming ``path``, if it is unknown."""
    with checkpoint.reading(path):
        try:
            return system(state["system"])
        except UsageError as error:
            raise CheckpointError(f"checkpoint {path} cannot be drawn from: {error}") from None


def config_of(path: Path, state: Mapping[str, Any], **changes: Any) -> TrainConfig:
    """The options of the run that a checkpoint is of, with ``changes``; without those that its system has no more."""
    kind = system_of(path, state).options
    names = {field.name for field in dataclasses.fields(kind)}
    with checkpoint.reading(path):
        own = {name: value for name, value in state["config"].items() if name in names}
    return dataclasses.replace(from_dict(kind, own, f"checkpoint {path}"), **changes)


def view_of(path: Path, state: Mapping[str, Any], name: str = "", *, of_images: bool = False) -> View:
    """The view of a name in the run that a checkpoint is of, see :meth:`System.view`; with ``of_images`` only one that
    makes images of images."""
    of = system_of(path, state)
    with checkpoint.reading(path):
        view = of.view(name, "" if of_images else state["sampler"])
    if of_images and not view.takes:
        what = f"--view {name}" if name else f"train.{of.name}"
        raise UsageError(f"{what} makes images of latents alone: it takes no images")
    return view


def build_networks(
    path: Path, state: Mapping[str, Any], device: torch.device, *, ema: bool = True
) -> dict[str, nn.Module]:
    """The averaged networks in a checkpoint's ``state``, by name; without ``ema`` with their current weights.

    Raises:
        CheckpointError: naming ``path``, if it is of an unknown system or its tensors have other shapes.
    """
    makers = system_of(path, state).networks
    with checkpoint.reading(path):
        options, tensors = state["generator_options"], state["trainer"]["averages" if ema else "networks"]
        return {
            name: filled(name, partial(make, **options), tensors[name], path, device) for name, make in makers.items()
        }


def build_view(
    path: Path, state: Mapping[str, Any], device: torch.device, name: str = "", *, ema: bool = True
) -> nn.Module:
    """What makes the images of a view, at the resolution that its networks have reached; raises as both above."""
    view, networks = view_of(path, state, name), build_networks(path, state, device, ema=ema)
    with checkpoint.reading(path):
        return view.network(networks)


def restore_view(
    path: Path, description: Mapping[str, Any], tensors: Mapping[str, Any], device: torch.device
) -> nn.Module:
    """What makes the images of a view, of the tensors of its own ``state_dict``.

    ``description`` holds a checkpoint's "system", "sampler" and "generator_options", and the view's name, "view".
    """
    of = system_of(path, description)
    with checkpoint.reading(path):
        view, options = of.view(description["view"], description["sampler"]), description["generator_options"]

        def make() -> nn.Module:
            return view.network({name: make(**options) for name, make in of.networks.items()})

        return filled("generator", make, tensors, path, device)


def build_generator(
    path: Path, state: Mapping[str, Any], device: torch.device, name: str = "", *, ema: bool = True
) -> nn.Module:
    """What draws from latents, as :func:`build_view`; UsageError if nothing in the checkpoint, or this view, does."""
    if view_of(path, state, name).takes:
        if name:
            raise UsageError(f"--view {name} is of images that are made of pictures: give these with --input")
        views = " or ".join(system_of(path, state).views)
        raise UsageError(f"train.{state['system']} makes images of images: give some with --input (--view {views})")
    return build_view(path, state, device, name, ema=ema)


def filled(
    name: str, make: Callable[[], nn.Module], tensors: Mapping[str, Any], path: Path, device: torch.device
) -> nn.Module:
    """The network that ``make`` makes, with these tensors of a file; CheckpointError if their shapes are others."""
    # Whatever size the file claims it to be of, nothing is allocated until its tensors have shown that they are.
    with torch.device("meta"):
        described = make()
    checkpoint.check_shapes(name, described, tensors, path)
    network = make()
    network.load_state_dict(tensors)
    return network.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
