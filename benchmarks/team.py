"""Processes beside this one that make steps when told to: one alone, or several with a share of each batch.

Those that wait take no time of a core, so teams can be raced in one process like anything else.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from unittest.mock import patch

import torch

from benchmarks.machine import ROOT
from benchmarks.steps import Ours
from train.base import processes
from train.base.memory import keep_freed_memory
from train.engine import step
from train.engine.parallel import mean
from train.engine.precision import DTYPES

NAMES = ("resolution", "channels", "latent", "batch", "precision")


class Team:
    """``count`` processes of so many threads each, on the CPU, that train PGGAN's networks.

    Args:
        sizes: resolution, channels, latent, batch of all processes together, precision.
    """

    def __init__(self, count: int, threads: int, **sizes: int | str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        together = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        self._members = []
        for rank in range(count):
            own = {**together, "RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": threads}
            self._members.append(
                subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.team", *(str(sizes[name]) for name in NAMES)],
                    env={**os.environ, **{name: str(value) for name, value in own.items()}},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    cwd=ROOT,
                )
            )
        self.sent, *_ = (int(member.stdout.readline()) for member in self._members)
        """Bytes of gradients and reports that a process gives to the others in a step."""

    def step(self) -> None:
        for member in self._members:
            member.stdin.write("\n")
            member.stdin.flush()
        for member in self._members:
            if not member.stdout.readline():
                raise RuntimeError("a process of the team has ended")

    def __enter__(self) -> Team:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for member in self._members:
            member.stdin.close()
        for member in self._members:
            member.wait()


def main(resolution: int, channels: int, latent: int, batch: int, precision: str) -> None:
    say = os.fdopen(os.dup(1), "w")  # the others' own output is silenced
    keep_freed_memory()
    with processes.joined():
        share = processes.share_of(batch)
        torch.manual_seed(0)
        player = Ours(resolution, channels, latent, DTYPES[precision])
        images = torch.rand(share, 3, resolution, resolution).contiguous(memory_format=torch.channels_last) * 2 - 1

        def make_step() -> None:
            player.step(images, torch.randn(share, latent), torch.randn(share, latent), torch.rand(share))

        print(bytes_of(make_step), file=say, flush=True)
        while sys.stdin.readline():
            make_step()
            print(file=say, flush=True)


def bytes_of(make_step: Callable[[], None]) -> int:
    """What a step gives to the other processes."""
    given: list[torch.Tensor] = []

    def watched(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        given.extend(tensors)
        return mean(tensors)

    with patch.object(step, "mean", watched):
        make_step()
    return sum(tensor.numel() * tensor.element_size() for tensor in given)


if __name__ == "__main__":
    size, width, length, count, kind = sys.argv[1:]
    main(int(size), int(width), int(length), int(count), kind)
