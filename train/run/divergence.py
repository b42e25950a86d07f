"""Whether training has diverged. A checkpoint of such a state must never take the place of a healthy one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

SKIPPED_IN_A_ROW = 100
"""A run ends after this many skipped updates in a row: it does not recover. The loss scale of fp16 halves at each of
them, and has settled long before that."""


def streak(state: Mapping[str, Any]) -> int:
    """How many updates in a row had been skipped when a trainer's state was taken: the largest count of all roles."""
    return max(int(player["streak"]) for player in state["players"].values())


def divergence(state: Mapping[str, Any]) -> str | None:
    """Why no run can go on from a trainer's state, in words; None if it can.

    Checks all saved tensors of the networks, the averaged ones, the optimizers and what the game remembers. Running
    statistics count where a network is averaged: the others are always in training mode and never read them.
    """
    if (skipped := streak(state)) >= SKIPPED_IN_A_ROW:
        return f"the last {skipped} updates in a row had non-finite gradients"
    own = {f"process {rank}": process["own"] for rank, process in enumerate(state["processes"])}
    for part in ("networks", "averages", "players", "state", "own"):
        for name, tensor in _tensors(own if part == "own" else state[part], part):
            unread = part == "networks" and name.split(".")[1] not in state["averages"]
            unread = unread and name.endswith((".running_mean", ".running_var"))
            if not unread and not tensor.isfinite().all():
                return f"{name} is not finite"
    return None


def _tensors(value: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _tensors(part, f"{name}.{key}")
