"""The memory that a single call takes."""

from __future__ import annotations

import torch

from benchmarks.memory import peak_of

MB = 1 << 20
CPU = torch.device("cpu")


def tensor() -> torch.Tensor:
    return torch.empty(MB, dtype=torch.uint8)


def test_results_count() -> None:
    assert peak_of(tensor, CPU) == MB


def test_what_is_freed_in_between_counts_if_it_is_held_with_the_rest() -> None:
    def call() -> torch.Tensor:
        first = tensor()
        second = tensor()
        del first
        return second

    assert peak_of(call, CPU) == 2 * MB


def test_what_is_freed_before_does_not() -> None:
    def call() -> torch.Tensor:
        first = tensor()
        del first
        return tensor()

    assert peak_of(call, CPU) == MB


def test_tensors_there_before_do_not() -> None:
    held = tensor()
    assert peak_of(lambda: held.zero_(), CPU) == 0
