"""A new run that starts with the networks of another one (``--init-from``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from train.base.errors import CheckpointError, UsageError, listed
from train.engine.trainer import Game
from train.gan.config import GanConfig
from train.run import checkpoint
from train.run.divergence import divergence
from train.run.options import from_dict

SHOWN = 6  # tensors in a line of the log


@dataclass(frozen=True)
class Origin:
    """The networks of another run.

    Attributes:
        path: the checkpoint.
        reached: resolution that they had reached there.
        sizes: the options that decide on the networks' shapes.
        networks: tensors of "generator", "discriminator" and "ema", by name.
        warnings: of newer checkpoints that were passed over.
    """

    path: Path
    reached: int
    sizes: Mapping[str, Any]
    networks: Mapping[str, Mapping[str, Tensor]]
    warnings: Sequence[str]


def open_origin(source: Path, family: str, kind: type[GanConfig]) -> Origin:
    """Reads a checkpoint, or the newest one of a run's folder; ``kind`` are the family's options.

    Raises:
        CheckpointError: if there is none that can be read, or it is not of the family, or has diverged.
    """
    path, state, warnings = checkpoint.find(source)
    with checkpoint.reading(path):
        if state["family"] != family:
            raise CheckpointError(f"--init-from: checkpoint {path} is of a {state['family']}, not of a {family}")
        if why := divergence(state["trainer"]):
            raise CheckpointError(f"--init-from: checkpoint {path} is of a run that has diverged: {why}")
        saved = {
            "generator": state["trainer"]["generator"]["network"],
            "discriminator": state["trainer"]["discriminator"]["network"],
            "ema": state["trainer"]["ema"],
        }
        networks = {name: dict(_tensors(tensors)) for name, tensors in saved.items()}
        # What a growing network has reached is part of its state; others know one resolution only.
        grown = saved["generator"].get("_extra_state", state["generator_options"])
        options = from_dict(kind, {name: state["config"][name] for name in kind.SIZES}, f"checkpoint {path}")
        sizes = {name: getattr(options, name) for name in kind.SIZES}
        return Origin(path, int(grown["resolution"]), sizes, networks, warnings)


def take_over(game: Game, origin: Origin) -> list[str]:
    """Fills a new game's networks with all tensors of ``origin`` that have the same name and shape.

    The averaged generator is filled from the averaged one. Optimizers and counts stay new.

    Returns:
        Lines for the log: for each network what was taken, and by name and shape what was not.

    Raises:
        UsageError: if nothing fits.
    """
    lines, taken = [f"networks from {origin.path}, at {origin.reached}x{origin.reached}"], 0
    for name, player in (("generator", game.generator), ("discriminator", game.discriminator)):
        theirs = origin.networks[name]
        fitting = _fitting(player.network, theirs)
        # Biases of a few colours or of one score fit any network: they alone are nothing.
        taken += sum(key in fitting and p.dim() > 1 for key, p in player.network.named_parameters())
        player.begin_with(fitting)
        lines.append(f"{name}: {_account(player.network, theirs, fitting)}")
    if not taken:
        raise UsageError(f"--init-from: nothing of {origin.path} fits; {lines[1]}")
    if "minibatch.weight" not in _fitting(game.discriminator.network, origin.networks["discriminator"]):
        game.fit()  # new ones were scaled to what D was before
    game.ema.load_state_dict({**game.ema.state_dict(), **_fitting(game.ema, origin.networks["ema"])})
    return [*(f"warning: {warning}" for warning in origin.warnings), *lines]


def _fitting(network: nn.Module, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    mine = dict(_tensors(network.state_dict()))
    return {name: tensor for name, tensor in theirs.items() if name in mine and tensor.shape == mine[name].shape}


def _account(network: nn.Module, theirs: Mapping[str, Tensor], fitting: Mapping[str, Tensor]) -> str:
    """What became of the tensors here and there."""
    mine = dict(_tensors(network.state_dict()))
    values, of = (sum(tensor.numel() for tensor in some.values()) for some in (fitting, mine))
    new = [f"{name} {list(tensor.shape)}" for name, tensor in mine.items() if name not in theirs]
    differing = [
        f"{name} {list(mine[name].shape)} (there {list(tensor.shape)})"
        for name, tensor in theirs.items()
        if name in mine and name not in fitting
    ]
    unused = [f"{name} {list(tensor.shape)}" for name, tensor in theirs.items() if name not in mine]
    parts = [f"{len(fitting)} of {len(mine)} tensors taken, {values / of:.1%} of the values"]
    for what, names in (("new", new), ("of another shape, so new", differing), ("not used", unused)):
        if names:
            parts.append(f"{what}: {listed(names, SHOWN)}")
    return "; ".join(parts)


def _tensors(state: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Those of a network's state, which may hold other things."""
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            yield name, value
