"""Plays games in the processes of ``torchrun -m tests.train.engine.shares FILE``, each on its share of the batches that
one process alone would see, and writes what became of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from train.base import processes
from train.engine.game import Batch
from train.engine.shared_memory import SharedMemory
from train.engine.trainer import Trainer

from .games import BATCH
from .test_gradients import GAMES, Widened

STEPS = 3
PLAYED = [(name, update) for name, game in GAMES.items() for update in game.updates]


class Shared:
    """A trainer's draws, made for the whole batch and then cut to the rows of this process."""

    def __init__(self, trainer: Trainer) -> None:
        self.game, self.source = trainer.game, trainer.source
        self.draw, self.columns = trainer.game.draw, trainer.source.columns
        self.game.draw, self.source.columns = self.drawn, self.seen

    def seen(self, counts: dict[str, int], at: Any, random: torch.Generator) -> Batch:
        return self.columns({name: count * processes.size() for name, count in counts.items()}, at, random)

    def drawn(self, seen: Batch, count: int, *rest: Any) -> Batch:
        whole = self.draw(seen, count * processes.size(), *rest)
        rows = {move.role: move.rows for move in self.game.moves(rest[0])}
        return {name: self.mine(column, rows.get(name.partition("/")[0], 1)) for name, column in whole.items()}

    def mine(self, column: Tensor, rows: int) -> Tensor:
        """Rows of this process of each repeat, of so many for each of the batch's."""
        repeats = column.unflatten(0, (-1, rows * BATCH)).chunk(processes.size(), 1)
        return repeats[processes.rank()].flatten(0, 1)


def outcome(trainer: Trainer) -> dict[str, Any]:
    """What training has made of the networks."""
    for _ in range(STEPS):
        trainer.step()
    networks, averages = trainer.game.networks, trainer.averages
    return {
        "weights": {name: [p.detach() for p in network.parameters()] for name, network in networks.items()},
        "averages": {name: list(network.parameters()) for name, network in averages.items()},
        "state": dict(trainer.game.state.named_buffers()),
        "losses": trainer.measurements(),
        "images": trainer.images,
    }


def play(name: str, update: str, microbatch: int) -> Trainer:
    """A trainer in float64; one process's, unless the processes are joined after this."""
    trainer = GAMES[name].make(update=update, microbatch=microbatch, compile=False)
    Widened(trainer)
    return trainer


def main(path: Path) -> None:
    # They begin as one process would: with its random numbers and its order of the data.
    trainers = {played: play(*played, microbatch=BATCH) for played in PLAYED}
    by_gloo = {("by gloo", update): play("Toy", update, microbatch=BATCH) for update in GAMES["Toy"].updates}
    with processes.joined():
        outcomes = {}
        for played, trainer in trainers.items():
            Shared(trainer)
            outcomes[played] = processes.exchange(outcome(trainer))
        outcomes["shared memory"] = processes.kept(SharedMemory).serves
        processes.kept(SharedMemory).serves = False  # as with processes on several machines
        for played, trainer in by_gloo.items():
            Shared(trainer)
            outcomes[played] = processes.exchange(outcome(trainer))
        if processes.is_first():
            torch.save(outcomes, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
