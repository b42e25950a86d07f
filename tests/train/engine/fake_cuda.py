"""A stand-in for the device of :mod:`train.engine.cuda_graphs`, without a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class FakeGraph:
    """The operations of a unit, with the tensors that they were given: as on a GPU, a replay runs nothing of Python."""

    def __init__(self, unit: Callable[[], None]) -> None:
        self.replays = 0
        self.is_held = True
        with Recording() as recording:
            unit()
        self._calls = recording.calls
        with torch.no_grad():
            for tensor, before in reversed(recording.changed):
                tensor.copy_(before)

    @torch.no_grad()
    def replay(self) -> None:
        assert self.is_held, "a graph is replayed after it was freed"
        self.replays += 1
        for op, args, options, results in self._calls:
            for old, new in zip(tensors(results), tensors(op(*args, **options)), strict=True):
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)


UNSAID = ("running_mean", "running_var")
"""What batch norm changes without its schema saying so."""


class Recording(TorchDispatchMode):
    """What is called within, and what it changes, as it was before."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        self.changed: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        given = dict(zip((argument.name for argument in op._schema.arguments), args, strict=False)) | options
        for argument in op._schema.arguments:
            is_written = argument.alias_info is not None and argument.alias_info.is_write
            if is_written or argument.name in UNSAID:
                self.changed += [(x, x.detach().clone()) for x in tensors(given.get(argument.name))]
        results = op(*args, **options)
        if op is not torch.ops.aten._local_scalar_dense.default:  # a read, which networks allow themselves on a CPU
            self.calls.append((op, args, options, results))
        return results


class FakeCuda:
    """A device on which capturing executes nothing and a replay does what was captured.

    Args:
        error: of the capture with the number ``failing``, the first being 0; "" for none.
    """

    def __init__(self, error: str = "", failing: int = 1) -> None:
        self.error, self.failing = error, failing
        self.runs_aside = 0
        self.captures = 0
        self.captured: list[tuple[FakeGraph, object]] = []

    @contextmanager
    def aside(self) -> Iterator[None]:
        self.runs_aside += 1
        yield

    def new_pool(self) -> object:
        return object()

    def capture(self, unit: Callable[[], None], pool: object) -> FakeGraph:
        self.captures += 1
        if self.error and self.captures == self.failing + 1:
            try:
                raise RuntimeError(self.error)
            finally:
                raise RuntimeError("operation failed due to a previous error during capture")
        graph = FakeGraph(unit)
        self.captured.append((graph, pool))
        return graph

    def free(self, graphs: list[FakeGraph]) -> None:
        for graph in graphs:
            graph.is_held = False

    @property
    def held(self) -> int:
        """Graphs that were not freed."""
        return sum(graph.is_held for graph, _ in self.captured)


def tensors(nested: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(nested) if isinstance(leaf, Tensor)]
