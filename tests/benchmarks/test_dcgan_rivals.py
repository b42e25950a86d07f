"""What DCGAN's races compare computes the same."""

from __future__ import annotations

import pytest
import torch

from benchmarks.test_dcgan_step import Broadcast, Cdist
from gan_ops.nn import MinibatchDiscrimination


@pytest.mark.parametrize("rival", [Broadcast, Cdist])
@pytest.mark.parametrize("batches", [1, 2])
def test_rivals_of_minibatch_discrimination_give_its_values_and_gradients(rival, batches: int) -> None:
    torch.manual_seed(0)
    ours = MinibatchDiscrimination(6, 4, 3).double()
    theirs = rival(ours.weight)
    x = torch.randn(8, 6, dtype=torch.float64, requires_grad=True)
    cotangent = torch.randn(8, 10, dtype=torch.float64)
    results = []
    for layer in (ours, theirs):
        y = layer(x, batches)
        results.append((y, *torch.autograd.grad(y, (x, layer.weight), cotangent)))
    torch.testing.assert_close(*results)
