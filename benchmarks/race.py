"""Times alternatives against each other, interleaved, in one process.

Machines drift: another process runs, a clock changes. One round therefore times every alternative once, and rounds
begin with each in turn, so that what disturbs one disturbs its rivals alike, and ratios are taken within rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.timing import Clock, clock
from train.base.memory import keep_freed_memory


def race(
    benchmark: BenchmarkFixture,
    subject: str,
    alternatives: Mapping[str, Callable[[], object]],
    *,
    params: Mapping[str, Any],
    budget: float = 15.0,
    rounds: tuple[int, int] = (7, 60),
    units: Mapping[str, float] | None = None,
    memory: Mapping[str, int] | None = None,
    roles: Mapping[str, str] | None = None,
    work: Mapping[str, float] | None = None,
    cold: bool = False,
    by: Clock | None = None,
) -> None:
    """Measures all alternatives and leaves the seconds of a call of each, by round, in ``benchmark.extra_info``.

    pytest-benchmark runs the turns of ``subject``; before and after them, as its setup and teardown, the rivals take
    theirs. All are timed by the device's clock.

    Args:
        params: what the comparison depends on (numbers and words); with the test's name it identifies the result.
        budget: seconds to spend, as far as the least and the most ``rounds`` allow.
        units: what one call deals with, such as {"images": 16}, for rates.
        memory: bytes that each alternative takes, measured elsewhere.
        roles: what kind of alternative each is, for tables that choose among them.
        work: the part of a call that counts, for alternatives that do more than is asked (or less: above 1).
        cold: whether calls shall find nothing in a GPU's cache.
        by: what times the calls.
    """
    if subject not in alternatives:
        raise ValueError(f"subject={subject!r} is not one of the alternatives {list(alternatives)}")
    keep_freed_memory()  # as the trainer does; it is the process's, so the rivals gain by it too
    by = by or clock()
    estimates = {name: _warmed_up(call, by, cold) for name, call in alternatives.items()}
    turn_seconds = by.cold_turn if cold else by.turn
    calls = {name: max(by.calls, math.ceil(turn_seconds / seconds)) for name, seconds in estimates.items()}
    round_seconds = sum(estimates[name] * calls[name] for name in alternatives)
    count = min(max(round(budget / round_seconds), rounds[0]), rounds[1])
    names = list(alternatives)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    orders = [names[i % len(names) :] + names[: i % len(names)] for i in range(count)]
    upcoming = iter(orders)
    waiting: list[str] = []

    def turn(name: str) -> None:
        seconds[name].append(by.seconds(alternatives[name], calls[name], cold))

    def those_before() -> None:
        order = next(upcoming)
        place = order.index(subject)
        waiting[:] = order[place + 1 :]
        for name in order[:place]:
            turn(name)

    def those_after() -> None:
        for name in waiting:
            turn(name)

    benchmark.pedantic(lambda: turn(subject), setup=those_before, teardown=those_after, rounds=count)
    if benchmark.stats is None:  # --benchmark-disable: everything has run once
        return
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


def _warmed_up(call: Callable[[], object], by: Clock, cold: bool) -> float:
    """Seconds of a call after the first two, which allocate and choose algorithms."""
    by.seconds(call, 2, cold)
    return by.seconds(call, 1, cold)
