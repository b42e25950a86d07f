"""Kernels as functions of torch's tensors, executed by the emulator in a sanitized process of their own."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import torch
from compiling import sanitizer_libraries
from executor import Argument, Input, Output
from torch import Tensor

DTYPES = {torch.float64: 0, torch.float32: 1, torch.float16: 2, torch.bfloat16: 3}  # as in csrc/kernel_types.h


# What a family's kernels make, in the order of `definition` (kernel_checks.py); None where there is no kernel.
Outputs = list[Tensor | None]


class KernelFault(AssertionError):
    """What the emulator or a sanitizer said of a kernel."""


class Executor:
    """The process that has ``library``; after a fault, another one."""

    def __init__(self, library: Path) -> None:
        self.library = library
        self.process: subprocess.Popen[bytes] | None = None
        self.complaints = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (close() closes it)

    def call(
        self, function: str, dtype: int, arguments: Sequence[Argument], seed: int, unwritten: int
    ) -> tuple[list[bytes], int]:
        """The outputs among the arguments, and the number of kernels launched."""
        process = self.process = self.process or self._start()
        try:
            pickle.dump((function, dtype, arguments, seed, unwritten), process.stdin)
            process.stdin.flush()
            return pickle.load(process.stdout)
        except (EOFError, BrokenPipeError):
            process.wait()
            self.process = None
            self.complaints.seek(0)
            raise KernelFault(f"{function} ended its process:\n{self.complaints.read()}") from None

    def _start(self) -> subprocess.Popen[bytes]:
        self.complaints.seek(0)
        self.complaints.truncate()
        environment = {
            "PATH": os.environ["PATH"],
            "LD_PRELOAD": sanitizer_libraries(),
            "ASAN_OPTIONS": "detect_leaks=0",  # of Python's own
            "UBSAN_OPTIONS": "print_stacktrace=1",
        }
        return subprocess.Popen(
            [sys.executable, Path(__file__).with_name("executor.py"), self.library],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.complaints,
            env=environment,
        )

    def close(self) -> None:
        if self.process is not None:
            self.process.communicate()
        self.complaints.close()


@dataclass(frozen=True)
class Run:
    """One way to run kernels: ``run("name", *arguments)`` calls the function of that name in glue/.

    A tensor goes there as its memory has it; one on the meta device as memory for an output, which is returned.
    Of several in a list the function gets an array of pointers. Numbers go as they are and ``None`` as a null pointer.
    """

    executor: Executor
    dtype: torch.dtype
    channels_last: bool = False
    misaligned: bool = False  # whether tensors begin one element behind a multiple of 16 bytes
    misaligned_vectors: bool | None = None  # the same of tensors of one axis, parameters; None: as the others
    seed: int = 0  # threads and blocks run in order, or shuffled by it
    unwritten: int = 0xFF  # every byte of memory that nobody has written; 0xFF makes NaN
    launches: Counter[str] = field(default_factory=Counter, compare=False)  # of each function, counted here

    def __call__(self, function: str, *arguments: Tensor | list[Tensor] | int | float | None) -> list[Tensor]:
        natives = [[self._native(t) for t in a] if isinstance(a, list) else self._native(a) for a in arguments]
        answers, launches = self.executor.call(function, DTYPES[self.dtype], natives, self.seed, self.unwritten)
        self.launches[function] += launches
        tensors = chain.from_iterable(a if isinstance(a, list) else [a] for a in arguments)
        outputs = (t for t in tensors if isinstance(t, Tensor) and t.is_meta)
        return [self._tensor(answer, like) for answer, like in zip(answers, outputs, strict=True)]

    def layout(self, x: Tensor) -> tuple[int, int, int]:
        """ChannelLayout of x [N, C, *]."""
        n, c = x.shape[:2]
        pixels = x[0, 0].numel()
        return (n * pixels, c, 1) if self._moves_channels(x) else (n, c, pixels)

    def _moves_channels(self, tensor: Tensor) -> bool:
        return self.channels_last and tensor.dim() in (4, 5)  # those that torch has channels_last for

    def _native(self, argument: Tensor | int | float | None) -> Argument:
        if not isinstance(argument, Tensor):
            return argument
        alone = argument.dim() == 1 and self.misaligned_vectors is not None
        offset = argument.element_size() if (self.misaligned_vectors if alone else self.misaligned) else 0
        if argument.is_meta:
            return Output(argument.numel() * argument.element_size(), offset)
        in_memory = argument.detach().movedim(1, -1) if self._moves_channels(argument) else argument.detach()
        return Input(in_memory.contiguous().view(-1).view(torch.uint8).numpy().tobytes(), offset)

    def _tensor(self, data: bytes, like: Tensor) -> Tensor:
        values = torch.frombuffer(bytearray(data), dtype=like.dtype)
        if not self._moves_channels(like):
            return values.view(like.shape)
        n, c, *spatial = like.shape
        return values.view(n, *spatial, c).movedim(-1, 1)


def like(x: Tensor) -> Tensor:
    """An output with the shape and type of x."""
    return torch.empty_like(x, device="meta")


def wide_like(x: Tensor) -> Tensor:
    """An output with the shape of x, in the type that its sums are taken in."""
    return like(x) if x.dtype == torch.float64 else like(x).float()


def widened(x: Tensor) -> Tensor:
    """x in the type that its sums are taken in."""
    return x if x.dtype == torch.float64 else x.float()


def over_pixels(of_channels: Tensor, x: Tensor) -> Tensor:
    """A tensor [C] as [C, 1, …], which broadcasts with x [N, C, *]."""
    return of_channels.view(-1, *[1] * (x.dim() - 2))
