"""The table of what critics measured, and which results are off."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from train.studies.divergence_methods import BY_NAME, METHODS, Method
from train.studies.normals import PAIRS
from train.studies.study import table

LARGE = 1e3
"""Larger values are compared by their logarithms."""
RATIOS = {
    "cross-entropy": "r/(1 + r)",
    "exponential": "log r",
    "mean-square": "r",
    "log-likelihood": "r",
    "hinge": "sign(log r)",
}


class Found(NamedTuple):
    """A result: see :class:`train.studies.divergences.Result`."""

    value: float
    measured: float
    ratio_error: float | None
    seconds: float


def is_large(value: float) -> bool:
    return value > LARGE


def deviation(found: Found) -> float:
    """Relative, of logarithms where the value is large; not a number where the critic diverged."""
    value, measured = found.value, found.measured
    if is_large(value):
        value, measured = math.log(value), math.log(measured) if measured > 0 else math.nan
    return (measured - value) / abs(value)


def is_within(method: Method, found: Found) -> bool:
    off, ratio = abs(deviation(found)), found.ratio_error
    return method.tolerance is None or (off <= method.tolerance and (ratio is None or ratio <= method.tolerance))


def missed(found: Mapping[tuple[str, str], Found]) -> list[str]:
    """Results that are off by more than their method's tolerance, a line each."""
    lines = []
    for (name, pair), one in found.items():
        if not is_within(BY_NAME[name], one):
            ratio = "" if one.ratio_error is None else f", D* {one.ratio_error:.1%}"
            lines.append(
                f"{name}, {pair}: {one.measured:.5g} instead of {one.value:.5g} ({deviation(one):+.1%}{ratio})"
            )
    return lines


def summary(found: Mapping[tuple[str, str], Found]) -> str:
    """The table, and if there are likelihood ratios that of their D*, in Markdown."""
    rows = [["`--loss`", "what is measured"]]
    for pair in PAIRS:
        rows[0] += [pair, "D"]
    rows[0] += ["off by", "what is out of reach, and why"]
    for method in METHODS:
        ours = [found.get((method.name, pair)) for pair in PAIRS]
        if any(ours):
            cells = [cell for one in ours for cell in _cells(one)]
            worst = max((abs(deviation(one)) for one in ours if one), default=math.nan)
            off = "–" if method.tolerance is None else _percent(worst)
            rows.append([f"`{method.name}`", escaped(method.measures), *cells, off, escaped(method.note)])
    return "\n\n".join([table(rows, names=2, remarks=1), *_ratios(found)])


def _ratios(found: Mapping[tuple[str, str], Found]) -> list[str]:
    rows = [["family", "ω(r)", *PAIRS]]
    for family, omega in RATIOS.items():
        ours = [found.get((f"likelihood-ratio(family={family})", pair)) for pair in PAIRS]
        if any(ours):
            errors = ["–" if one is None or one.ratio_error is None else _percent(one.ratio_error) for one in ours]
            rows.append([family, omega, *errors])
    return [table(rows, names=2)] if len(rows) > 1 else []


def _cells(found: Found | None) -> list[str]:
    """The value, and what the critic measured."""
    if found is None:
        return ["–", "–"]
    if is_large(found.value) and found.measured > 0:
        return [f"e^{math.log(value):.3f}" for value in (found.value, found.measured)]
    return [f"{value:.4f}" if abs(value) < 100 else f"{value:.4g}" for value in (found.value, found.measured)]


def _percent(share: float) -> str:
    return "below 0.01 %" if share < 1e-4 else f"{100 * share:.2f} %"


def escaped(text: str) -> str:
    """In a cell of a table, a bar would end it."""
    return text.replace("|", "\\|")
