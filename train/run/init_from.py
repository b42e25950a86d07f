"""A new run that starts with the networks of another one (``--init-from``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from train.base.errors import CheckpointError, UsageError, listed
from train.engine.trainer import Trainer
from train.run import checkpoint
from train.run.divergence import divergence
from train.run.options import from_dict
from train.run.system import System

SHOWN = 6  # tensors in a line of the log


@dataclass(frozen=True)
class Origin:
    """The networks of another run."""

    path: Path  # of the checkpoint
    reached: int  # resolution that they had reached there
    sizes: Mapping[str, Any]  # the options that decide on the networks' shapes
    networks: Mapping[str, Mapping[str, Tensor]]  # tensors of each
    averages: Mapping[str, Mapping[str, Tensor]]  # and of the averaged ones
    warnings: Sequence[str]  # of newer checkpoints that were passed over


def open_origin(source: Path, system: System) -> Origin:
    """Reads a checkpoint, or the newest one of a run's folder.

    Raises:
        CheckpointError: if there is none that can be read, or it is not of the system, or has diverged.
    """
    path, state, warnings = checkpoint.find(source)
    with checkpoint.reading(path):
        checkpoint.check_system(state, system.name, path, "--init-from: ")
        if why := divergence(state["trainer"]):
            raise CheckpointError(f"--init-from: checkpoint {path} is of a run that has diverged: {why}")
        networks, averages = (
            {name: _tensors(tensors) for name, tensors in state["trainer"][part].items()}
            for part in ("networks", "averages")
        )
        # What a growing network has reached is part of its state; others know one resolution only.
        leading = state["trainer"]["averages"][state["sampler"] or next(iter(averages))]
        reached = leading.get("_extra_state", state["config"])["resolution"]
        kind = system.options
        options = from_dict(kind, {name: state["config"][name] for name in kind.SIZES}, f"checkpoint {path}")
        sizes = {name: getattr(options, name) for name in kind.SIZES}
        return Origin(path, int(reached), sizes, networks, averages, warnings)


def take_over(trainer: Trainer, origin: Origin) -> list[str]:
    """Fills a new run's networks with all tensors of ``origin`` that have the same name and shape.

    The averaged networks are filled from the averaged ones. Optimizers and counts stay new.

    Returns:
        Lines for the log: for each network what was taken, and by name and shape what was not.

    Raises:
        UsageError: if nothing fits.
    """
    lines, taken = [f"networks from {origin.path}, at {origin.reached}x{origin.reached}"], 0
    networks = trainer.game.networks
    fitting = {name: _fitting(network, origin.networks.get(name, {})) for name, network in networks.items()}
    for player in trainer.players.values():
        player.begin_with({name: fitting[name] for name in player.networks})
    for name, network in networks.items():
        # Biases of a few colours or of one score fit any network: they alone are nothing.
        taken += sum(key in fitting[name] and p.dim() > 1 for key, p in network.named_parameters())
        lines.append(f"{name}: {_account(network, origin.networks.get(name, {}), fitting[name])}")
    if not taken:
        raise UsageError(f"--init-from: nothing of {origin.path} fits; {lines[1]}")
    trainer.game.taken_over(fitting)
    for name, ema in trainer.averages.items():
        ema.load_state_dict({**ema.state_dict(), **_fitting(ema, origin.averages.get(name, {}))})
    return [*(f"warning: {warning}" for warning in origin.warnings), *lines]


def _fitting(network: nn.Module, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    mine = _tensors(network.state_dict())
    return {name: tensor for name, tensor in theirs.items() if name in mine and tensor.shape == mine[name].shape}


def _account(network: nn.Module, theirs: Mapping[str, Tensor], fitting: Mapping[str, Tensor]) -> str:
    """What became of the tensors here and there."""
    mine = _tensors(network.state_dict())
    values, of = (sum(tensor.numel() for tensor in some.values()) for some in (fitting, mine))
    others = {
        "new": [f"{name} {list(tensor.shape)}" for name, tensor in mine.items() if name not in theirs],
        "of another shape, so new": [
            f"{name} {list(mine[name].shape)} (there {list(tensor.shape)})"
            for name, tensor in theirs.items()
            if name in mine and name not in fitting
        ],
        "not used": [f"{name} {list(tensor.shape)}" for name, tensor in theirs.items() if name not in mine],
    }
    taken = f"{len(fitting)} of {len(mine)} tensors taken, {values / of:.1%} of the values"
    return "; ".join([taken, *(f"{what}: {listed(names, SHOWN)}" for what, names in others.items() if names)])


def _tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Those of a network's state, which may hold other things."""
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}
