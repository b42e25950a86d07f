"""A game: networks by name, the roles that optimizers have, the moves of a step, and what is drawn for it.

Every system is a game (:class:`Game`), and :class:`train.engine.trainer.Trainer` plays any of them. Words: a *move* is
one role's update from one loss; a *unit* is what is compiled or captured; a *step* is all moves once; a *phase* is a
stretch of the schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from train.engine.networks import Networks
from train.engine.player import Role
from train.engine.schedule import Position

Batch = dict[str, Tensor]
"""Columns by name, each [N, …]; all are cut alike into microbatches. A column of one role bears its name and has a row
for every repeat of its move, or ``rows`` of them: "D/z" [times·rows·N, …]."""
Stats = dict[str, Tensor]
"""What a loss reports. Values of no dimension are logged as means; [n, …] are joined over the microbatches and are
columns for the later moves of the step."""
Loss = Callable[[Networks, Batch, Stats], Iterator[Tensor]]
"""Yields terms, 0-d. The gradients of one are taken, and its graph is freed, before the next is asked for."""
Update = Literal["alternating", "joint", "merged"]
"""Each move from what the one before left; all from the same state; the same in one graph, whose parts moves share."""


@dataclass(frozen=True)
class Move:
    """An update of a role.

    Attributes:
        role: its name.
        loss: what it minimises.
        times: updates in a row, each on rows of its own in the role's columns (Arjovsky et al. 2017: D moves 5 times).
        every: the move is made at every n-th step, and its loss counts n times (lazy regularisation, Karras et al.
            2020, appendix B). The role's optimizer is slowed down in proportion.
        rows: of the role's columns for each row of the batch, the same in all moves of a role (in the code of Miyato et
            al. 2018 G learns from twice as many fakes as D).
        name: of the move; the role's unless given. Reports bear it: ``d_loss`` and ``d_norm`` for "D".
    """

    role: str
    loss: Loss
    times: int = 1
    every: int = 1
    rows: int = 1
    name: str = ""

    @property
    def label(self) -> str:
        return self.name or self.role


class Source(Protocol):
    """Where a game's data comes from: lists of samples, each visited in a shuffled order of its own.

    Attributes:
        lists: how many samples each has, by name.
    """

    lists: Mapping[str, int]

    def columns(self, counts: Mapping[str, int], at: Position, random: torch.Generator) -> Batch:
        """The next samples of each list."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Game:
    """What a system brings.

    Attributes:
        networks: by name.
        roles: by name.
        averaged: names of the networks of which a moving average is kept.
        sampler: the averaged network that makes samples of latents.
        updates: the kinds of step that make sense.
        state: its buffers outlive a step and are equal in all processes; :meth:`after` changes them in place.
        own: the same, but each process has values of its own.
    """

    networks: dict[str, nn.Module]
    roles: dict[str, Role]
    averaged: tuple[str, ...] = ("G",)
    sampler: str = "G"
    updates: tuple[Update, ...] = ("alternating", "joint", "merged")
    state: nn.Module
    own: nn.Module

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        self.networks = dict(networks)
        self.state, self.own = nn.Module(), nn.Module()

    def enter(self, at: Position) -> None:
        """Once when a phase begins, and not when a run is resumed in it: what changes weights, such as copying some."""

    def arrange(self, networks: Mapping[str, nn.Module], at: Position, fade: float | Tensor) -> None:
        """Brings networks into the shape of a position: when a phase or a fade begins, and on resuming.

        Those given are the game's own, and the averaged ones as "averaged G". ``fade`` is 0, or a 0-d tensor on the
        device that is kept and changes from step to step.
        """

    def moves(self, at: Position) -> Sequence[Move]:
        """The moves of a step, in their order; the same within a phase."""
        raise NotImplementedError

    def takes(self, count: int, at: Position) -> dict[str, int]:
        """How many samples of each of the source's lists a step takes, for so many of a batch: all of it, or this
        process's share."""
        raise NotImplementedError

    def shows(self, count: int, at: Position) -> int:
        """How many samples such a step counts as shown: by them run schedules and half-lives."""
        return max(self.takes(count, at).values())

    def draw(self, seen: Batch, count: int, at: Position, random: torch.Generator) -> Batch:
        """What the losses of a step are given in this process: made of what the source gave, and of random numbers.

        All random numbers of a step are drawn here, from ``random``.
        """
        raise NotImplementedError

    def taken_over(self, tensors: Mapping[str, Collection[str]]) -> None:
        """When networks begin with tensors of another run, by name of the network and of each: fits what is new."""

    def after(self, stats: Stats) -> None:
        """Once a step, with what its losses reported: changes the buffers of ``state`` and ``own`` in place, on the
        device. Where an update of the step was skipped, they are given their old values again."""
