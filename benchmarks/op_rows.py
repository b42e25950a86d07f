"""What a result of a single op (benchmarks/ops) says."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from benchmarks.results import Row

PREFIX = "ops/"
LINEAR = {"interpolate", "fade_in", "bias_act", "historical_update_"}
"""Linear or piecewise linear: their second derivatives take hardly any work, so they have no target."""


def is_op(entry: Row) -> bool:
    """Whether it is an op beside rivals of several kinds, and not some ways of computing one beside each other."""
    return entry["name"].startswith(PREFIX) and bool(entry["roles"])


def family(entry: Row) -> str:
    return entry["name"].removeprefix(PREFIX)


def is_linear(entry: Row) -> bool:
    return family(entry) in LINEAR


def fastest(entry: Row, kinds: Iterable[str]) -> str | None:
    """The fastest rival of these kinds."""
    names = [name for name, kind in entry["roles"].items() if kind in kinds]
    return min(names, key=lambda name: entry["seconds"][name]["median"], default=None)


def times_limit(entry: Row) -> float:
    """Our time over the limit's, the largest of those measured."""
    limits = [entry["seconds"][name]["median"] for name, kind in entry["roles"].items() if kind == "limit"]
    return entry["seconds"]["ours"]["median"] / max(limits)


def geometric_mean(ratios: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else math.nan
