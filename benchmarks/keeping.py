"""What a run of benchmarks does beside measuring: it keeps each result at once, and stops when its time is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from benchmarks import results


class Keeper:
    """A pytest plugin.

    Args:
        keep: called with all results so far after each that is new; what a run has measured stays if it is cut off.
        until: no benchmark begins that would end after this Unix time if it took as long as the longest before it.
    """

    def __init__(self, keep: Callable[[list[results.Row]], None], until: float | None = None) -> None:
        self.keep, self.until = keep, until
        self.rows: list[results.Row] = []
        self.left_out: list[str] = []
        self._longest = 0.0

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if self.until is not None and time.time() + self._longest > self.until:
            self.left_out.append(item.name)
            pytest.skip("no time is left")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        start = time.time()
        yield  # raises if the benchmark fails
        self._longest = max(self._longest, time.time() - start)
        measured = item.funcargs["benchmark"].extra_info
        if "seconds" in measured:
            self.rows.append(results.row(results.name_of(item.nodeid), measured))
            self.keep(self.rows)
