"""Line charts as SVG, to be put into a page; colours of text and grid are the page's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

# Told apart by most colour-blind readers, on white and on black (after Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c00", "#999999")

WIDTH, HEIGHT = 400, 240
LEFT, RIGHT, TOP, BOTTOM = 48, 10, 8, 34
MARKED = 40  # a curve of at most so many points shows each of them, with its value on hover


@dataclass(frozen=True)
class Curve:
    """Points (x, y), x ascending."""

    name: str
    colour: str
    points: Sequence[tuple[float, float]]


def chart(curves: Sequence[Curve]) -> str:
    """An ``<svg>`` of the curves over kimg, on common axes; ValueError if none has a point."""
    curves = [curve for curve in curves if curve.points]
    if not curves:
        raise ValueError("none of the curves has a point")
    points = [point for curve in curves for point in curve.points]
    first, last = min(0.0, *(x for x, _ in points)), max(x for x, _ in points)
    x_ticks = [tick for tick in ticks(first, last) if first <= tick <= last]
    last = last if last > first else first + 1
    y_ticks = ticks(min(y for _, y in points), max(y for _, y in points))

    def x_at(value: float) -> float:
        return LEFT + (value - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y_at(value: float) -> float:
        return HEIGHT - BOTTOM - (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    for tick in y_ticks:
        y = y_at(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.5g}</text>')
    for tick in x_ticks:
        parts.append(f'<text x="{x_at(tick):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{tick:.5g}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 3}" text-anchor="end">kimg</text>')
    for curve in curves:
        way = " ".join(f"{x_at(x):.1f},{y_at(y):.1f}" for x, y in curve.points)
        parts.append(f'<polyline points="{way}" fill="none" stroke="{curve.colour}" stroke-width="1.8"/>')
        if len(curve.points) <= MARKED:
            for x, y in curve.points:
                text = escape(f"{curve.name}: {y:.5g} at {x:g} kimg")
                at = f'cx="{x_at(x):.1f}" cy="{y_at(y):.1f}"'
                parts.append(f'<circle {at} r="3" fill="{curve.colour}"><title>{text}</title></circle>')
    parts.append("</svg>")
    return "".join(parts)


def ticks(low: float, high: float) -> list[float]:
    """About five round numbers, evenly spaced, the first at or below ``low`` and the last at or above ``high``."""
    if not high > low:
        spread = abs(low) / 2 or 1.0
        low, high = low - spread, high + spread
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]
