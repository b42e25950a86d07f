"""Columns of several lists of images."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from train.data import ImageSet, to_float
from train.data.sources import Images, Lists

CPU = torch.device("cpu")
AT = SimpleNamespace(resolution=8)


def images(count: int, seed: int) -> ImageSet:
    random = torch.Generator().manual_seed(seed)
    return ImageSet.from_images(torch.randint(256, (count, 3, 8, 8), generator=random).to(torch.uint8))


SETS = {"a": images(7, 0), "b": images(5, 1)}


def source() -> Lists:
    return Lists({name: Images(images, CPU, seed=seed) for seed, (name, images) in enumerate(SETS.items())})


def test_each_list_is_a_column_and_is_visited_in_an_order_of_its_own() -> None:
    lists = source()
    assert lists.lists == {"a": 7, "b": 5}
    seen = {name: [] for name in SETS}
    for _ in range(35):
        for name, column in lists.columns({"a": 3, "b": 2}, AT, torch.Generator()).items():
            seen[name] += [x.contiguous().numpy().tobytes() for x in column]
    for name, length in lists.lists.items():
        known = {to_float(x).numpy().tobytes() for x in SETS[name].level(8)}
        for epoch in range(len(seen[name]) // length):
            assert set(seen[name][epoch * length : (epoch + 1) * length]) == known


def test_a_resumed_source_goes_on_in_all_its_lists() -> None:
    whole, resumed, counts = source(), source(), {"a": 3, "b": 4}
    for _ in range(4):
        whole.columns(counts, AT, torch.Generator())
    state = whole.state_dict()
    assert {name: order["length"] for name, order in state.items()} == {"a": 7, "b": 5}
    resumed.load_state_dict(state)
    for _ in range(4):
        one, other = (lists.columns(counts, AT, torch.Generator()) for lists in (whole, resumed))
        assert all(torch.equal(one[name], other[name]) for name in SETS)
