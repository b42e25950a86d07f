"""What the metrics on features have in common: checks, and the two sets that are compared, kept whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def check_features(features: Tensor, name: str, width: int | None = None) -> Tensor:
    """Detached [N, D] floating-point features without NaN and infinity, of the width that earlier ones had."""
    if features.dim() != 2:
        raise ValueError(f"{name} must be [N, D], but its shape is {list(features.shape)}")
    if not features.is_floating_point():
        raise TypeError(f"{name} must be floating-point, but is {features.dtype}")
    if width is not None and features.shape[1] != width:
        raise ValueError(f"{name} must have {width} columns, but its shape is {list(features.shape)}")
    if not features.isfinite().all():
        raise ValueError(f"{name} must be finite, but {(~features.isfinite()).sum()} values are not")
    return features.detach()


def check_count(metric: str, what: str, needed: int, count: int) -> None:
    """Fewer samples than the metric needs are an error that says how many."""
    if count < needed:
        raise ValueError(f"{metric} needs at least {needed} {what}, but there are {count}")


class FeatureSet:
    """Features [N, D] that come in batches and are kept as they are, with their dtype and device."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._batches: list[Tensor] = []

    def __len__(self) -> int:
        return sum(len(batch) for batch in self._batches)

    def add(self, batch: Tensor, width: int | None = None) -> None:
        self._batches.append(check_features(batch, self.name, self.width if width is None else width))

    @property
    def width(self) -> int | None:
        return self._batches[0].shape[1] if self._batches else None

    def all(self, metric: str) -> Tensor:
        """[N, D]."""
        check_count(metric, f"{self.name} samples", 1, len(self))
        self._batches = [torch.cat(self._batches)]
        return self._batches[0]


class TwoSets:
    """The streaming half of a metric on the features of two sets; ``made_of`` is what keeps of a set what it needs."""

    made_of: Callable[[str], Any]

    def __init__(self) -> None:
        self.reset()

    def update(self, features: Tensor, *, real: bool) -> None:
        """Adds a batch of features [N, D] of real or of generated images."""
        other = self._fake if real else self._real
        (self._real if real else self._fake).add(features, other.width)

    def reset(self) -> None:
        """Forgets everything."""
        self._real, self._fake = self.made_of("real"), self.made_of("fake")

    @property
    def count_real(self) -> int:
        return len(self._real)

    @property
    def count_fake(self) -> int:
        return len(self._fake)


class TwoFeatureSets(TwoSets):
    """Both sets' features whole: memory grows by every batch."""

    made_of = FeatureSet

    def real_statistics(self) -> dict[str, Tensor]:
        """What :meth:`load_real` takes, for a cache: here the features themselves."""
        return {"features": self._real.all(type(self).__name__)}

    def load_real(self, statistics: dict[str, Tensor]) -> None:
        """Replaces all that was added of the real set by its statistics."""
        self._real = FeatureSet("real")
        self._real.add(statistics["features"], self._fake.width)
