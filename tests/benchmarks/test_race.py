"""The interleaved timing, with calls that take no time to speak of."""

from __future__ import annotations

import pytest

from benchmarks import race as race_module
from benchmarks.race import race


class Stats:
    def __init__(self) -> None:
        self.stats = self
        self.data: list[float] = []


class Benchmark:
    """pytest-benchmark's fixture as far as a race uses it: a round is setup, target, teardown."""

    def __init__(self) -> None:
        self.extra_info: dict = {}
        self.stats = Stats()

    def pedantic(self, target, setup, teardown, rounds: int) -> None:
        for _ in range(rounds):
            setup()
            target()
            self.stats.data.append(0.5)
            teardown()


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls of a race of a, b and c in three rounds, one call a turn, warm-up left out."""
    monkeypatch.setattr(race_module, "TURN", 0.0)
    calls: list[str] = []
    alternatives = {name: lambda name=name: calls.append(name) for name in "abc"}
    race(Benchmark(), "b", alternatives, params={}, rounds=(3, 3))
    return calls[9:]  # three warm-up calls of each


def test_every_round_calls_each_alternative_once(order: list[str]) -> None:
    assert [sorted(order[i : i + 3]) for i in (0, 3, 6)] == [["a", "b", "c"]] * 3


def test_rounds_begin_with_each_in_turn(order: list[str]) -> None:
    assert order[::3] == ["a", "b", "c"]


def test_all_seconds_are_those_of_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = Benchmark()
    monkeypatch.setattr(race_module, "TURN", 1.0)
    monkeypatch.setattr(race_module, "_warmed_up", lambda call: 0.25)  # so that four calls fill a turn
    race(benchmark, "a", {"a": lambda: None, "b": lambda: None}, params={"size": 1}, rounds=(2, 2))
    assert benchmark.extra_info["seconds"]["a"] == [0.5 / 4] * 2
    assert len(benchmark.extra_info["seconds"]["b"]) == 2


def test_of_an_alternative_that_does_more_a_part_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = Benchmark()
    monkeypatch.setattr(race_module, "_warmed_up", lambda call: 1.0)  # so that a turn is one call
    race(benchmark, "a", {"a": lambda: None}, params={}, rounds=(2, 2), work={"a": 0.25})
    assert benchmark.extra_info["seconds"]["a"] == [0.5 * 0.25] * 2


def test_a_subject_that_does_not_race_is_an_error() -> None:
    with pytest.raises(ValueError, match="subject='ours' is none of the alternatives"):
        race(Benchmark(), "ours", {"theirs": lambda: None}, params={})
