"""The networks in a checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from train.base.errors import CheckpointError, UsageError
from train.run import checkpoint
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


def view_of(path: Path, state: Mapping[str, Any], name: str = "") -> View:
    """The view of a name in the run that a checkpoint is of, see :meth:`System.view`."""
    of = system_of(path, state)
    with checkpoint.reading(path):
        return of.view(name, state["sampler"])


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
    return view_of(path, state, name).network(build_networks(path, state, device, ema=ema))


def build_generator(path: Path, state: Mapping[str, Any], device: torch.device, *, ema: bool = True) -> nn.Module:
    """What draws from latents, as :func:`build_view`; UsageError if nothing in the checkpoint does."""
    if view_of(path, state).takes:
        raise UsageError(f"{path} is of train.{state['system']}, which makes images of images and not of latents")
    return build_view(path, state, device, ema=ema)


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
