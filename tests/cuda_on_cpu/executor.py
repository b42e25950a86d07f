"""The process that kernels run in: ``python executor.py LIBRARY``, started by ``emulated.py`` with the sanitizers
preloaded. Nothing but ctypes: torch or NumPy would only bring memory of their own.

It answers one pickled call after another, from standard input to standard output: (function, dtype, arguments, seed,
unwritten) is answered by the bytes of the arguments that are outputs, and the number of kernels launched. A defect ends
the process.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import sys
from dataclasses import dataclass
from typing import BinaryIO

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]


@dataclass(frozen=True)
class Input:
    """Memory that holds ``data``, ``offset`` bytes behind an address that is a multiple of 16."""

    data: bytes
    offset: int = 0


@dataclass(frozen=True)
class Output:
    """``size`` bytes of memory that nobody has written, ``offset`` bytes behind an address that is a multiple of 16."""

    size: int
    offset: int = 0


Memory = Input | Output
Argument = Memory | list[Memory] | int | float | None  # of a list, an array of pointers; of None, a null pointer


def run(library: ctypes.CDLL, function: str, dtype: int, arguments: list[Argument], unwritten: int) -> list[bytes]:
    blocks: list[int] = []
    outputs: list[tuple[int, int]] = []

    def address_of(memory: Memory) -> int:
        data = memory.data if isinstance(memory, Input) else bytes([unwritten]) * memory.size
        # A block of its own, which ends with the tensor: the sanitizer sees an access one element behind it.
        blocks.append(libc.malloc(memory.offset + len(data)))
        address = blocks[-1] + memory.offset
        ctypes.memmove(address, data, len(data))
        if isinstance(memory, Output):
            outputs.append((address, memory.size))
        return address

    def native(argument: Argument) -> object:
        if isinstance(argument, Memory):
            return ctypes.c_void_p(address_of(argument))
        if isinstance(argument, list):
            return (ctypes.c_void_p * len(argument))(*map(address_of, argument))
        if isinstance(argument, float):
            return ctypes.c_double(argument)
        return ctypes.c_void_p(None) if argument is None else ctypes.c_int64(argument)

    getattr(library, function)(ctypes.c_int(dtype), *map(native, arguments))
    results = [ctypes.string_at(address, size) for address, size in outputs]
    for block in blocks:
        libc.free(block)
    return results


def serve(library: ctypes.CDLL, calls: BinaryIO, answers: BinaryIO) -> None:
    while True:
        try:
            function, dtype, arguments, seed, unwritten = pickle.load(calls)
        except EOFError:
            return
        library.cuda_on_cpu_set(ctypes.c_uint64(seed), ctypes.c_uint64(unwritten))
        results = run(library, function, dtype, arguments, unwritten)
        pickle.dump((results, library.cuda_on_cpu_launches()), answers)
        answers.flush()


if __name__ == "__main__":
    sys.modules["executor"] = sys.modules["__main__"]  # under this name the other side pickles Input and Output
    serve(ctypes.CDLL(sys.argv[1], mode=os.RTLD_NOW), sys.stdin.buffer, sys.stdout.buffer)
