"""The generator in a checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from train.base.errors import CheckpointError, UsageError
from train.run import checkpoint
from train.run.system import system


def find_checkpoint(source: Path) -> tuple[Path, dict[str, Any]]:
    """The checkpoint, or the newest one of a run's folder, and what it holds; CheckpointError if none is whole."""
    path, state, warnings = checkpoint.find(source)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return path, state


def build_generator(path: Path, state: dict[str, Any], device: torch.device, *, ema: bool = True) -> nn.Module:
    """The generator in a checkpoint's ``state``, at the resolution that it has reached.

    Raises:
        CheckpointError: naming ``path``, if it is of an unknown system.
    """
    with checkpoint.reading(path):
        try:
            make = system(state["system"]).generator
        except UsageError as error:
            raise CheckpointError(f"checkpoint {path} cannot be drawn from: {error}") from None

        def build() -> nn.Module:
            return make(**state["generator_options"])

        # Whatever size it claims to be of, nothing is allocated until its tensors have shown that they are.
        with torch.device("meta"):
            described = build()
        tensors = state["trainer"]["averages" if ema else "networks"][state["sampler"]]
        checkpoint.check_shapes("generator", described, tensors, path)
        generator = build()
        generator.load_state_dict(tensors)
    return generator.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
