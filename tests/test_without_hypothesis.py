"""The stand-in for hypothesis draws what the strategies say, the same at every run, and says which draw fails."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def stand_in() -> ModuleType:
    path = Path(__file__).parent / "without_hypothesis" / "hypothesis.py"
    spec = importlib.util.spec_from_file_location("stand_in", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn(stand_in: ModuleType, strategy, examples: int = 50) -> list:
    found = []
    stand_in.settings(max_examples=examples)(stand_in.given(strategy)(lambda value: found.append(value)))()
    return found


def test_draws_repeat_and_differ(stand_in: ModuleType) -> None:
    first, second = (drawn(stand_in, stand_in.strategies.integers(1, 9)) for _ in range(2))
    assert first == second and set(first) == set(range(1, 10))


def test_strategies_nest(stand_in: ModuleType) -> None:
    st = stand_in.strategies
    pairs = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=3).map(tuple)
    for pair in drawn(stand_in, pairs):
        assert 1 <= len(pair) <= 3 and all(number in range(4) and isinstance(flag, bool) for number, flag in pair)


def test_what_is_composed_draws_its_parts(stand_in: ModuleType) -> None:
    @stand_in.strategies.composite
    def square(draw):
        side = draw(stand_in.strategies.sampled_from([2, 3]))
        return side, side

    assert set(drawn(stand_in, square())) == {(2, 2), (3, 3)}


def test_the_test_keeps_its_fixtures_and_loses_what_is_drawn(stand_in: ModuleType) -> None:
    @stand_in.settings(max_examples=3, deadline=None)
    @stand_in.given(data=stand_in.strategies.data())
    def test(family, data) -> None:
        seen.append((family, data.draw(stand_in.strategies.sampled_from([7]), label="number")))

    seen = []
    assert list(inspect.signature(test).parameters) == ["family"]
    test(family="a")
    assert seen == [("a", 7)] * 3


def test_a_failure_names_its_seed_and_what_is_assumed_is_left_out(stand_in: ModuleType) -> None:
    @stand_in.given(stand_in.strategies.integers(0, 9))
    def test(number) -> None:
        stand_in.assume(number > 3)
        assert number < 9, "too large"

    with pytest.raises(AssertionError, match=r"with the draws of seed \d+: .*too large"):
        test()
