"""What is made of the objects in a pickle of networks: records that hold what they were given, and do nothing.

A pickle can call what it names, and set the state of whatever it has made, of classes too. So every class here takes or
refuses a state itself, and none of them computes anything but tensors of stored numbers.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

MOST = 20_000
"""Parts of a file's networks: theirs have a tenth of it, and what holds itself has no end."""


class Refused(ValueError):
    """What is not read, by its name."""


class Inert:
    """A record. Its class is not what the pickle names, but stands for it."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise ValueError(f"a state for {type(self).__name__}, which has none")


class PlainDict(Inert, dict):
    """An OrderedDict or an EasyDict: the order is every dict's, and other attributes are not kept."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


class Module(Inert):
    """A network or a part of one.

    Attributes:
        state: what torch keeps in ``__dict__``: "_parameters", "_buffers", "_modules" and more.
    """

    __slots__ = ("state",)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, Mapping):
            raise ValueError(f"the state of a module is of type {type(state).__name__}")
        self.state = state


class PersistentModule(Module):
    """What the authors' ``persistence`` would make of the source text in ``meta``, which is not looked at."""

    __slots__ = ()

    def __init__(self, meta: Mapping[str, Any]) -> None:
        self.__setstate__(meta["state"])


class Storage(Inert):
    """The numbers of tensors: bytes of ``torch.save``, which the original reads by a pickle within them."""

    __slots__ = ("values",)

    def __init__(self, content: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # typed storages are deprecated, and are what old files hold
            try:
                stored = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            except pickle.UnpicklingError as error:
                if found := re.search(r"GLOBAL (\S+)", str(error)):
                    raise Refused(f"holds {found[1]} among the bytes of a tensor, which is not read") from error
                raise
            if not isinstance(stored, torch.storage.TypedStorage):
                raise ValueError(f"{type(stored).__name__} in place of a tensor's numbers")
            self.values = torch.empty(0, dtype=stored.dtype).set_(stored.untyped())


class StoredTensor(Inert):
    """A tensor, a view of a storage within its bounds."""

    __slots__ = ("tensor",)

    def __init__(self, storage: Storage, offset: int, size: Sequence[int], stride: Sequence[int], *rest: Any) -> None:
        values = storage.values
        if math.prod(size) > len(values):
            raise ValueError(f"a tensor of shape {list(size)} in {len(values)} numbers")
        self.tensor = values.as_strided(size, stride, offset)


class StoredParameter(Inert):
    """The tensor of a parameter."""

    __slots__ = ()

    def __new__(cls, data: StoredTensor, *rest: Any) -> StoredTensor:
        return data


class NumpyType(Inert):
    """A type of numbers.

    Raises:
        Refused: it is of objects, of text or of records.
    """

    __slots__ = ("dtype",)

    def __init__(self, code: str, *rest: Any) -> None:
        if not re.fullmatch(r"b1|[iu][1248]|f[248]|c8|c16", code):
            raise Refused(f"holds an array of numpy's type {code!r}, which is not of numbers and is not read")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Sequence[Any]) -> None:
        order = state[1]
        if order not in ("<", ">", "=", "|"):
            raise ValueError(f"numpy's byte order {order!r}")
        self.dtype = self.dtype.newbyteorder(order)


class NumpyArray(Inert):
    """An array of numbers; what it is made with says nothing, its state all."""

    __slots__ = ("array",)

    def __init__(self, *rest: Any) -> None:
        pass

    def __setstate__(self, state: Sequence[Any]) -> None:
        _, shape, kind, columns_first, content = state
        self.array = _array(content, kind, shape, "F" if columns_first else "C")


class NumpyBuffer(Inert):
    """The same of protocol 5."""

    __slots__ = ()

    def __new__(cls, content: bytes, kind: NumpyType, shape: Sequence[int], order: str, *rest: Any) -> NumpyArray:
        made = NumpyArray()
        made.array = _array(content, kind, shape, "F" if order == "F" else "C")
        return made


class NumpyScalar(Inert):
    """A number."""

    __slots__ = ()

    def __new__(cls, kind: NumpyType, content: bytes) -> bool | int | float | complex:
        return _array(content, kind, (), "C").item()


class NumpyClass(Inert):
    """The class of arrays, which is only named."""

    __slots__ = ()


def _array(content: bytes, kind: NumpyType, shape: Sequence[int], order: str) -> np.ndarray:
    if not isinstance(content, bytes | bytearray):
        raise ValueError(f"{type(content).__name__} in place of an array's numbers")
    return np.frombuffer(content, kind.dtype).reshape(shape, order=order)


def tensors(value: Any) -> Iterator[tuple[str, Tensor]]:
    """All tensors by their names in a ``state_dict``; those in a dict have its keys before theirs.

    Tensors that a module has besides its parameters and buffers are among them.
    """
    for name, part in _walk(value):
        if isinstance(part, StoredTensor):
            yield name, part.tensor
        elif isinstance(part, NumpyArray):
            array = part.array.astype(part.array.dtype.newbyteorder("="))  # a copy, which can be written to
            yield name, torch.from_numpy(array)


def arguments(value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """What persistent modules were made with by keyword, plain values alone, by what stands before the names of their
    tensors, such as ``"G_ema."``."""
    left = iter(range(MOST))
    for name, part in _walk(value):
        if isinstance(part, Module) and isinstance(made_with := part.state.get("_init_kwargs"), Mapping):
            yield f"{name}." if name else "", _plain(made_with, left)


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """All parts by name, in their order; ValueError if there is no end to them."""
    left = [("", value)]
    for _ in range(MOST):
        if not left:
            return
        name, part = left.pop()
        yield name, part
        inner = [(f"{name}.{key}" if name else str(key), each) for key, each in _parts(part)]
        left.extend(reversed(inner))
    raise ValueError(f"more than {MOST} parts")


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Module):
        for name in ("_parameters", "_buffers", "_modules"):
            yield from value.state.get(name, {}).items()
        yield from ((name, part) for name, part in value.state.items() if isinstance(part, StoredTensor))
    elif isinstance(value, Mapping):
        yield from value.items()


def _plain(value: Any, left: Iterator[int]) -> Any:
    """Numbers, text and truth, and lists and dicts of these, as many as are left; None for anything else."""
    if next(left, None) is None:
        raise ValueError(f"arguments of more than {MOST} values")
    if isinstance(value, Mapping):
        return {str(key): _plain(part, left) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part, left) for part in value]
    return value if isinstance(value, bool | int | float | str) else None
