"""Checks of the values of options: their type, their range, and that numbers are finite."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch

from train.base.errors import UsageError


class Range(NamedTuple):
    """Whole numbers that an option takes, both ends included."""

    least: int
    most: int = torch.iinfo(torch.int64).max


class Interval(NamedTuple):
    """Numbers from 0 that an option takes."""

    end: float
    open: bool = False
    """Whether the end itself is out of it."""


Decay = Annotated[float, Interval(1.0, open=True)]
"""What an average over steps keeps of itself in each."""
Share = Annotated[float, Interval(1.0)]
"""Of a whole."""
Seed = Annotated[int, Range(0)]
"""Of random numbers: torch and NumPy both take it, and a few added to it."""
Size = Annotated[int, Range(1, 2**20)]
"""Length of an axis of tensors; products of two and a kernel's size fit into 64 bits."""
Runs = Annotated[int, Range(1, 10_000)]
"""How many trainings a study has, or has at once."""
LARGEST = torch.finfo(torch.float32).max
NotNegative = Annotated[float, Interval(LARGEST)]
"""At least 0."""
SMALLEST_RESOLUTION = 4  # PGGAN starts at 4 x 4
LARGEST_RESOLUTION = 16384
"""Beyond it the sums of image pyramids would not fit uint32."""


def wrong_resolution(size: object) -> str:
    """What is wrong with a height and width of images, 2ⁿ or 3·2ⁿ (48 for STL-10); nothing if it is right."""
    whole = isinstance(size, int) and not isinstance(size, bool) and size >= SMALLEST_RESOLUTION
    if not whole or not is_power_of_two(size // 3 if size % 3 == 0 else size):
        return f"is not a power of two of at least {SMALLEST_RESOLUTION}, or three times one"
    return f"is more than {LARGEST_RESOLUTION}" if size > LARGEST_RESOLUTION else ""


def is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


def check_values(options: Any, source: str = "") -> None:
    """Checks that each field of a dataclass of options has a value of its type.

    Raises:
        UsageError: naming ``source``, if there is one, the option and its value.
    """
    kinds = typing.get_type_hints(type(options), include_extras=True)
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if wrong := complaint(value, kinds[field.name]):
            where = f"{source}: " if source else ""
            shown = value if isinstance(value, int | float | Path) else repr(value)
            raise UsageError(f"{where}{field.name}={shown} {wrong}")


def complaint(value: Any, kind: Any) -> str:
    """What is wrong with a value of an option of this type; nothing if it is right."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        limits = {Range: _beyond, Interval: _outside}
        bounds = [(limits[type(part)], part) for part in parts[1:] if type(part) in limits]
        return complaint(value, parts[0]) or "".join(beyond(value, part) for beyond, part in bounds)
    if origin in (typing.Union, types.UnionType):
        complaints = [complaint(value, part) for part in parts]
        return "" if "" in complaints else complaints[0]
    if origin is Literal:
        return "" if value in parts else f"is not one of {', '.join(map(repr, parts))}"
    if origin is tuple:
        if not isinstance(value, tuple):
            return "is not a list"
        return next(filter(None, (complaint(one, parts[0]) for one in value)), "")
    # Python takes a bool for an int, and no int for a float.
    if isinstance(value, bool) != (kind is bool) or not isinstance(value, (int, float) if kind is float else kind):
        return f"is not {_NAMES[kind]}"
    if kind is int:
        return _beyond(value, Range(torch.iinfo(torch.int64).min))
    if kind is float and (value != value or abs(value) == math.inf):
        return "is not a finite number"
    if kind is float and abs(value) > LARGEST:
        return f"is beyond {LARGEST:.1e}, the largest number in float32"
    if kind in (str, Path) and "\0" in str(value):
        return "has a zero byte"
    return ""


_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    types.NoneType: "empty",
}


def _beyond(value: int, allowed: Range) -> str:
    if value < allowed.least:
        return f"is less than {allowed.least}"
    return f"is more than {allowed.most}" if value > allowed.most else ""


def _outside(value: float, allowed: Interval) -> str:
    if 0 <= value < allowed.end or (value == allowed.end and not allowed.open):
        return ""
    return f"must be at least 0 and below {allowed.end:g}" if allowed.open else f"is not between 0 and {allowed.end:g}"
