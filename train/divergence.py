"""Whether training has left the numbers behind: what no later step mends must not take a good checkpoint's place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

SKIPPED_IN_A_ROW = 100
"""So many updates skipped one after another end a run: it does not recover from there. fp16's loss scale, which halves
at each, has long found its place by then."""


def streak(state: Mapping[str, Any]) -> int:
    """Updates skipped one after another up to the moment of a trainer's state: the more of the two players'."""
    return max(int(state[player]["streak"]) for player in ("generator", "discriminator"))


def divergence(state: Mapping[str, Any]) -> str | None:
    """Why no run goes on from a trainer's state, in words; None if nothing speaks against it.

    Everything is looked at that is saved of the networks, their averages and optimizers, but for D's running
    statistics: D is always in training mode, and never reads them.
    """
    if (skipped := streak(state)) >= SKIPPED_IN_A_ROW:
        return f"the last {skipped} updates in a row had non-finite gradients"
    for part in ("generator", "discriminator", "ema"):
        for name, tensor in _tensors(state[part], part):
            unread = part == "discriminator" and name.endswith((".running_mean", ".running_var"))
            if not unread and not bool(torch.isfinite(tensor).all()):
                return f"{name} is not finite"
    return None


def _tensors(value: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _tensors(part, f"{name}.{key}")
