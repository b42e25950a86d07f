"""Units of work captured as CUDA graphs: at small sizes a step is little but launches, and a graph is one.

:class:`Cuda` is all that is asked of torch.cuda, and :class:`Captured` what is done with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from train.base import processes

WARM_UP = 3
"""Steps before the capture: they choose algorithms, make the optimizers' state, fill the compilers' caches."""

AUTO_UP_TO = 64
"""Resolution up to which ``--cuda-graphs auto`` captures: a guess until its benchmark has run on a GPU.
Above, kernels should be long enough to hide their launches, and the graphs' memory is better left to the images."""


def wanted(option: str, device: torch.device, resolution: int) -> bool:
    """Whether ``--cuda-graphs auto|on|off`` says to capture at this resolution. "auto" does not with several processes:
    that the messages between them can be captured is not proven on GPUs."""
    automatic = option == "auto" and resolution <= AUTO_UP_TO and processes.size() == 1
    return device.type == "cuda" and (option == "on" or automatic)


class Cuda:
    """The part of torch.cuda that capturing needs, on one device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Within, work goes to a side stream, behind all that was launched before and ahead of all after."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            yield
        torch.cuda.current_stream(self._device).wait_stream(self._stream)

    def new_pool(self) -> Any:
        """Memory for graphs that are replayed in the order of their capture."""
        return torch.cuda.graph_pool_handle()

    def capture(self, unit: Callable[[], None], pool: Any) -> torch.cuda.CUDAGraph:
        """The graph of what ``unit`` launches; nothing of it is executed.

        Raises:
            RuntimeError: if it does what a graph cannot hold, such as reading from the device.
        """
        graph = torch.cuda.CUDAGraph()
        # Other threads may use CUDA meanwhile. The outer context brings the stream back if the capture fails.
        with (
            torch.cuda.stream(self._stream),
            torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"),
        ):
            unit()
        return graph

    def free(self, graphs: Sequence[torch.cuda.CUDAGraph]) -> None:
        """Gives the graphs' memory back to torch's allocator, once the device has done with them."""
        torch.cuda.synchronize(self._device)
        for graph in graphs:
            graph.reset()


class Captured:
    """Runs a unit of work, a few times op by op and then as a captured graph.

    The first WARM_UP calls and the capture are steps like any other, so nothing has to be undone. Everything that the
    unit reads and changes must stay where it is in memory. If capturing fails, it says why and goes on op by op.

    Args:
        unit: takes nothing and returns nothing.
        name: of the unit, for messages.
        cuda: the device.
        pool: memory that it shares with other units; they must be replayed in the order of their capture.
        say: where to say why capturing failed.
    """

    def __init__(self, unit: Callable[[], None], name: str, cuda: Cuda, pool: Any, say: Callable[[str], None]) -> None:
        self._unit, self._name, self._cuda, self._pool, self._say = unit, name, cuda, pool, say
        self._calls = 0
        self.failed = False
        self._graph: Any = None

    def __call__(self) -> None:
        if self.failed:
            self._unit()
            return
        if self._calls < WARM_UP:
            with self._cuda.aside():
                self._unit()
        elif self._calls > WARM_UP or self._capture():
            self._graph.replay()
        else:
            self._unit()
        self._calls += 1

    @property
    def is_captured(self) -> bool:
        return self._graph is not None

    def release(self) -> None:
        """Frees the graph and its memory."""
        if self._graph is not None:
            self._cuda.free([self._graph])
        self._graph = None

    def _capture(self) -> bool:
        try:
            self._graph = self._cuda.capture(self._unit, self._pool)
        except RuntimeError as error:
            self.failed = True
            reason = " ".join(str(_first(error)).split())
            self._say(f"the {self._name} runs without CUDA graphs: {reason}")
        return not self.failed


class Inputs:
    """Columns that are copied to where captured units find them."""

    def __init__(self) -> None:
        self.columns: dict[str, Tensor] = {}

    @torch.no_grad()
    def copy(self, batch: Mapping[str, Tensor]) -> None:
        """Takes over the columns of a batch; those of another name stay as they are."""
        for name, column in batch.items():
            if name not in self.columns:
                self.columns[name] = torch.empty_like(column)
            self.columns[name].copy_(column)


def _first(error: BaseException) -> BaseException:
    """The error that led to this one: what invalidated a capture, and not that it is invalid when it ends."""
    while error.__context__ is not None:
        error = error.__context__
    return error
