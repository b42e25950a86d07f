"""The gradients of the moves of one unit for one microbatch: what is compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from train.engine.game import Batch, Move, Stats
from train.engine.networks import Networks
from train.engine.player import Player
from train.engine.precision import Autocast


def gradients_of(
    moves: Sequence[Move],
    players: Mapping[str, Player],
    networks: Mapping[str, nn.Module],
    autocast: Autocast,
    zero: Tensor,
    batch: Batch,
) -> tuple[list[Tensor], Stats]:
    """The gradients of all moves, as one graph.

    It is a function of the networks' parameters and of its arguments alone, but for the vectors of a spectral norm and
    running statistics, which a pass moves: random numbers are in the batch, nothing is read from the device, gradients
    are returned and not accumulated.

    Args:
        players: by role; only the parameters of those that move may require a gradient.
        zero: a 0-d tensor of value 0 that requires a gradient.
        batch: the columns that the losses see.

    Returns:
        For each move a gradient for each of its role's active parameters, times its loss scale, in one list; and what
        the losses reported, without a graph, ``<move>_loss`` included.

    Raises:
        ValueError: if a loss yields nothing, or what is no number or depends on no parameter; if no term of a move of
            every step depends on some parameter.
    """
    shared: dict[str, Any] = {}
    stats: Stats = {}
    all_gradients: list[Tensor] = []
    for move in moves:
        player = players[move.role]
        nets = Networks(networks, autocast, player.scale, zero, shared)
        reported: Stats = {}
        total, gradients = None, None
        for term in move.loss(nets, batch, reported):
            _check(term, move)
            more = torch.autograd.grad(
                player.scaled(term if move.every == 1 else term * move.every),
                player.active,
                allow_unused=True,
                # What is shared is needed again.
                retain_graph=any(_has_graph(value) for value in shared.values()),
            )
            term = term.detach()
            total = term if total is None else total + term
            gradients = list(more) if gradients is None else added(gradients, more)
        if total is None:
            raise ValueError(f"the loss of move {move.label!r} yields no term")
        all_gradients += _complete(gradients, move, player)
        stats[f"{move.label.lower()}_loss"] = total
        stats |= {name: value.detach() for name, value in reported.items()}
        # Columns for the moves to come.
        batch = {**batch, **columns_of(stats)}
    return [gradient.detach() for gradient in all_gradients], stats


def columns_of(stats: Stats) -> Batch:
    """What of a report is a column."""
    return {name: value for name, value in stats.items() if value.dim()}


def _check(term: Tensor, move: Move) -> None:
    """ValueError for a term of which there is no gradient."""
    if term.dim():
        raise ValueError(f"the loss of move {move.label!r} yields a term {list(term.shape)}, not a number")
    if not term.requires_grad:
        raise ValueError(f"the loss of move {move.label!r} yields a term that depends on no parameter")


def _has_graph(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(_has_graph(part) for part in value)
    return isinstance(value, Tensor) and value.requires_grad


def added(gradients: Sequence[Tensor | None], more: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The sums of two lists of gradients, either of which may lack some."""
    pairs = list(zip(gradients, more, strict=True))
    # On a GPU one kernel for all that are laid out alike; a single pair that is not would make it one for each.
    alike = [
        i
        for i, (one, other) in enumerate(pairs)
        if one is not None and other is not None and one.stride() == other.stride()
    ]
    sums = torch._foreach_add([gradients[i] for i in alike], [more[i] for i in alike]) if alike else []
    by_place = dict(zip(alike, sums, strict=True))
    return [by_place[i] if i in by_place else _sum(*pair) for i, pair in enumerate(pairs)]


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return one if other is None else other
    return one + other


def _complete(gradients: Sequence[Tensor | None], move: Move, player: Player) -> list[Tensor]:
    """Zeros where a lazy move's loss does not depend on a parameter; elsewhere that is a mistake."""
    missing = [i for i, gradient in enumerate(gradients) if gradient is None]
    if missing and move.every == 1:
        raise ValueError(f"the loss of move {move.label!r} does not depend on {player.name_of(missing[0])}")
    return [
        torch.zeros_like(player.active[i]) if gradient is None else gradient for i, gradient in enumerate(gradients)
    ]
