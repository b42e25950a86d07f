"""Markdown tables and the numbers in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def markdown(header: Sequence[str], body: Sequence[Sequence[Any]], words: int = 0) -> list[str]:
    """Lines of a table; its first columns, ``words`` of them, hold words and are aligned to the left."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    return [line(header), "|" + "---|" * words + "---:|" * (len(header) - words), *map(line, body)]


def three_digits(number: float) -> str:
    """As many as any timing here is good for."""
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def yes(met: bool) -> str:
    return "yes" if met else "**no**"
