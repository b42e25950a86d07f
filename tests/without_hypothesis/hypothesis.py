"""As much of hypothesis as the tests here use, for machines without it: seeded random draws, nothing is shrunk.

tests/conftest.py puts this folder on the path where the real one is not installed.
"""

from __future__ import annotations

import functools
import inspect
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

EXAMPLES = 100  # as many as hypothesis tries


class SearchStrategy:
    """Something to draw from; ``SearchStrategy[T]`` is for annotations."""

    def __init__(self, draw: Callable[[random.Random], Any]) -> None:
        self.draw = draw

    def __class_getitem__(cls, _: object) -> type[SearchStrategy]:
        return cls

    def map(self, function: Callable[[Any], Any]) -> SearchStrategy:
        return SearchStrategy(lambda source: function(self.draw(source)))


class DataObject:
    """What ``st.data()`` gives a test: it draws as it goes."""

    def __init__(self, source: random.Random) -> None:
        self._source = source

    def draw(self, strategy: SearchStrategy, label: str | None = None) -> Any:
        return strategy.draw(self._source)


def integers(least: int, most: int) -> SearchStrategy:
    """The ends often: they are what breaks."""
    return SearchStrategy(lambda source: source.choice([least, most, *[source.randint(least, most)] * 8]))


def booleans() -> SearchStrategy:
    return sampled_from([False, True])


def sampled_from(values: list[Any]) -> SearchStrategy:
    return SearchStrategy(lambda source: source.choice(values))


def tuples(*parts: SearchStrategy) -> SearchStrategy:
    return SearchStrategy(lambda source: tuple(part.draw(source) for part in parts))


def lists(values: SearchStrategy, min_size: int = 0, max_size: int = 10) -> SearchStrategy:
    return SearchStrategy(lambda source: [values.draw(source) for _ in range(source.randint(min_size, max_size))])


def data() -> SearchStrategy:
    return SearchStrategy(DataObject)


def composite(function: Callable[..., Any]) -> Callable[..., SearchStrategy]:
    def make(*args: Any, **options: Any) -> SearchStrategy:
        return SearchStrategy(lambda source: function(lambda part: part.draw(source), *args, **options))

    return make


strategies = SimpleNamespace(
    SearchStrategy=SearchStrategy,
    DataObject=DataObject,
    booleans=booleans,
    composite=composite,
    data=data,
    integers=integers,
    lists=lists,
    sampled_from=sampled_from,
    tuples=tuples,
)


class _Unsuited(Exception):
    """A draw that the test has no use for."""


def assume(condition: bool) -> None:
    if not condition:
        raise _Unsuited


def settings(
    max_examples: int = EXAMPLES, deadline: None = None, derandomize: bool = True
) -> Callable[[Callable], Callable]:
    def decorate(test: Callable) -> Callable:
        test.examples = max_examples
        return test

    return decorate


def given(*positional: SearchStrategy, **named: SearchStrategy) -> Callable[[Callable], Callable]:
    """Calls the test with as many draws as its settings say, the same at every run."""

    def decorate(test: Callable) -> Callable:
        parameters = list(inspect.signature(test).parameters.values())
        drawn = dict(zip([p.name for p in parameters][len(parameters) - len(positional) :], positional, strict=True))
        drawn |= named

        @functools.wraps(test)
        def run(*args: Any, **options: Any) -> None:
            for seed in range(getattr(run, "examples", EXAMPLES)):
                source = random.Random(seed)
                try:
                    test(*args, **options, **{name: part.draw(source) for name, part in drawn.items()})
                except _Unsuited:
                    continue
                except Exception as error:
                    raise AssertionError(f"with the draws of seed {seed}: {error}") from error

        # What is drawn is no fixture.
        run.__signature__ = inspect.Signature([p for p in parameters if p.name not in drawn])
        return run

    return decorate
