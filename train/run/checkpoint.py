"""Checkpoints: plain dicts of tensors, numbers and strings in files that are complete or absent."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from train.base import processes
from train.base.errors import CheckpointError, UsageError, is_out_of_memory
from train.base.files import TEMPORARY, first_line, read_torch, write_atomically
from train.engine.trainer import Trainer
from train.run.divergence import divergence, streak
from train.run.older import of_one_process, with_heads

FORMAT = 3


def path_for(folder: Path, images: int) -> Path:
    """The file for the checkpoint at so many images shown; names sort as the counts do."""
    return folder / f"checkpoint_{images:09d}.pt"


def checkpoints(folder: Path) -> list[Path]:
    """The folder's checkpoints, oldest first."""
    return sorted(folder.glob("checkpoint_*.pt"))


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Writes a checkpoint; it appears under its name only when all of it is on the disk.

    Raises:
        OSError: if it cannot be written; earlier checkpoints are untouched.
    """
    write_atomically(path, lambda file: torch.save({"format": FORMAT, **state}, file))


def load(path: Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU.

    Raises:
        CheckpointError: if there is none, or it is truncated, damaged or of another format.
        OSError: if it cannot be read now, which does not make an older one the newest.
    """
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path} is not a checkpoint")
    try:
        state = read_torch(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {path}") from error
    except ValueError as error:
        raise CheckpointError(f"checkpoint {path} {error}") from error
    found = state.get("format") if isinstance(state, dict) else None
    if not isinstance(found, int):
        raise CheckpointError(f"checkpoint {path} names no format; this program reads format {FORMAT}")
    if found == 2:
        state, found = of_one_process(state), FORMAT
    if found == 1:
        raise CheckpointError(
            f"checkpoint {path} is of format 1, of a version before this one, and cannot be continued or read here;"
            f" this program reads format {FORMAT}"
        )
    if found != FORMAT:
        raise CheckpointError(f"checkpoint {path} has format {found}; this program reads format {FORMAT}")
    return with_heads(state)


def load_newest(folder: Path) -> tuple[Path, dict[str, Any], list[str]]:
    """The folder's newest complete checkpoint, its content, and a warning for each newer one that is damaged or of a
    state that has diverged.

    Raises:
        CheckpointError: if there is none.
    """
    warnings: list[str] = []
    there = checkpoints(folder)
    for path in reversed(there):
        try:
            state = load(path)
        except CheckpointError as error:
            warnings.append(str(error))
            continue
        why = None
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):  # it holds no trainer's state
            why = divergence(state["trainer"])
        if why is None:
            return path, state, warnings
        warnings.append(f"checkpoint {path} is of a run that has diverged: {why}")
    if set(checkpoints(folder)) - set(there):  # a run at work there has written a newer one and removed these
        return load_newest(folder)
    raise CheckpointError(warnings[0] if warnings else f"{folder} holds no checkpoint")


def newest_healthy(folder: Path) -> tuple[Path, str] | None:
    """The newest checkpoint whose last update was not skipped, one from before the trouble of a run that diverges; and
    the learning rate that it was trained with, as the options say it."""
    for path in reversed(checkpoints(folder)):
        with contextlib.suppress(CheckpointError), reading(path):
            state = load(path)
            if not divergence(state["trainer"]) and not streak(state["trainer"]):
                return path, str(state["config"]["lr"])
    return None


def find(path: Path) -> tuple[Path, dict[str, Any], list[str]]:
    """:func:`load_newest` for a run's folder, :func:`load` for a checkpoint file."""
    return load_newest(path) if path.is_dir() else (path, load(path), [])


def clear_after(kept: Path) -> list[Path]:
    """Renames the checkpoints newer than ``kept`` so that they no longer count, and removes unfinished files.

    A run that goes on from an older checkpoint would otherwise find its abandoned future there when next resumed.

    Returns:
        The new names.
    """
    newer = [path for path in checkpoints(kept.parent) if path.name > kept.name]
    aside = [path.rename(path.with_name(path.name + ".set-aside")) for path in newer]
    for path in kept.parent.glob(f"checkpoint_*{TEMPORARY}"):
        path.unlink()
    return aside


def prune(folder: Path, keep: int, spare: Path | None = None) -> None:
    """Removes all but the newest ``keep`` checkpoints and ``spare``."""
    for path in checkpoints(folder)[: -max(keep, 1)]:
        if path != spare:
            path.unlink()


def resuming(description: Mapping[str, Any], path: Path) -> str:
    """What to type to go on with a run's folder or with a checkpoint."""
    start = "python" if processes.size() == 1 else f"torchrun --nproc-per-node {processes.on_this_machine()}"
    return f"{start} -m train.{description['system']} --resume {shlex.quote(str(path))}"


def check_system(state: Mapping[str, Any], name: str, path: Path, option: str = "") -> None:
    """CheckpointError, beginning with ``option``, if a checkpoint is not of this system."""
    if state["system"] != name:
        raise CheckpointError(f"{option}checkpoint {path} is of a run of train.{state['system']}, not of train.{name}")


def check_continues(
    state: Mapping[str, Any], path: Path, trainer: Trainer, description: Mapping[str, Any], fixed: Sequence[str]
) -> None:
    """Sees to it that a trainer can go on from a checkpoint, before anything is changed.

    Args:
        description: what this run's checkpoints say of its networks.
        fixed: options that a run must keep, although all shapes would fit.

    Raises:
        CheckpointError: if it is of another system, of other networks or of another loss, whose memory differs, or of a
            run that has diverged.
        UsageError: if it does not fit the data, or an option was changed.
    """
    check_system(state, description["system"], path)
    saved = state["trainer"]
    _check_memory(saved, path, trainer)
    for name, network in trainer.game.networks.items():
        check_shapes(name, network, saved["networks"][name], path)
    for name, network in trainer.averages.items():
        check_shapes(f"averaged {name}", network, saved["averages"][name], path)
    if why := divergence(saved):
        healthy = newest_healthy(path.parent)
        advice = f"; continue from before that: {resuming(description, healthy[0])}" if healthy else ""
        raise CheckpointError(f"checkpoint {path} is of a run that has diverged: {why}{advice}")
    for name, length in trainer.source.lists.items():
        if (was := saved["source"][name]["length"]) != length:
            raise UsageError(
                f"checkpoint {path} was trained on {was} {name}, but data now has {length}: restore the old ones, or"
                f" start a new run with --init-from {path}"
            )
    then, now = state.get("config", {}), description["config"]
    for name in fixed:
        if name in then and then[name] != now[name]:
            raise UsageError(
                f"{name}={now[name]!r}: the networks of checkpoint {path} were trained with {then[name]!r}"
            )


def _check_memory(saved: Mapping[str, Any], path: Path, trainer: Trainer) -> None:
    """CheckpointError if what losses remember or learn is missing in a checkpoint, or is there and not here."""
    there, here = (list(state) for state in (saved["state"], trainer.game.state.state_dict()))
    lacking = [name for name in trainer.game.networks if name not in saved["networks"]]
    if lacking or sorted(there) != sorted(here):
        theirs, ours = (", ".join(names) or "nothing" for names in (there, [*here, *lacking]))
        raise CheckpointError(
            f"checkpoint {path} is of another loss: it holds {theirs} to go on with, and this one needs {ours}. Start a"
            f" new run with --init-from {path}"
        )


def other_processes(state: Mapping[str, Any]) -> list[str]:
    """What to say where a checkpoint was written by another number of processes than this run has."""
    then, now = len(state["trainer"]["processes"]), processes.size()
    if then == now:
        return []
    return [
        f"the checkpoint is of a run in {_counted(then)}, this is one in {_counted(now)}: random numbers begin anew, so"
        " it does not go on exactly as it would have"
    ]


def _counted(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def check_shapes(name: str, network: nn.Module, saved: Mapping[str, Any], path: Path) -> None:
    """CheckpointError, naming the first, if a network's saved tensors have other names or shapes than its own."""
    if not isinstance(saved, Mapping):
        raise CheckpointError(f"checkpoint {path} is damaged: {name} holds no tensors by name")
    mine = {k: v.shape for k, v in network.state_dict().items() if isinstance(v, torch.Tensor)}
    theirs = {k: v.shape for k, v in saved.items() if isinstance(v, torch.Tensor)}
    for key in [*mine, *theirs]:
        if mine.get(key) != theirs.get(key):
            there, here = (f"of shape {list(shapes[key])}" if key in shapes else "absent" for shapes in (theirs, mine))
            raise CheckpointError(f"checkpoint {path} has another shape: {name} {key} is {there} there, {here} here")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Around code that takes over a checkpoint's content: its errors about parts that are missing or damaged become
    CheckpointErrors that name the file."""
    try:
        yield
    except UsageError:
        raise
    except KeyError as error:
        raise CheckpointError(f"checkpoint {path} lacks {error}") from error
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        raise CheckpointError(f"checkpoint {path} is damaged: {first_line(error)}") from error
