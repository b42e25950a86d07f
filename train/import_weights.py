"""``python -m train.import_weights``: makes a run of the weights of another codebase.

They become a checkpoint in a folder, of which ``generate``, ``evaluate``, ``export`` and ``--init-from`` make what they
make of a run's. A new family of networks is an entry of :data:`FAMILIES`.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor, nn

from models import biggan as biggan_networks
from models import r3gan as r3gan_networks
from models import stylegan2 as stylegan2_networks
from models import stylegan3 as stylegan3_networks
from models.parts.stylegan_arguments import from_arguments
from train import biggan, r3gan, stylegan2, stylegan3
from train.base.errors import UsageError, listed, run_program
from train.run import checkpoint
from train.run.folder import new_folder
from train.run.foreign import Asked, Weights, read_weights
from train.run.options import TrainConfig, parse_options, to_dict
from train.run.restoring import filled
from train.run.system import System

PROG = "python -m train.import_weights"


@dataclass(frozen=True)
class Options:
    """Makes a run of the weights that the authors' code of StyleGAN2-ADA, StyleGAN3, R3GAN or BigGAN has saved."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """The authors' .pkl, or state dicts (.safetensors, .npz, of torch.save), in one file or more; no code is run."""
    out: Path | None = None
    """Folder for the checkpoint, new or empty (default: runs/<system>-<resolution>-<n>)."""


Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """Networks of another codebase that are also networks of ours.

    Attributes:
        system: that trains such networks.
        marks: of G and D, the name of a tensor that it has, and of one that it lacks and the other has.
        made: of G and D, what makes one of ours of these arguments.
        from_authors: arguments and tensors of ours, of their tensors by name; it asks for those alone that it uses.
            ValueError if they are of no network that we have.
        config: options of the system for networks with these arguments of G and D; D's are none where it is missing.
            ValueError if there are no such options.
        said: of G and D, names of arguments that a pickle says and tensors do not.
    """

    system: System
    marks: Mapping[str, tuple[str, str]]
    made: Mapping[str, Callable[..., nn.Module]]
    from_authors: Callable[[Mapping[str, Tensor]], tuple[dict[str, Any], dict[str, Tensor]]]
    config: Callable[[Arguments, Arguments], TrainConfig]
    said: Mapping[str, Sequence[str]] = field(default_factory=dict)


def _r3gan(g: Arguments, d: Arguments) -> TrainConfig:
    return dataclasses.replace(
        r3gan.SYSTEM.presets["cifar10"],
        resolution=4 << (len(g["widths"]) - 1),
        latent=g["latent_dim"],
        width=",".join(f"{4 << i}:{width}" for i, width in enumerate(g["widths"])),
        blocks=g["blocks"],
        group_width=g["group_width"],
        condition="projection" if "num_classes" in g else "none",
    )


def _biggan(g: Arguments, d: Arguments) -> TrainConfig:
    return dataclasses.replace(
        biggan.SYSTEM.presets["cifar10"],
        resolution=g["resolution"],
        latent=g["latent_dim"],
        g_width=g["width"],
        d_width=d.get("width", g["width"]),
        attention=next(iter(g["attention"]), 0),
        embedding=g["embedding"],
        hierarchical=g["hierarchical"],
        deep=g["deep"],
        condition="projection" if g["num_classes"] else "none",
    )


def _stylegan2(g: Arguments, d: Arguments) -> TrainConfig:
    config = dataclasses.replace(
        stylegan2.SYSTEM.presets["auto"],
        resolution=4 << (len(g["widths"]) - 1),
        latent=g["latent_dim"],
        w_dim=g["w_dim"],
        mapping_layers=g["mapping_layers"],
        channel_base=str(g["widths"][-1] << (len(g["widths"]) + 1)),
        channel_max=g["widths"][0],
        condition="projection" if g["num_classes"] else "none",
        d_skips=d.get("residual", True),
        group_size=d.get("group_size", 4),
        half=g.get("half", 4),
    )
    if config.widths() != list(g["widths"]):
        raise ValueError(f"there are {g['widths']} maps, and no channel-base and channel-max that give them")
    return config


def _stylegan3(g: Arguments, d: Arguments) -> TrainConfig:
    turns = g["kernel_size"] == 1
    config = dataclasses.replace(
        stylegan3.SYSTEM.presets["stylegan3-r" if turns else "stylegan3-t"],
        resolution=g["resolution"],
        latent=g["latent_dim"],
        w_dim=g["w_dim"],
        mapping_layers=g["mapping_layers"],
        channel_base=str(g["channel_base"] // (2 if turns else 1)),
        channel_max=g["channel_max"] // (2 if turns else 1),
        condition="projection" if g["num_classes"] else "none",
        group_size=d.get("group_size", 4),
        **{name: g[name] for name in ("layers", "critical", "margin", "half") if name in g},
    )
    for name in ("channel_base", "channel_max", "kernel_size", "radial"):
        if (ours := config.of_generator()[name]) != g[name]:
            raise ValueError(f"{name}={g[name]!r} is in neither configuration: it would be {ours!r}")
    return config


def _of_stylegan3(state: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Its discriminator is StyleGAN2's."""
    networks = stylegan3_networks if "synthesis.input.freqs" in state else stylegan2_networks
    return networks.from_authors(state)


_OF_STYLEGAN2_D = ("half", "clamp", "group_size")
FAMILIES: Mapping[str, Family] = {
    "StyleGAN2": Family(
        stylegan2.SYSTEM,
        marks={"G": ("synthesis.b4.const", ""), "D": ("b4.out.weight", "")},
        made={"G": stylegan2_networks.Generator, "D": stylegan2_networks.Discriminator},
        from_authors=stylegan2_networks.from_authors,
        config=_stylegan2,
        said={"G": ("half", "clamp"), "D": _OF_STYLEGAN2_D},
    ),
    "StyleGAN3": Family(
        stylegan3.SYSTEM,
        marks={"G": ("synthesis.input.freqs", ""), "D": ("b4.out.weight", "")},
        made={"G": stylegan3_networks.Generator, "D": stylegan2_networks.Discriminator},
        from_authors=_of_stylegan3,
        config=_stylegan3,
        said={"G": ("half", "magnitude_beta"), "D": _OF_STYLEGAN2_D},
    ),
    "R3GAN": Family(
        r3gan.SYSTEM,
        marks={"G": ("AggregationLayer.Layer.weight", ""), "D": ("ExtractionLayer.Layer.weight", "")},
        made={"G": r3gan_networks.Generator, "D": r3gan_networks.Discriminator},
        from_authors=r3gan_networks.from_authors,
        config=_r3gan,
    ),
    "BigGAN": Family(
        biggan.SYSTEM,
        marks={"G": ("output_layer.2.weight", ""), "D": ("blocks.0.0.conv1.weight", "output_layer.2.weight")},
        made={"G": biggan_networks.Generator, "D": biggan_networks.Discriminator},
        from_authors=biggan_networks.from_authors,
        config=_biggan,
    ),
}


@dataclass(frozen=True)
class Found:
    """A network in a file, as one of ours."""

    arguments: dict[str, Any]
    tensors: dict[str, Tensor]
    used: set[str]


def prefixes(tensors: Mapping[str, Tensor], has: str, lacks: str) -> list[str]:
    """What stands before the names of a network's tensors, of each such network there."""
    found = [name.removesuffix(has) for name in tensors if name == has or name.endswith("." + has)]
    return [prefix for prefix in found if not lacks or prefix + lacks not in tensors]


def network(family: Family, role: str, weights: Weights, prefix: str) -> Found:
    """One network; UsageError if it is none that we can make."""
    asked = Asked(weights, prefix)
    try:
        arguments, own = family.from_authors(asked)
        if asked.arguments and (names := family.said.get(role)):
            made_with = from_arguments(asked.arguments)
            arguments |= {name: made_with[name] for name in names}
        arguments = {name: list(value) if isinstance(value, tuple) else value for name, value in arguments.items()}
        filled(
            role, partial(family.made[role], **arguments), own, Path(prefix.rstrip(".") or role), torch.device("cpu")
        )
    except UsageError:
        raise
    except (LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UsageError(f"{prefix or role}: {error}") from None
    return Found(arguments, own, asked.names)


def networks(weights: Weights) -> tuple[Family, dict[str, Found]]:
    """The family whose generator is there, and its networks: "G" or "averaged G", which has "ema" in its name, or both,
    and maybe "D". UsageError if there is none, or what there is cannot be told apart or made."""
    tensors = weights.tensors
    for family in FAMILIES.values():
        if prefixes(tensors, *family.marks["G"]):
            break
    else:
        some = f"{len(tensors)} tensors, {listed(list(tensors), 3)}"
        raise UsageError(f"there is no generator of {' or '.join(FAMILIES)} ({some})")
    found: dict[str, Found] = {}
    for role, mark in family.marks.items():
        for prefix in prefixes(tensors, *mark):
            name = f"averaged {role}" if "ema" in prefix.lower() else role
            if name in found:
                raise UsageError(f"there is more than one {name}: leave out all but one")
            found[name] = network(family, role, weights, prefix)
    return family, found


def checkpoint_of(family: Family, found: Mapping[str, Found]) -> dict[str, Any]:
    """A checkpoint's content, as of a run that has shown nothing. Samples are drawn from the averaged generator; where
    there is only one generator, it is both."""
    trained, average = (found.get(one, found.get(other)) for one, other in (("G", "averaged G"), ("averaged G", "G")))
    parts = {"G": trained, **({"D": found["D"]} if "D" in found else {})}
    try:
        config = family.config(average.arguments, parts["D"].arguments if "D" in parts else {})
    except ValueError as error:
        raise UsageError(str(error)) from None
    return {
        "system": family.system.name,
        "config": to_dict(config),
        "generator_options": average.arguments,
        "sampler": "G",
        "trainer": {
            "images": 0,
            "steps": 0,
            "networks": {name: part.tensors for name, part in parts.items()},
            "averages": {"G": average.tensors},
            "players": {name: {"streak": torch.tensor(0.0)} for name in parts},
            "state": {},
            "processes": [{"own": {}}],
        },
    }


def main(args: Sequence[str] | None = None) -> int:
    options = parse_options(Options, sys.argv[1:] if args is None else args, prog=PROG)
    if not options.files:
        raise UsageError("name a file of weights")
    read = {path: read_weights(path.expanduser()) for path in options.files}
    weights = Weights({}, {})
    for path, some in read.items():
        some = some.below(path.stem) if len(read) > 1 else some
        weights = Weights({**weights.tensors, **some.tensors}, {**weights.arguments, **some.arguments})
    try:
        family, found = networks(weights)
        state = checkpoint_of(family, found)
    except UsageError as error:
        raise UsageError(f"{', '.join(map(str, read))}: {error}") from None
    resolution = state["config"]["resolution"]
    saved = checkpoint.path_for(new_folder(options.out, f"{family.system.name}-{resolution}"), 0)
    checkpoint.save(saved, state)
    for name, one in found.items():
        print(f"{name}: {len(one.tensors)} tensors, {sum(tensor.numel() for tensor in one.tensors.values()):,} values")
    used = set().union(*(one.used for one in found.values()))
    for name, tensor in weights.tensors.items():
        if name not in used:
            print(f"not used: {name} {list(tensor.shape)}")
    print(f"{saved}: {family.system.program} at {resolution}x{resolution}")
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
