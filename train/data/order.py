"""The order in which training visits the images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class ShuffledOrder:
    """Endless epochs over `length` items, each a fresh permutation that depends on (seed, epoch) alone.

    All epochs joined end to end are one stream. With several processes the one of `rank` takes the positions rank,
    rank + world_size, … so that together they visit each item once an epoch, whatever the batch or the world size.
    """

    def __init__(self, length: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        if length < 1:
            raise ValueError(f"length={length}: an order needs at least one item")
        if world_size < 1 or not 0 <= rank < world_size:
            raise ValueError(f"rank={rank} is not one of world_size={world_size} processes")
        self.length = length
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self._position = 0  # items of the stream that all processes together have taken
        self._epoch = -1
        self._permutation = torch.empty(0, dtype=torch.int64)

    def next(self, count: int) -> Tensor:
        """The next `count` indices of this process, int64 [count]; any count, also one beyond an epoch's end."""
        if count < 0:
            raise ValueError(f"count={count} is negative")
        wanted = self._position + self.rank + self.world_size * torch.arange(count)  # [count] positions in the stream
        self._position += count * self.world_size
        epochs = wanted // self.length
        offsets = wanted % self.length
        indices = torch.empty_like(wanted)
        for epoch in epochs.unique().tolist():
            here = epochs == epoch
            indices[here] = self._permutation_of(epoch)[offsets[here]]
        return indices

    def state_dict(self) -> dict[str, int]:
        """Plain integers; the same in every process as long as all take the same counts."""
        return {"length": self.length, "seed": self.seed, "position": self._position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where `state` was taken, with its seed, on any number of processes. ValueError for another length."""
        if state["length"] != self.length:
            raise ValueError(f"the saved order runs over {state['length']} items, this data has {self.length}")
        self.seed, self._position = int(state["seed"]), int(state["position"])
        if self._position < 0:
            raise ValueError(f"position={self._position} of the saved order is negative")
        self._epoch = -1

    def _permutation_of(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            mixed = np.random.SeedSequence([self.seed % 2**64, epoch]).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(mixed[0]))
            self._permutation = torch.randperm(self.length, generator=generator)
            self._epoch = epoch
        return self._permutation
