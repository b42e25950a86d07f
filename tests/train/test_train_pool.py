"""The pool of past fakes: how it fills, what the critic sees, and what stays of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from train.engine.game import Batch
from train.gan.pool import Pool

SIZE = 6
CPU = torch.device("cpu")


class Played:
    """A pool of grey images of one value each, which say in which step they were made and in which row."""

    def __init__(self, size: int = SIZE, seed: int = 0) -> None:
        self.pool = Pool("x", size, (1, 2, 2), CPU, "critics")
        self.random = torch.Generator().manual_seed(seed)
        self.step = 0

    def __call__(self, count: int, parts: int = 1) -> Tensor:
        """A step with ``count`` new fakes in so many microbatches: the values that the critic sees [n]."""
        self.step += 1
        values = 100.0 * self.step + torch.arange(count)
        new = values.view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
        columns = self.pool.draw(count, self.random)
        assert all(name.startswith("critics/") and len(column) == count for name, column in columns.items())
        seen, reports = [], []
        for rows in range(0, count, count // parts):
            part: Batch = {name: column[rows : rows + count // parts] for name, column in columns.items()}
            reports.append(stats := {})
            seen.append(self.pool.seen(new[rows : rows + count // parts], part, stats))
        joined = {name: torch.cat([report[name] for report in reports]) for name in reports[0]}
        self.pool.after(new, joined)
        return torch.cat(seen)[:, 0, 0, 0]

    @property
    def values(self) -> list[float]:
        return self.pool.images[:, 0, 0, 0].tolist()


def test_while_it_fills_the_critic_sees_the_new_ones_and_they_are_stored() -> None:
    played = Played()
    assert played(4).tolist() == [100, 101, 102, 103]
    assert played.values == [100, 101, 102, 103, 0, 0] and int(played.pool.stored) == 4
    # Two have a place, and two pass by: nothing that was never made is shown.
    assert played(4).tolist() == [200, 201, 202, 203]
    assert played.values == [100, 101, 102, 103, 200, 201] and int(played.pool.stored) == SIZE


@pytest.mark.parametrize("count", [1, 3, SIZE])
def test_once_full_a_new_one_is_shown_or_takes_the_place_of_the_old_one_that_is(count) -> None:
    played = Played()
    while int(played.pool.stored) < SIZE:
        played(count)
    swaps = 0
    for _ in range(200):
        before = played.values
        seen = played(count).tolist()
        new = [100.0 * played.step + row for row in range(count)]
        swapped = [(old, one) for old, one in zip(seen, new, strict=True) if old != one]
        assert len({old for old, _ in swapped}) == len(swapped), "rows have places of their own"
        expected = list(before)
        for old, one in swapped:
            expected[before.index(old)] = one
        assert played.values == expected
        swaps += len(swapped)
    # With probability ½: within 5 standard deviations.
    assert abs(swaps - 100 * count) < 5 * (200 * count / 4) ** 0.5


def test_every_place_is_used() -> None:
    played = Played()
    for _ in range(200):
        played(2)
    assert min(played.values) > 100 * (played.step - 60)


def test_a_batch_larger_than_the_pool_shows_the_rest_as_they_are() -> None:
    played = Played()
    for _ in range(30):
        seen = played(10)
        assert seen[SIZE:].tolist() == [100.0 * played.step + row for row in range(SIZE, 10)]
    assert {value % 100 for value in played.values} <= set(range(SIZE))


def test_microbatches_make_no_difference() -> None:
    whole, parts = Played(), Played()
    for _ in range(20):
        assert torch.equal(whole(4), parts(4, parts=2))
    assert whole.values == parts.values


def test_without_one_the_critic_sees_the_new_ones() -> None:
    played = Played(size=0)
    for _ in range(3):
        assert played(2).tolist() == [100.0 * played.step, 100.0 * played.step + 1]
    assert played.pool.draw(2, played.random) == {}


def test_an_emptied_pool_fills_anew() -> None:
    played = Played()
    for _ in range(9):
        played(4)
    for buffer in played.pool.buffers():
        buffer.zero_()
    assert played(4).tolist() == [100.0 * played.step + row for row in range(4)]
