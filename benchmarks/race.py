"""Times alternatives against each other, interleaved, in one process.

Machines drift: another process runs, a clock changes. One round therefore times every alternative once, and rounds
begin with each in turn, so that what disturbs one disturbs its rivals alike, and ratios are taken within rounds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

from train.memory import keep_freed_memory

TURN = 0.05
"""Seconds that a turn of an alternative takes at least: it is repeated, or its rivals would cool its caches."""


def race(
    benchmark: BenchmarkFixture,
    subject: str,
    alternatives: Mapping[str, Callable[[], None]],
    *,
    params: Mapping[str, Any],
    budget: float = 15.0,
    rounds: tuple[int, int] = (7, 60),
    units: Mapping[str, float] | None = None,
    memory: Mapping[str, int] | None = None,
    roles: Mapping[str, str] | None = None,
    work: Mapping[str, float] | None = None,
) -> None:
    """Measures all alternatives and leaves the seconds of a call of each, by round, in ``benchmark.extra_info``.

    pytest-benchmark times the turns of ``subject`` itself; before and after them, as its setup and teardown, the rivals
    take theirs, by the same clock.

    Args:
        params: what the comparison depends on (numbers and words); with the test's name it identifies the result.
        budget: seconds to spend, as far as the least and the most ``rounds`` allow.
        units: what one call deals with, such as {"images": 16}, for rates.
        memory: bytes that each alternative takes, measured elsewhere.
        roles: what kind of alternative each is, for tables that choose among them.
        work: the part of a call that counts, for alternatives that do more than is asked (or less: above 1).
    """
    if subject not in alternatives:
        raise ValueError(f"subject={subject!r} is none of the alternatives {list(alternatives)}")
    keep_freed_memory()  # as the trainer does; it is the process's, so the rivals gain by it too
    estimates = {name: _warmed_up(call) for name, call in alternatives.items()}
    calls = {name: max(1, math.ceil(TURN / seconds)) for name, seconds in estimates.items()}
    round_seconds = sum(estimates[name] * calls[name] for name in alternatives)
    count = min(max(round(budget / round_seconds), rounds[0]), rounds[1])
    names = list(alternatives)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    orders = [names[i % len(names) :] + names[: i % len(names)] for i in range(count)]
    upcoming = iter(orders)
    waiting: list[str] = []

    def turn(name: str) -> None:
        call = alternatives[name]
        for _ in range(calls[name]):
            call()

    def timed_turn(name: str) -> None:
        start = time.perf_counter()
        turn(name)
        seconds[name].append((time.perf_counter() - start) / calls[name])

    def those_before() -> None:
        order = next(upcoming)
        place = order.index(subject)
        waiting[:] = order[place + 1 :]
        for name in order[:place]:
            timed_turn(name)

    def those_after() -> None:
        for name in waiting:
            timed_turn(name)

    benchmark.pedantic(lambda: turn(subject), setup=those_before, teardown=those_after, rounds=count)
    if benchmark.stats is None:  # --benchmark-disable: everything has run once
        return
    seconds[subject] = [turn_seconds / calls[subject] for turn_seconds in benchmark.stats.stats.data]
    for name, part in (work or {}).items():
        seconds[name] = [part * of_call for of_call in seconds[name]]
    benchmark.extra_info.update(
        params=dict(params),
        subject=subject,
        seconds=seconds,
        units=dict(units or {}),
        memory=dict(memory or {}),
        roles=dict(roles or {}),
    )


def _warmed_up(call: Callable[[], None]) -> float:
    """Seconds of a call after the first two, which allocate and choose algorithms."""
    call()
    call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
