"""Past fakes that a critic sees among new ones (Shrivastava et al. 2017, arXiv 1612.07828, section 2.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.engine.game import Batch, Stats


class Pool(nn.Module):
    """Fakes of earlier steps, for a game's ``own`` state.

    As CycleGAN has it (Zhu et al. 2017, section 4): while the pool fills, the critic sees each new fake, and it is
    stored. Afterwards the critic sees, with probability ½, one of the pool in its stead, whose place it takes. The rows
    of a step have places of their own; those beyond the pool's size, and those that find it just filled, pass by.

    All shapes are fixed, and nothing is read by the host, so that steps can be compiled and captured.

    Args:
        name: of these fakes, part of the names of columns; those are for the moves of ``role``.
        size: how many there are; with 0 the critic sees the new ones.
        shape: of a fake, [C, H, W].
    """

    def __init__(self, name: str, size: int, shape: tuple[int, int, int], device: torch.device, role: str) -> None:
        super().__init__()
        self.size, self._name, self._columns = size, name, f"{role}/%s {name}"
        images = torch.zeros(size, *shape, device=device)
        self.register_buffer("images", images.contiguous(memory_format=torch.channels_last))
        self.register_buffer("stored", torch.zeros((), dtype=torch.int64, device=device))  # how many

    def draw(self, count: int, random: torch.Generator) -> Batch:
        """Columns for a step: "old" [n, C, H, W], fakes of the pool, and "swapped" [n], bool, where the critic sees
        these; "place" [n], int64, and "kept" [n], bool, where the new ones come to lie and which of them do."""
        if not self.size:
            return {}
        device = self.images.device
        rows = torch.arange(count, device=device)
        drawn = torch.randperm(self.size, generator=random, device=device)[rows % self.size]
        half = torch.rand(count, generator=random, device=device) < 0.5
        full = self.stored >= self.size
        place = torch.where(full, drawn, (self.stored + rows) % self.size)
        kept = torch.where(full, half, self.stored + rows < self.size) & (rows < self.size)
        columns = {"old": self.images[place], "swapped": kept & full, "place": place, "kept": kept}
        return {self._columns % name: column for name, column in columns.items()}

    def seen(self, new: Tensor, batch: Batch, stats: Stats) -> Tensor:
        """What the critic sees in place of the new fakes [n, C, H, W]. Reports where these go, for :meth:`after`."""
        if not self.size:
            return new
        for name in ("place", "kept"):
            stats[f"{name}_{self._name}"] = batch[self._columns % name]
        swapped = batch[self._columns % "swapped"][:, None, None, None]
        return torch.where(swapped, batch[self._columns % "old"], new)

    def after(self, new: Tensor, stats: Stats) -> None:
        """Stores the new fakes of a step, in place."""
        rows = min(len(new), self.size)  # their places differ
        if rows:
            place, kept = (stats[f"{name}_{self._name}"][:rows] for name in ("place", "kept"))
            old, new = self.images[place], new[:rows].to(self.images.dtype)
            self.images.index_copy_(0, place, torch.where(kept[:, None, None, None], new, old))
            self.stored.add_(rows).clamp_(max=self.size)
