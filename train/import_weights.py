"""``python -m train.import_weights``: makes a run of the weights of another codebase.

A file of weights becomes a checkpoint in a folder, of which ``generate``, ``evaluate``, ``export`` and ``--init-from``
make what they make of a run's.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor, nn

from models import r3gan as r3gan_networks
from train import r3gan
from train.base.errors import UsageError, listed, run_program
from train.run import checkpoint
from train.run.folder import new_folder
from train.run.foreign import read_tensors
from train.run.options import TrainConfig, parse_options, to_dict
from train.run.restoring import filled
from train.run.system import System

PROG = "python -m train.import_weights"


@dataclass(frozen=True)
class Options:
    """Makes a run of the authors' weights of R3GAN: a file of tensors by name becomes a checkpoint."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """State dicts: .safetensors, .npz, or what torch.save wrote, of which no code is run."""
    out: Path | None = None
    """Folder for the checkpoint, new or empty (default: runs/<system>-<resolution>-<n>)."""


@dataclass(frozen=True)
class Family:
    """Networks of another codebase that are also networks of ours.

    Attributes:
        system: that trains such networks.
        marks: of G and D, the name of a tensor that only this network has.
        made: of G and D, what makes one of ours of these arguments.
        from_authors: arguments and tensors of ours, of their tensors by name; it asks for those alone that it uses.
            ValueError if they are of no network that we have.
        config: options of the system for networks with these arguments of G.
    """

    system: System
    marks: Mapping[str, str]
    made: Mapping[str, Callable[..., nn.Module]]
    from_authors: Callable[[Mapping[str, Tensor]], tuple[dict[str, Any], dict[str, Tensor]]]
    config: Callable[[Mapping[str, Any]], TrainConfig]


def _r3gan(g: Mapping[str, Any]) -> TrainConfig:
    widths = ",".join(f"{4 << i}:{width}" for i, width in enumerate(g["widths"]))
    names = {"blocks": "blocks", "group_width": "group_width", "latent": "latent_dim"}
    return dataclasses.replace(
        r3gan.SYSTEM.presets["cifar10"],
        **{option: g[argument] for option, argument in names.items()},
        width=widths,
        resolution=4 << (len(g["widths"]) - 1),
        condition="projection" if "num_classes" in g else "none",
    )


FAMILIES: Mapping[str, Family] = {
    "R3GAN": Family(
        r3gan.SYSTEM,
        marks={"G": "AggregationLayer.Layer.weight", "D": "ExtractionLayer.Layer.weight"},
        made={"G": r3gan_networks.Generator, "D": r3gan_networks.Discriminator},
        from_authors=r3gan_networks.from_authors,
        config=_r3gan,
    )
}


class _Asked(Mapping[str, Tensor]):
    """The tensors of one network of a file, and which of them were asked for."""

    def __init__(self, tensors: Mapping[str, Tensor], prefix: str) -> None:
        self._tensors, self._prefix = tensors, prefix
        self.asked: set[str] = set()  # whole names

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._tensors[self._prefix + name]
        self.asked.add(self._prefix + name)
        return tensor

    def __contains__(self, name: object) -> bool:
        return f"{self._prefix}{name}" in self._tensors

    def __iter__(self) -> Iterator[str]:
        return (name.removeprefix(self._prefix) for name in self._tensors if name.startswith(self._prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True)
class Found:
    """A network in a file, as one of ours."""

    arguments: dict[str, Any]
    tensors: dict[str, Tensor]
    used: set[str]


def family_of(tensors: Mapping[str, Tensor], path: Path) -> Family:
    """The family whose generator is in the file; UsageError if there is none."""
    for family in FAMILIES.values():
        if prefixes(tensors, family.marks["G"]):
            return family
    raise UsageError(
        f"{path} holds no generator of {', '.join(FAMILIES)} ({len(tensors)} tensors, {listed(list(tensors), 3)})"
    )


def prefixes(tensors: Mapping[str, Tensor], mark: str) -> list[str]:
    """What stands before the names of a network's tensors, of each such network in a file."""
    return [name.removesuffix(mark) for name in tensors if name == mark or name.endswith("." + mark)]


def network(family: Family, role: str, tensors: Mapping[str, Tensor], prefix: str, path: Path) -> Found:
    """One network; UsageError, naming the file, if it is none that we can make."""
    asked = _Asked(tensors, prefix)
    try:
        arguments, own = family.from_authors(asked)
        arguments = {name: list(v) if isinstance(v, tuple) else v for name, v in arguments.items()}
        filled(role, partial(family.made[role], **arguments), own, path, torch.device("cpu"))
    except UsageError:
        raise
    except (KeyError, ValueError, RuntimeError, IndexError, TypeError) as error:
        raise UsageError(f"{path}: {prefix or role}: {error}") from None
    return Found(arguments, own, asked.asked)


def checkpoint_of(family: Family, found: Mapping[str, Found]) -> dict[str, Any]:
    """A checkpoint's content, as of a run that has shown nothing. "G" may be there as it was trained, "averaged G" is
    what samples are drawn from."""
    average = found.get("averaged G", found.get("G"))
    config = family.config(average.arguments)
    config.check()
    networks = {"G": found.get("G", average).tensors, **({"D": found["D"].tensors} if "D" in found else {})}
    return {
        "system": family.system.name,
        "config": to_dict(config),
        "generator_options": average.arguments,
        "sampler": "G",
        "trainer": {
            "images": 0,
            "steps": 0,
            "networks": networks,
            "averages": {"G": average.tensors},
            "players": {name: {"streak": torch.tensor(0.0)} for name in networks},
            "state": {},
            "processes": [{"own": {}}],
        },
    }


def main(args: Sequence[str] | None = None) -> int:
    options = parse_options(Options, sys.argv[1:] if args is None else args, prog=PROG)
    path = options.source.expanduser()
    tensors = read_tensors(path)
    family = family_of(tensors, path)
    found: dict[str, Found] = {}
    for role, mark in family.marks.items():
        for prefix in prefixes(tensors, mark):
            name = f"averaged {role}" if "ema" in prefix.lower() else role
            if name in found:
                raise UsageError(f"{path} holds more than one {name}: leave one in the file")
            found[name] = network(family, role, tensors, prefix, path)
    state = checkpoint_of(family, found)
    resolution = state["config"]["resolution"]
    folder = new_folder(options.out, f"{family.system.name}-{resolution}")
    saved = checkpoint.path_for(folder, 0)
    checkpoint.save(saved, state)
    for name, one in found.items():
        values = sum(tensor.numel() for tensor in one.tensors.values())
        print(f"{name}: {len(one.tensors)} tensors, {values:,} values")
    used = set().union(*(one.used for one in found.values()))
    for name in tensors:
        if name not in used:
            print(f"not used: {name} {list(tensors[name].shape)}")
    print(f"{saved}: {family.system.program} at {resolution}x{resolution}")
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
