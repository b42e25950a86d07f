"""What a step launches is counted, and does not creep up."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.launches import Launches, step_launches

CPU = torch.device("cpu")


def counted(run) -> dict[str, int]:
    with Launches() as found:
        run()
    return dict(found.counts)


def test_views_and_allocations_launch_nothing() -> None:
    x = torch.zeros(4, 6)
    assert counted(lambda: torch.empty_like(x.t()[1:].view(-1, 4).detach())) == {}


def test_every_other_op_launches_one_kernel() -> None:
    x = torch.zeros(4, 6)
    assert counted(lambda: (x + 1).sum().to(torch.float64)) == {"aten::add": 1, "aten::sum": 1, "aten::_to_copy": 1}


def test_a_copy_into_another_layout_counts() -> None:
    x = torch.zeros(2, 3, 4, 4)
    last = x.contiguous(memory_format=torch.channels_last)
    op = torch.ops.gan_ops.bias_act_backward
    assert counted(lambda: op(x, x, False, 0.2, 1.0)) == {"gan_ops::bias_act_backward": 1}
    assert counted(lambda: op(x, last, False, 0.2, 1.0)) == {"gan_ops::bias_act_backward": 2}


def tensors(count: int, *shape: int) -> list[Tensor]:
    return [torch.zeros(shape) for _ in range(count)]


@pytest.mark.parametrize(
    ("lists", "launches"),
    [
        ([tensors(3, 5)] * 2, 1),
        ([tensors(49, 5)] * 2, 2),  # 48 tensors a launch; torch has the result's list as a third
        ([tensors(1, 321, 65536)] * 2, 2),  # 320 chunks of 65536 elements
        ([tensors(3, 5, 7), [t.t() for t in tensors(3, 7, 5)]], 3),  # not laid out alike: one by one
    ],
    ids=["few", "more tensors than one takes", "more elements than one takes", "laid out otherwise"],
)
def test_lists_are_worked_on_in_as_few_launches_as_they_fit_in(lists: list[list[Tensor]], launches: int) -> None:
    assert counted(lambda: torch._foreach_add(*lists)) == {"aten::_foreach_add": launches}


def test_what_is_not_computed_is_laid_out_as_if_it_were() -> None:
    x = torch.randn(2, 3, 5, 4).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(6, 3, 3, 3).contiguous(memory_format=torch.channels_last)
    expected = torch.conv2d(x, weight)
    with Launches() as found:
        y = torch.conv2d(x, weight)
    assert y.shape == expected.shape and y.stride() == expected.stride() and y.dtype == expected.dtype
    assert found.counts == {"aten::convolution": 1}


@pytest.mark.parametrize(("precision", "launches"), [("bf16", 416), ("float32", 331)])
def test_a_step_at_16_px_takes_no_more_launches_than_it_did(precision: str, launches: int) -> None:
    # A scale outside an epilogue costs 14 or more, gradients added one by one 11; torch's versions differ by a few.
    assert step_launches(16, 32, precision, device=CPU).total() <= launches + 8
