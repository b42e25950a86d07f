"""The endless, shuffled order of images."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data import ShuffledOrder


def take(order, *counts):
    return torch.cat([order.next(count) for count in counts]).tolist()


def test_every_epoch_visits_each_item_once():
    order = ShuffledOrder(10, seed=0)
    for _ in range(3):
        assert sorted(take(order, 10)) == list(range(10))


def test_epochs_differ():
    order = ShuffledOrder(100, seed=0)
    assert take(order, 100) != take(order, 100)


def test_same_seed_same_order_other_seed_other_order():
    first, again, other = (take(ShuffledOrder(100, seed), 100) for seed in (1, 1, 2))
    assert first == again != other


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 25), max_size=8))
def test_batch_sizes_do_not_matter(counts):
    assert take(ShuffledOrder(7, 3), *counts, 5) == take(ShuffledOrder(7, 3), sum(counts) + 5)


def test_one_call_may_span_many_epochs():
    assert sorted(take(ShuffledOrder(3, 0), 9)) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_indices_are_int64():
    assert ShuffledOrder(3, 0).next(2).dtype == torch.int64


def test_state_resumes_in_mid_epoch():
    order = ShuffledOrder(10, seed=4)
    order.next(17)
    resumed = ShuffledOrder(10, seed=99)
    resumed.load_state_dict(order.state_dict())
    assert take(resumed, 20) == take(order, 20)


def test_state_is_plain_integers():
    order = ShuffledOrder(10, seed=4)
    order.next(3)
    assert order.state_dict() == {"length": 10, "seed": 4, "position": 3}


def test_state_of_other_data_is_refused():
    with pytest.raises(ValueError, match="10 items, this data has 11"):
        ShuffledOrder(11, 0).load_state_dict(ShuffledOrder(10, 0).state_dict())


def test_processes_share_the_stream_of_one():
    ranks = [take(ShuffledOrder(10, 5, rank, 3), 4, 6) for rank in range(3)]
    interleaved = [ranks[n % 3][n // 3] for n in range(30)]
    assert interleaved == take(ShuffledOrder(10, 5), 30)


def test_resuming_on_more_processes_keeps_the_stream():
    alone = ShuffledOrder(10, 5)
    alone.next(6)
    pair = [ShuffledOrder(10, 5, rank, 2) for rank in range(2)]
    for order in pair:
        order.load_state_dict(alone.state_dict())
    first, second = (take(order, 4) for order in pair)
    assert [value for both in zip(first, second, strict=True) for value in both] == take(alone, 8)


def test_negative_seeds_are_seeds():
    assert sorted(take(ShuffledOrder(5, -1), 5)) == list(range(5))


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="length=0"):
        ShuffledOrder(0, 0)
    with pytest.raises(ValueError, match="rank=2"):
        ShuffledOrder(5, 0, rank=2, world_size=2)
    with pytest.raises(ValueError, match="count=-1"):
        ShuffledOrder(5, 0).next(-1)
