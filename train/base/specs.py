"""Choices with their values, such as ``wgan-gp(weight=10, target=750)``: the fields are those of a dataclass."""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from train.base.errors import UsageError
from train.base.values import complaint

T = TypeVar("T")

_SPEC = re.compile(r"\s*([^\s(),=]+)\s*(?:\(([^()]*)\)\s*)?")
_TOP_LEVEL_COMMA = re.compile(r",(?![^()]*\))")


def parse_spec(text: str, kinds: Mapping[str, T], option: str) -> T:
    """A new instance of the kind that ``text`` names, with the values that it gives.

    Args:
        text: a name, or one with values: ``name(field=value, …)``. Fields have ``-`` or ``_`` between their words.
        kinds: by name a dataclass instance that has the values of what is not given. Fields that can be given are of
            type int, float, bool, str or Literal.
        option: what the text was given to, for messages.

    Raises:
        UsageError: naming option and text, if the text does not read like that, or a name or a value is impossible.
    """
    where = f"{option}={text!r}"
    read = _SPEC.fullmatch(text)
    if not read:
        raise UsageError(f"{where} does not read like name or name(field=value, …); names are {', '.join(kinds)}")
    name, values = read[1], read[2] or ""
    if name not in kinds:
        close = difflib.get_close_matches(name, kinds, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UsageError(f"{where}: {name!r} is not one of {', '.join(kinds)}{hint}")
    default = kinds[name]
    types = typing.get_type_hints(type(default))
    fields = _fields(default)
    given: dict[str, Any] = {}
    for part in values.split(",") if values.strip() else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        field = key.replace("-", "_")
        if not equals:
            raise UsageError(f"{where}: {part.strip()!r} does not read like field=value")
        if field not in fields:
            others = f"only {', '.join(fields)}" if fields else "nor anything else to give"
            raise UsageError(f"{where}: {name} has no {key!r}, {others}")
        if field in given:
            raise UsageError(f"{where}: {field} is given twice")
        given[field] = _value(value, types[field])
        if wrong := complaint(given[field], types[field]):
            raise UsageError(f"{where}: {field}={value!r} {wrong}")
    try:
        return dataclasses.replace(default, **given)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None


def parse_specs(text: str, kinds: Mapping[str, T], option: str) -> tuple[T, ...]:
    """Those of a list with commas between them, such as ``r1(gamma=1), r2``; none of an empty text."""
    if not text.strip():
        return ()
    return tuple(parse_spec(part.strip(), kinds, option) for part in _TOP_LEVEL_COMMA.split(text))


def listing(kinds: Mapping[str, Any]) -> str:
    """All kinds with their fields and what these are if not given: ``hinge, wgan-gp(weight=10, target=1)``."""
    return ", ".join(name + _values(default) for name, default in kinds.items())


def _values(default: Any) -> str:
    """As they may be typed: 10 for 10.0, true for True."""
    values = {name: getattr(default, name) for name in _fields(default)}
    texts = {n: v if isinstance(v, str) else str(v).lower().removesuffix(".0") for n, v in values.items()}
    return f"({', '.join(f'{name}={text}' for name, text in texts.items())})" if texts else ""


def _fields(default: Any) -> list[str]:
    """Those that can be given, in the order of the constructor's arguments."""
    fields = sorted(dataclasses.fields(default), key=lambda field: field.kw_only)
    return [field.name for field in fields if field.init]


def _value(text: str, kind: Any) -> Any:
    """The value that a text stands for; the text itself where it stands for none of this type."""
    if typing.get_origin(kind) is Literal:
        return next((value for value in typing.get_args(kind) if str(value) == text), text)
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return kind(text)
    except ValueError:
        return text
