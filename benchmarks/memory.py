"""The peak memory of a call.

``python -m benchmarks.memory`` measures a training step in a process of its own: how much resident memory grows after
the networks were built. This includes activations, gradients, optimizer state, and the libraries' own buffers. Linux
only. For a single op it is the memory that torch's allocator hands out (:func:`peak_of`).
"""

from __future__ import annotations

import argparse
import ctypes
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.steps import Ours
from benchmarks.textbook import Textbook
from train.base.memory import keep_freed_memory
from train.engine.precision import DTYPES

_M_MMAP_MAX = -4  # from glibc's malloc.h
_MMAP_MAX_OF_GLIBC = 65536  # its default

STEPS = 5
"""Two that allocate what stays, and some that show the peak."""


def step_memory(
    alternative: str, *, resolution: int, channels: int, latent: int, batch: int, precision: str
) -> int | None:
    """Bytes that steps of "ours" or the "textbook" take at most; None where the system does not tell."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    numbers = [str(number) for number in (resolution, channels, latent, batch)]
    command = [sys.executable, "-m", "benchmarks.memory", alternative, *numbers, precision]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@contextmanager
def nothing_mapped() -> Iterator[None]:
    """Within, malloc takes blocks of any size from its heap.

    As train.base.memory sets it, blocks of 32 MB and more are mapped anew or not, as the heap happens to be;
    an op at that size takes less time than the page faults.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", lambda *_: 0)
    mallopt(_M_MMAP_MAX, 0)
    try:
        yield
    finally:
        mallopt(_M_MMAP_MAX, _MMAP_MAX_OF_GLIBC)


def peak_of(call: Callable[[], object], device: torch.device) -> int:
    """Bytes of tensors on ``device`` that a call holds at most beside those there before; its results are counted."""
    call()  # a first call compiles
    if device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        held = call()  # until the profile ends
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    del held
    events.sort(key=lambda event: event.start_ns())
    return max(accumulate((event.nbytes() for event in events), initial=0))


def a_step(
    alternative: str, resolution: int, channels: int, latent: int, batch: int, precision: str
) -> Callable[[], None]:
    """A step of "ours" or the "textbook" on made-up images, new latents each time."""
    if alternative == "ours":
        keep_freed_memory()  # as the trainer does
    kind = {"ours": Ours, "textbook": Textbook}[alternative]
    player = kind(resolution, channels, latent, DTYPES[precision])
    real = torch.rand(batch, 3, resolution, resolution) * 2 - 1

    def step() -> None:
        z = [torch.randn(batch, latent) for _ in range(2)]
        if alternative == "textbook":
            player.step(real, *z, torch.rand(batch, 1, 1, 1))
        else:
            player.step(real, *z, torch.rand(batch))

    return step


def growth(call: Callable[[], None]) -> int:
    """Bytes by which calls raise this process's resident memory at most."""
    Path("/proc/self/clear_refs").write_text("5")  # lowers the recorded peak to the present size
    before = _status("VmRSS")
    for _ in range(STEPS):
        call()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    """A size from the kernel's account of this process, in bytes."""
    return 1024 * int(re.search(rf"^{field}:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)[1])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description="Prints bytes.")
    parser.add_argument("alternative", choices=["ours", "textbook"])
    for number in ("resolution", "channels", "latent", "batch"):
        parser.add_argument(number, type=int)
    parser.add_argument("precision", choices=DTYPES)
    print(growth(a_step(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
