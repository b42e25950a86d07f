"""What objectives measure as two normals part: curves by quadrature, and points that critics measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from train.base.files import write_atomically
from train.studies.divergence_methods import BY_NAME
from train.studies.divergences_table import Found
from train.studies.normals import SHIFTS, shifted

CURVE = [i / 4 for i in range(1, 4 * int(max(SHIFTS)) + 1)]
INCHES, DPI = (12.5, 4.6), 100


class Curve(NamedTuple):
    """A curve of a panel."""

    label: str
    method: str  # a row's name
    of: Callable[[float], float] = float  # what is shown of its values
    marked: bool = False  # whether critics measure it too
    style: str = "-"
    marker: str = "o"


class Panel(NamedTuple):
    title: str
    curves: tuple[Curve, ...]
    logarithmic: bool = False


PANELS = (
    Panel(
        "shares of the largest value",
        (
            Curve("JS: minimax, f(js), f(gan), …", "minimax", lambda v: v / math.log(2), True),
            Curve("weighted JS", "f(divergence=weighted-js, weight=0.3)", lambda v: v / 0.61086),
            Curve("total variation: f(tv), hinge, GN", "f(divergence=tv)", marked=True),
            Curve("squared Hellinger: f, α = ½, exponential", "f(divergence=hellinger)", lambda v: v / 2, True),
            Curve("∫ (p − q)²/(p + q): lsgan", "lsgan", lambda v: v / 2, True),
            Curve("Fisher", "fisher(rho=0.01)", lambda v: v / 2, True),
            Curve("W₁/8, for comparison", "wgan-gp(weight=100)", lambda v: v / 8, style="--"),
        ),
    ),
    Panel(
        "distances",
        (
            Curve("W₁: wgan-gp(weight=100)", "wgan-gp(weight=100)", marked=True),
            Curve("c-transform", "c-transform", marked=True, style=":", marker="x"),
            Curve("wgan-gp", "wgan-gp", marked=True),
            Curve("wgan-div", "wgan-div", marked=True),
            Curve("qp, a tenth", "qp", lambda v: v / 10, True),
            Curve("energy distance: mmd(distance)", "mmd(kernel=distance)", marked=True),
            Curve("MMD²: gaussian", "mmd(kernel=gaussian)", marked=True),
            Curve("MMD²: rational-quadratic", "mmd(kernel=rational-quadratic)", marked=True),
            Curve("MMD²: exponential (it saturates)", "mmd(kernel=exponential)", marked=True),
        ),
    ),
    Panel(
        "divergences without a largest value",
        (
            Curve("KL: f, log-likelihood; reverse KL", "f(divergence=kl)", marked=True),
            Curve("Pearson; Neyman; α = 2, mean-square", "f(divergence=pearson)", marked=True),
            Curve("W₁, for comparison", "wgan-gp(weight=100)", style="--"),
        ),
        logarithmic=True,
    ),
)
MARKED = {curve.method for panel in PANELS for curve in panel.curves if curve.marked}
"""Rows that are measured on normals that part, too."""


def draw(path: Path, found: Mapping[tuple[str, str], Found], distances: Sequence[float] = CURVE) -> None:
    """Writes the picture, a PNG; its curves go through the values at these distances."""
    from matplotlib.figure import Figure

    pairs = [shifted(by) for by in distances]
    figure = Figure(INCHES, DPI, layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        for number, curve in enumerate(panel.curves):
            values, colour = [curve.of(BY_NAME[curve.method].value(pair)) for pair in pairs], f"C{number}"
            axes.plot(distances, values, curve.style, color=colour, label=curve.label)
            for by in SHIFTS if curve.marked else ():
                if one := found.get((curve.method, shifted(by).name)):
                    axes.plot(by, curve.of(one.measured), curve.marker, color=colour, markersize=4)
        axes.set_title(panel.title, fontsize=10)
        axes.set_xlabel("δ, of N(0, 1) and N(δ, 1)", fontsize=9)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7.5)
        axes.tick_params(labelsize=8)
        if panel.logarithmic:
            axes.set_yscale("log")
    write_atomically(path, lambda file: figure.savefig(file, format="png"))
