"""Means of what a run's losses report, kept on the device until they are asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class Meters:
    """Means over the steps where a value was finite, by name.

    Values that are always reported together share two vectors, so that a report takes a few launches.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._groups: dict[tuple[str, ...], tuple[Tensor, Tensor]] = {}  # names → sums and counts, [names] each
        self._loaded: dict[str, tuple[float, float]] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Takes note of 0-d tensors."""
        sums, counts = self._group(tuple(values))
        now = torch.stack(list(values.values()))
        finite = torch.isfinite(now)
        # Not torch.where(finite, now, 0): it copies the 0 to the device, which a CUDA graph cannot hold.
        sums += now.masked_fill(finite.logical_not(), 0)
        counts += finite

    def means(self) -> dict[str, float]:
        """Means since the last call; NaN where no value was finite. Waits for the device."""
        read = {name: sum_ / count if count else math.nan for name, (sum_, count) in self._read().items()}
        for sums, counts in self._groups.values():
            sums.zero_()
            counts.zero_()
        self._loaded = {}
        return read

    def state_dict(self) -> dict[str, Any]:
        return {name: list(pair) for name, pair in self._read().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._groups = {}
        self._loaded = {str(name): (float(sum_), float(count)) for name, (sum_, count) in state.items()}

    def _group(self, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
        if names not in self._groups:
            begun = [self._loaded.pop(name, (0.0, 0.0)) for name in names]
            sums, counts = torch.tensor(begun, device=self._device).t().contiguous().unbind()
            self._groups[names] = sums, counts
        return self._groups[names]

    def _read(self) -> dict[str, tuple[float, float]]:
        read = dict(self._loaded)
        for names, (sums, counts) in self._groups.items():
            for name, sum_, count in zip(names, sums.tolist(), counts.tolist(), strict=True):
                before = read.get(name, (0.0, 0.0))
                read[name] = before[0] + sum_, before[1] + count
        return dict(sorted(read.items()))  # a run that was resumed meets them in another order
