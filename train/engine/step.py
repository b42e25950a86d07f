"""One step of a game, in units of work that run op by op, compiled, or as CUDA graphs.

What a unit reads and changes lies still in memory: the networks, the optimizers' state, the fade, the learning rates,
the counters. All else comes in with the batch, random numbers included. So a unit can be captured and replayed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from train.engine.checks import check_moves
from train.engine.compiled import Compiled
from train.engine.cuda_graphs import Captured, Cuda, Inputs
from train.engine.ema import average
from train.engine.game import Batch, Game, Move, Stats, Update
from train.engine.gradients import columns_of, gradients_of
from train.engine.parallel import mean
from train.engine.player import Player, laid_out_like
from train.engine.precision import Autocast


class Step:
    """Makes the moves of a game on a batch, and moves the averaged networks behind them.

    Compiling and capturing go together or alone. Where either fails, the reason is said once and the unit runs without
    it. What is compiled are the gradients of one microbatch; their mean over the processes, Adam and the moving average
    follow op by op, few calls on all parameters at once. What is captured is all of a unit.

    The networks must not grow while it is in use: after :meth:`release` a new one takes over.

    Args:
        moves: of the phase. Where the update is not alternating, those of every step are one unit, and the lazy ones
            follow.
        players: by role.
        averages: the averaged networks by name.
        weight: by which a step moves these, see :func:`train.engine.ema.average`.
        batch: rows of this process's batch; a role's columns have so many for each repeat of its move.
        microbatch: rows to handle at once; divides the batch.
        report: takes the 0-d values of a move: what its loss reported, and its gradients' norm. They hold until the
            next step.
        compile: compile the gradients' computation.
        cuda: capture the units as CUDA graphs on this device.
        say: where to say what did not work.
    """

    def __init__(
        self,
        game: Game,
        moves: Sequence[Move],
        players: Mapping[str, Player],
        averages: Mapping[str, nn.Module],
        autocast: Autocast,
        *,
        batch: int,
        weight: float | Tensor,
        microbatch: int | None = None,
        update: Update = "alternating",
        report: Callable[[Stats], None] = lambda stats: None,
        compile: bool = False,
        cuda: Cuda | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        check_moves(moves, game, update)
        self._game, self._players, self._averages = game, players, averages
        self._autocast, self._weight, self._report = autocast, weight, report
        self._batch, self._microbatch = batch, microbatch or batch
        if batch % self._microbatch:
            raise ValueError(f"microbatch={microbatch} does not divide the batch of {batch}")
        self._zero = torch.zeros((), device=autocast.device, requires_grad=True)
        self._cuda, self._say = cuda, say
        self._units = [_Unit(unit, update) for unit in _units(moves, update)]
        self._functions: dict[tuple[Move, ...], Callable[..., Any]] = {
            graph: Compiled(gradients_of, _named(graph), say) if compile else gradients_of
            for unit in self._units
            for graph in unit.graphs
        }
        # Rows of a role's columns, in batches: a lazy move sees those of the first repeat.
        self._times = {role: max([m.times for m in moves if m.role == role], default=1) for role in game.roles}
        self._wide = {role: max([m.rows for m in moves if m.role == role], default=1) for role in game.roles}
        self._still = {graph: self._parameters_beside(graph) for graph in self._functions}
        self._buffers = [*game.state.buffers(), *game.own.buffers()]
        self._inputs = Inputs()
        self._stats: dict[str, Stats] = {}  # of each unit, at its last run
        self._skipped: dict[str, Tensor] = {}
        self._captured: dict[str, Captured] = {}
        self._pool = cuda.new_pool() if cuda else None

    def __call__(self, batch: Batch, due: frozenset[str] = frozenset()) -> None:
        """``due`` are the labels of the lazy moves to be made."""
        if self._cuda is not None:
            self._inputs.copy(batch)
            batch = self._inputs.columns
        ran = [unit for unit in self._units if not unit.lazy or unit.moves[0].label in due]
        for unit in ran:
            self._run(unit.name, partial(self._move, unit, batch), unit.lazy)
        self._run(" after ".join(["end of a step", *sorted(due)]), partial(self._end, ran), bool(due))
        if self._cuda is None:
            self._stats, self._skipped = {}, {}

    @property
    def is_captured(self) -> bool:
        """Whether steps are replays of CUDA graphs by now."""
        return bool(self._captured) and all(unit.is_captured for unit in self._captured.values())

    def release(self) -> None:
        """Lets go of compiled code and captured graphs."""
        for unit in self._captured.values():
            unit.release()
        for function in self._functions.values():
            if isinstance(function, Compiled):
                function.release()
        self._captured, self._stats, self._skipped, self._inputs = {}, {}, {}, Inputs()

    def _run(self, name: str, work: Callable[[], None], lazy: bool) -> None:
        if self._cuda is None:
            work()
            return
        if name not in self._captured:
            # Graphs that share memory are replayed in the order of their capture; lazy ones are not.
            pool = self._cuda.new_pool() if lazy else self._pool
            self._captured[name] = Captured(work, name, self._cuda, pool, self._say)
        unit = self._captured[name]
        # A graph reads what units before it report where that lay at its capture; op by op it comes to lie elsewhere.
        if unit.is_captured or not any(other.failed for other in self._captured.values()):
            unit()
        else:
            work()

    def _move(self, unit: _Unit, batch: Batch) -> None:
        """Gradients of the moves of a unit, then their updates."""
        batch = dict(batch)
        for before in self._units[: self._units.index(unit)]:
            if not before.lazy:
                batch |= columns_of(self._stats[before.name])
        stats: Stats = {}
        skipped: list[Tensor] = []
        for repeat in range(unit.moves[0].times):
            gradients: list[Tensor] = []
            for graph in unit.graphs:
                some, reported = self._gradients(graph, batch, repeat)
                gradients += some
                stats |= reported
                batch |= columns_of(reported)
            active = [p for move in unit.moves for p in self._players[move.role].active]
            gradients, stats = _over_processes(laid_out_like(active, gradients), stats)
            for move in unit.moves:
                player = self._players[move.role]
                own, gradients = gradients[: len(player.active)], gradients[len(player.active) :]
                norm, bad = player.update(own, averaging=move.every == 1)
                stats[f"{move.label.lower()}_norm"] = norm
                skipped.append(bad)
            self._report({name: value for name, value in stats.items() if value.dim() == 0})
        self._stats[unit.name] = stats
        self._skipped[unit.name] = torch.stack(skipped).amax()

    def _gradients(self, graph: tuple[Move, ...], batch: Batch, repeat: int) -> tuple[list[Tensor], Stats]:
        """Means over the microbatches, and what the losses reported."""
        total = _Mean()
        size, function = self._microbatch, self._functions[graph]
        with frozen(self._still[graph]):
            for start in range(0, self._batch, size):
                columns = self._rows(batch, graph, repeat, start)
                given = (graph, self._players, self._game.networks, self._autocast, self._zero, columns)
                total.add(*function(*given), size / self._batch)
        return total.gradients, total.stats

    def _parameters_beside(self, graph: tuple[Move, ...]) -> list[nn.Parameter]:
        """Those of roles that do not move."""
        moving = {id(p) for move in graph for p in self._players[move.role].active}
        return [p for player in self._players.values() for p in player.active if id(p) not in moving]

    def _rows(self, batch: Batch, graph: tuple[Move, ...], repeat: int, start: int) -> Batch:
        """What the losses of one graph see of the batch: a microbatch of the columns that are theirs or everybody's."""
        moving = {move.role for move in graph}
        rows: Batch = {}
        for name, column in batch.items():
            role = name.partition("/")[0] if "/" in name else None
            if role in self._players and role not in moving:
                continue
            times, wide = (self._times[role], self._wide[role]) if role in moving else (1, 1)
            if len(column) != times * wide * self._batch:
                expected = f"{times * wide} times the batch's" if times * wide > 1 else "the batch's"
                raise ValueError(f"column {name!r} has {len(column)} rows, not {expected} {self._batch}")
            begin = wide * (start + (repeat * self._batch if role in moving else 0))
            rows[name] = column[begin : begin + wide * self._microbatch]
        return rows

    def _end(self, ran: Sequence[_Unit]) -> None:
        """Moves the averages, and what the game remembers."""
        for name, ema in self._averages.items():
            average(ema, self._game.networks[name], self._weight)
        if not self._buffers:
            return
        stats = {name: value for unit in ran for name, value in self._stats[unit.name].items()}
        skipped = torch.stack([self._skipped[unit.name] for unit in ran]).amax().bool()
        before = [buffer.clone() for buffer in self._buffers]
        with torch.no_grad():
            self._game.after(stats)
        for buffer, old in zip(self._buffers, before, strict=True):
            buffer.copy_(torch.where(skipped, old, buffer))


class _Unit:
    """Moves that are made as one.

    Attributes:
        graphs: the moves whose gradients are taken from one graph, for each graph.
        lazy: whether it is not part of every step.
    """

    def __init__(self, moves: tuple[Move, ...], update: Update) -> None:
        self.moves, self.name, self.lazy = moves, _named(moves), moves[0].every > 1
        self.graphs = [moves] if update == "merged" else [(move,) for move in moves]


def _over_processes(gradients: Sequence[Tensor], stats: Stats) -> tuple[list[Tensor], Stats]:
    """Means of a unit's gradients and of the numbers it reports; whether a step is skipped is decided after it, so all
    processes decide alike. Columns stay each process's own."""
    numbers = [name for name, value in stats.items() if value.dim() == 0]
    means = mean([*gradients, *(stats[name] for name in numbers)])
    return means[: len(gradients)], {**stats, **dict(zip(numbers, means[len(gradients) :], strict=True))}


def _units(moves: Sequence[Move], update: Update) -> list[tuple[Move, ...]]:
    """The moves of each unit, in their order."""
    if update == "alternating":
        return [(move,) for move in moves]
    main = tuple(move for move in moves if move.every == 1)
    return [main, *((move,) for move in moves if move.every > 1)]


def _named(moves: Sequence[Move]) -> str:
    """``"D move"``, ``"D and G moves"``."""
    return " and ".join(move.label for move in moves) + (" move" if len(moves) == 1 else " moves")


@contextlib.contextmanager
def frozen(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Within, the parameters are constants."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


class _Mean:
    """The mean of gradients and reports that come one after another, without keeping the gradients of all; columns are
    joined."""

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []
        self._columns: list[Batch] = []
        self._count = 0
        self._names: list[str] = []

    def add(self, gradients: list[Tensor], stats: Stats, share: float) -> None:
        scalars = {name: value for name, value in stats.items() if value.dim() == 0}
        self._count, self._names = len(gradients), list(scalars)
        tensors = [*gradients, *scalars.values()]
        if share == 1:
            self._tensors = tensors
        elif not self._tensors:
            self._tensors = list(torch._foreach_mul(tensors, share))
        else:
            torch._foreach_add_(self._tensors, tensors, alpha=share)
        self._columns.append(columns_of(stats))

    @property
    def gradients(self) -> list[Tensor]:
        return self._tensors[: self._count]

    @property
    def stats(self) -> Stats:
        joined = {name: torch.cat([some[name] for some in self._columns]) for name in self._columns[0]}
        return dict(zip(self._names, self._tensors[self._count :], strict=True)) | joined
