"""Units of work captured as CUDA graphs: at small sizes a step is little but launches, and a graph is one.

:class:`Cuda` is all that is asked of torch.cuda, and :class:`Graphs` what is done with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3
"""Steps before the capture: they choose algorithms, make the optimizers' state, fill the compilers' caches."""

AUTO_UP_TO = 64
"""Resolution up to which ``--cuda-graphs auto`` captures: a guess until its benchmark has run on a GPU.
Above, kernels should be long enough to hide their launches, and the graphs' memory is better left to the images."""


def wanted(option: str, device: torch.device, resolution: int) -> bool:
    """Whether ``--cuda-graphs auto|on|off`` says to capture at this resolution."""
    return device.type == "cuda" and (option == "on" or (option == "auto" and resolution <= AUTO_UP_TO))


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


class Graphs:
    """Runs units of work, one after another, on batches of one shape: a few times op by op, then as captured graphs.

    The first WARM_UP calls and the capture are steps like any other, so nothing has to be undone. The batch is
    copied into tensors that stay where they are; all else that the units use must stay where it is too. If capturing
    fails, it says why and goes on op by op.

    Args:
        units: functions of a batch (a NamedTuple of tensors and None). They return nothing.
        cuda: the device.
        say: where to say why capturing failed.
    """

    def __init__(self, units: Sequence[Callable[[Any], None]], cuda: Cuda, say: Callable[[str], None]) -> None:
        self._units, self._cuda, self._say = units, cuda, say
        self._calls = 0
        self._failed = False
        self._inputs: Any = None
        self._graphs: list[Any] = []

    def __call__(self, batch: Any) -> None:
        if self._failed:
            self._run(batch)
            return
        self._copy(batch)
        if self._calls < WARM_UP:
            with self._cuda.aside():
                self._run(self._inputs)
        elif self._calls > WARM_UP or self._capture():
            for graph in self._graphs:
                graph.replay()
        else:
            self.release()
            self._run(batch)
        self._calls += 1

    def release(self) -> None:
        """Frees the graphs and their memory."""
        self._cuda.free(self._graphs)
        self._graphs, self._inputs = [], None

    def _run(self, batch: Any) -> None:
        for unit in self._units:
            unit(batch)

    @torch.no_grad()
    def _copy(self, batch: Any) -> None:
        if self._inputs is None:
            self._inputs = type(batch)(*(None if tensor is None else torch.empty_like(tensor) for tensor in batch))
        for mine, given in zip(self._inputs, batch, strict=True):
            if isinstance(given, Tensor):
                mine.copy_(given)

    def _capture(self) -> bool:
        pool = self._cuda.new_pool()
        try:
            for unit in self._units:
                self._graphs.append(self._cuda.capture(lambda unit=unit: unit(self._inputs), pool))
        except RuntimeError as error:
            self._failed = True
            self._say(f"the step runs without CUDA graphs: {' '.join(str(_first(error)).split())}")
        return not self._failed


def _first(error: BaseException) -> BaseException:
    """The error that led to this one: what invalidated a capture, and not that it is invalid when it ends."""
    while error.__context__ is not None:
        error = error.__context__
    return error
