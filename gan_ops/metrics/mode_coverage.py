"""Which classes a generator makes, and how evenly: modes found and the divergence of class histograms."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gan_ops.metrics._features import check_count


class ModeCoverageResult(NamedTuple):
    """Modes with generated samples, modes with real samples, and the Jensen–Shannon divergence (0 to ln 2, in nats)."""

    found: int
    modes: int
    divergence: float


def mode_coverage(real_labels: Tensor, fake_labels: Tensor, *, modes: int) -> ModeCoverageResult:
    """How many modes of the real samples are among the generated ones, and how far apart the two histograms are.

    A mode is a class of a classifier. With the 1000 of stacked MNIST this is the count of Metz et al. 2017, section
    3.3.1, who take the KL divergence; Jensen–Shannon's, ½KL(p‖m) + ½KL(q‖m) with m = ½(p + q), is finite where a mode
    is missing too.

    Args:
        real_labels, fake_labels: [N] and [M], integers from 0 to modes − 1: a classifier's answers for both sets.
        modes: how many classes there are.

    Raises:
        ValueError: another shape, a label out of range, or a set without samples.
        TypeError: labels are not integers.
    """
    coverage = ModeCoverage(modes=modes)
    coverage.update(real_labels, real=True)
    coverage.update(fake_labels, real=False)
    return coverage.compute()


class ModeCoverage:
    """:func:`mode_coverage` of batches; memory of two histograms."""

    def __init__(self, *, modes: int) -> None:
        if modes < 1:
            raise ValueError(f"modes must be at least 1, but is {modes}")
        self.modes = modes
        self.reset()

    def update(self, labels: Tensor, *, real: bool) -> None:
        """Adds a batch of labels [N] of real or of generated images."""
        if labels.dim() != 1:
            raise ValueError(f"labels must be [N], but their shape is {list(labels.shape)}")
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise TypeError(f"labels must be integers, but are {labels.dtype}")
        if len(labels) and not 0 <= labels.min() <= labels.max() < self.modes:
            raise ValueError(
                f"labels must lie between 0 and {self.modes - 1}, but reach from {labels.min()} to {labels.max()}"
            )
        counts = torch.bincount(labels.long().cpu(), minlength=self.modes)
        if real:
            self._real += counts
        else:
            self._fake += counts

    def compute(self) -> ModeCoverageResult:
        check_count("mode_coverage", "real labels", 1, self.count_real)
        check_count("mode_coverage", "fake labels", 1, self.count_fake)
        p, q = self._real.double() / self.count_real, self._fake.double() / self.count_fake
        m = (p + q) / 2
        divergence = 0.5 * sum(torch.xlogy(x, x / m).nansum() for x in (p, q))  # NaN where neither has the mode
        there = self._real > 0
        return ModeCoverageResult((there & (self._fake > 0)).sum().item(), there.sum().item(), divergence.item())

    def reset(self) -> None:
        """Forgets everything."""
        self._real, self._fake = (torch.zeros(self.modes, dtype=torch.int64) for _ in range(2))

    @property
    def count_real(self) -> int:
        return int(self._real.sum())

    @property
    def count_fake(self) -> int:
        return int(self._fake.sum())

    def real_statistics(self) -> dict[str, Tensor]:
        """What :meth:`load_real` takes, for a cache: the real set's histogram."""
        return {"histogram": self._real.clone()}

    def load_real(self, statistics: dict[str, Tensor]) -> None:
        """Replaces all that was added of the real set by its statistics."""
        self._real = statistics["histogram"].clone()
