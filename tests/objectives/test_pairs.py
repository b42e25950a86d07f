"""Distances of pairs: their values, their derivatives where samples coincide, and their memory without a gradient."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import tensor

from gan_ops.objectives.pairs import Metric, distances, pair_distances

METRICS = pytest.mark.parametrize("metric", get_args(Metric))
X, Y = tensor([[0.0, 0.0], [1.0, 1.0]]), tensor([[3.0, 4.0], [1.0, 1.0], [1.0, -1.0]])
EXPECTED = {
    "l1": tensor([[7.0, 2.0, 2.0], [5.0, 0.0, 2.0]]),
    "l2": tensor([[5.0, math.sqrt(2), math.sqrt(2)], [math.sqrt(13), 0.0, 2.0]]),
    "squared": tensor([[25.0, 2.0, 2.0], [13.0, 0.0, 4.0]]),
}


@METRICS
@pytest.mark.parametrize("with_gradient", [False, True])
def test_distances_of_each_with_each(metric, with_gradient):
    torch.testing.assert_close(pair_distances(X.clone().requires_grad_(with_gradient), Y, metric), EXPECTED[metric])


@METRICS
def test_distances_of_matched_samples(metric):
    torch.testing.assert_close(distances(X, Y[:2], metric), EXPECTED[metric].diagonal())


@METRICS
@pytest.mark.parametrize("with_gradient", [False, True])
def test_nothing_cancels_far_from_the_origin(metric, with_gradient):
    x = (X + 4096).requires_grad_(with_gradient)
    actual = pair_distances(x, Y + 4096, metric)
    torch.testing.assert_close(actual, EXPECTED[metric])
    assert not pair_distances(x, x, metric).diagonal().any()


@METRICS
def test_first_and_second_derivatives(metric):
    torch.manual_seed(0)
    x, y = (torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in (4, 5))
    assert torch.autograd.gradcheck(lambda x, y: pair_distances(x, y, metric), (x, y))
    assert torch.autograd.gradgradcheck(lambda x, y: pair_distances(x, y, metric), (x, y))


@METRICS
def test_derivatives_of_a_distance_of_0_are_finite(metric):
    x = X.clone().requires_grad_()
    (first,) = torch.autograd.grad(pair_distances(x, x.detach(), metric).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x, allow_unused=metric == "l1")
    # Of the pairs (x₁, x₂) and (x₂, x₁) alone: those of a sample with itself have none.
    r = 1 / math.sqrt(2)
    expected = {"l1": [[-1.0, -1.0], [1.0, 1.0]], "l2": [[-r, -r], [r, r]], "squared": [[-2.0, -2.0], [2.0, 2.0]]}
    torch.testing.assert_close(first, tensor(expected[metric]))
    assert second is None or second.isfinite().all()


def test_the_square_has_its_curvature_at_0_too():
    x = X[:1].clone().requires_grad_()
    (first,) = torch.autograd.grad(pair_distances(x, X[:1], "squared").sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first[0, 0], x)
    assert second.tolist() == [[2.0, 0.0]]


@METRICS
def test_half_precision_is_taken_in_float32(metric):
    actual = pair_distances(X.bfloat16(), Y.bfloat16().requires_grad_(), metric)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, EXPECTED[metric])
    assert pair_distances(X.double(), Y.double(), metric).dtype == torch.float64


@METRICS
def test_with_no_gradient_asked_for_it_is_the_same(metric):
    torch.manual_seed(0)
    x, y = torch.randn(6, 8), torch.randn(7, 8)
    torch.testing.assert_close(pair_distances(x, y, metric), pair_distances(x.requires_grad_(), y, metric).detach())


@pytest.mark.parametrize(("x", "y"), [((2, 3), (2, 4)), ((2,), (2, 2)), ((2, 3, 1), (2, 3, 1))])
def test_matrices_of_one_width_are_asked_for(x, y):
    with pytest.raises(ValueError, match=r"must be \[[NM], D\]"):
        pair_distances(torch.zeros(x), torch.zeros(y), "l2")


def test_types_may_differ():
    actual = pair_distances(X.bfloat16(), Y.clone().requires_grad_(), "l1")
    torch.testing.assert_close(actual, EXPECTED["l1"])
