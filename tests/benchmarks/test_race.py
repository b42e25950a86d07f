"""The interleaved timing, with calls that take no time to speak of."""

from __future__ import annotations

import pytest

from benchmarks.race import race


class Benchmark:
    """pytest-benchmark's fixture as far as a race uses it: a round is setup, target, teardown."""

    def __init__(self) -> None:
        self.extra_info: dict = {}
        self.stats = object()

    def pedantic(self, target, setup, teardown, rounds: int) -> None:
        for _ in range(rounds):
            setup()
            target()
            teardown()


class Clock:
    """By which every call takes as long."""

    turn = cold_turn = 1.0

    def __init__(self, seconds: float = 1.0, calls: int = 1) -> None:
        self.of_a_call, self.calls = seconds, calls
        self.times: list[int] = []

    def seconds(self, call, times: int, cold: bool) -> float:
        for _ in range(times):
            call()
        self.times.append(times)
        return self.of_a_call


@pytest.fixture
def order() -> list[str]:
    """The calls of a race of a, b and c in three rounds, one call a turn, warm-up left out."""
    calls: list[str] = []
    alternatives = {name: lambda name=name: calls.append(name) for name in "abc"}
    race(Benchmark(), "b", alternatives, params={}, rounds=(3, 3), by=Clock())
    return calls[9:]  # three warm-up calls of each


def test_every_round_calls_each_alternative_once(order: list[str]) -> None:
    assert [sorted(order[i : i + 3]) for i in (0, 3, 6)] == [["a", "b", "c"]] * 3


def test_rounds_begin_with_each_in_turn(order: list[str]) -> None:
    assert order[::3] == ["a", "b", "c"]


def test_calls_are_repeated_until_they_fill_a_turn() -> None:
    clock = Clock(seconds=0.25)
    race(Benchmark(), "a", {"a": lambda: None, "b": lambda: None}, params={}, rounds=(2, 2), by=clock)
    assert clock.times[4:] == [4] * 4


def test_a_turn_has_as_many_calls_as_the_clock_wants() -> None:
    clock = Clock(calls=3)
    race(Benchmark(), "a", {"a": lambda: None}, params={}, rounds=(2, 2), by=clock)
    assert clock.times[2:] == [3] * 2


def test_all_seconds_are_those_of_one_call() -> None:
    benchmark = Benchmark()
    race(benchmark, "a", {"a": lambda: None, "b": lambda: None}, params={}, rounds=(2, 2), by=Clock(seconds=0.25))
    assert benchmark.extra_info["seconds"] == {"a": [0.25] * 2, "b": [0.25] * 2}


def test_of_an_alternative_that_does_more_a_part_counts() -> None:
    benchmark = Benchmark()
    race(benchmark, "a", {"a": lambda: None}, params={}, rounds=(2, 2), work={"a": 0.25}, by=Clock())
    assert benchmark.extra_info["seconds"]["a"] == [0.25] * 2


def test_a_subject_that_does_not_race_is_an_error() -> None:
    with pytest.raises(ValueError, match="subject='ours' is not one of the alternatives"):
        race(Benchmark(), "ours", {"theirs": lambda: None}, params={})
