"""Values that an option gives as text: a table by resolution, the rows and columns of a grid."""

from __future__ import annotations

from typing import TypeVar

from train.base.errors import UsageError
from train.base.values import LARGEST

Number = TypeVar("Number", int, float)


def parse_table(text: str, kind: type[Number], option: str) -> dict[int, Number]:
    """A value for each resolution: ``"16"`` or ``"4:128,32:64"`` (128 from 4x4 on, 64 from 32x32 on).

    Raises:
        UsageError: naming ``option``, if the text is no such table.
    """
    table: dict[int, Number] = {}
    for entry in text.split(","):
        resolution, colon, value = entry.rpartition(":")
        try:
            table[int(resolution) if colon else 4] = kind(value)
        except ValueError:
            one = "a whole number" if kind is int else "a number"
            message = f"{text!r} is neither {one} nor a table of them by resolution such as '4:8,64:2'"
            raise UsageError(f"{option}: {message}") from None
    if min(table) > 4:
        raise UsageError(f"{option}: {text!r} has no value for resolutions below {min(table)}")
    if not all(0 <= value <= LARGEST for value in table.values()):
        raise UsageError(f"{option}: {text!r} has a value that is not a finite number of at least 0")
    return table


def lookup(table: dict[int, Number], resolution: int) -> Number:
    """The table's value at this resolution: that of the nearest entry at or below it."""
    return table[max(r for r in table if r <= resolution)]


def grid_of(count: int) -> tuple[int, int]:
    """Rows and columns of so many images: at most eight columns, or one row where none of 2 to 8 divides them."""
    columns = max(number for number in range(1, 9) if count % number == 0)
    return (count // columns, columns) if columns > 1 else (1, count)


def parse_grid(text: str, option: str = "grid") -> tuple[int, int]:
    """``"8x10"`` → (8, 10)."""
    rows, _, columns = text.partition("x")
    # No longer number: Python itself refuses one of thousands of digits.
    if not all(part.isdecimal() and len(part) < 10 and int(part) for part in (rows, columns)):
        raise UsageError(f"{option}: {text!r} is not ROWSxCOLUMNS, such as 8x8")
    return int(rows), int(columns)
