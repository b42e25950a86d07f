"""Whether a checkpoint can be continued by a trainer: all that is wrong is said before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from train.base.errors import CheckpointError, UsageError
from train.engine.trainer import Trainer
from train.run import checkpoint
from train.run.divergence import divergence


class Diverged(CheckpointError):
    """A checkpoint is of a run that has diverged."""


def check_continues(
    state: Mapping[str, Any], path: Path, trainer: Trainer, description: Mapping[str, Any], fixed: Sequence[str]
) -> None:
    """Sees to it that a checkpoint's content fits.

    Args:
        description: what this run's checkpoints say of its networks.
        fixed: options that a run must keep, although all shapes would fit.

    Raises:
        CheckpointError: if it is of another system or of other networks, or of a run that has diverged.
        UsageError: if it does not fit the data, or an option was changed.
    """
    if "system" in description:
        checkpoint.check_system(state, description["system"], path)
    saved = state["trainer"]
    for part, networks in (("networks", trainer.game.networks), ("averages", trainer.averages)):
        for name, network in networks.items():
            label = name if part == "networks" else f"averaged {name}"
            checkpoint.check_shapes(label, network, saved[part][name], path)
    if why := divergence(saved):
        raise Diverged(f"checkpoint {path} is of a run that has diverged: {why}")
    for name, length in trainer.source.lists.items():
        if (was := saved["source"][name]["length"]) != length:
            raise UsageError(
                f"checkpoint {path} was trained on {was} {name}, but data now has {length}: restore the old ones, or"
                f" start a new run with --init-from {path}"
            )
    then, now = state.get("config", {}), description.get("config", {})
    for name in fixed:
        if name in then and then[name] != now.get(name):
            raise UsageError(
                f"{name}={now.get(name)!r}: the networks of checkpoint {path} were trained with {then[name]!r}"
            )
