"""Options and checkpoints that older versions wrote, as this one would have."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor

HEADS = {"dcgan": {"D": ""}, "pggan": {"D": ""}, "vae_gan": {"D": ""}, "meg": {"D": "", "T": "features."}}
"""Of systems: the networks whose last layer was called "out" before there were heads, and where in each that was."""


def options_of_today(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options by name. Before there was ``condition``, DCGAN had ``labels`` and PGGAN ``conditioning``."""
    values = dict(values)
    if isinstance(values.get("labels"), bool):
        values["condition"] = "k+1" if values.pop("labels") else "none"
    if "conditioning" in values:
        condition = values.pop("conditioning")
        values["condition"] = "cgan" if condition == "concat" else condition
    return values


def of_one_process(state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of format 2, from before runs had several processes, as one of today; what is damaged stays so."""
    trainer = state.get("trainer")
    if isinstance(trainer, dict):
        names = ("own", "random", "global_random", "global_random_cuda")
        trainer["processes"] = [{name: trainer.pop(name) for name in names if name in trainer}]
    return {**state, "format": 3}


def with_heads(state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of before discriminators had heads, as one of today; what is damaged stays so."""
    if isinstance(config := state.get("config"), dict):
        state = {**state, "config": options_of_today(config)}
    with contextlib.suppress(AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        trainer, condition = state["trainer"], state["config"].get("condition", "none")
        for network, inside in HEADS.get(state["system"], {}).items():
            was, now = f"{inside}out.", f"{inside}head.{'classes' if condition == 'k+1' else 'score'}."
            if condition == "acgan" and trainer["networks"][network].get(f"{was}weight") is not None:
                _part_classes(trainer, state["generator_options"]["num_classes"])
            for part in ("networks", "averages"):
                if (tensors := trainer[part].get(network)) is not None:
                    trainer[part][network] = _renamed(tensors, was, now)
            for player in trainer["players"].values():
                player["averages"] = _renamed(player["averages"], f"{network}.{was}", f"{network}.{now}")
    return state


def _renamed(tensors: Mapping[str, Any], was: str, now: str) -> dict[str, Any]:
    return {now + name.removeprefix(was) if name.startswith(was) else name: t for name, t in tensors.items()}


def _part_classes(trainer: dict[str, Any], num_classes: int) -> None:
    """AC-GAN's scores and logits had one layer, which gave first these and then those: now each has its own."""
    tensors, player = trainer["networks"]["D"], trainer["players"]["D"]
    place = [name for name, value in tensors.items() if isinstance(value, Tensor)].index("out.weight")

    def halves(value: Tensor) -> tuple[Tensor, Tensor]:
        if not value.dim():
            return value.clone(), value.clone()
        score, classes = value.split((len(value) - num_classes, num_classes))
        return score.clone(), classes.clone()

    # Moments of the optimizer are numbered, with two parameters more now.
    moments = {i if i < place else i + 2: value for i, value in player["optimizer"].items()}
    for i, name in enumerate(("weight", "bias")):
        for some, inside in ((tensors, ""), (player["averages"], "D.")):
            if (was := f"{inside}out.{name}") in some:
                some[was], some[f"{inside}head.classes.{name}"] = halves(some[was])
        if (both := moments.pop(place + 2 + i, None)) is not None:
            parted = {key: halves(value) for key, value in both.items()}
            for half, number in enumerate((place + i, place + 2 + i)):
                moments[number] = {key: value[half] for key, value in parted.items()}
    player["optimizer"] = dict(sorted(moments.items()))
