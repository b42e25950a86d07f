"""An op and its definition side by side: all their derivatives to the second, and how near they must be."""

from __future__ import annotations

import torch
from torch import Tensor


def derivatives(function, inputs: tuple[Tensor, ...], seed: int = 1, lay_out=lambda tensor: tensor) -> list[Tensor]:
    """Output, gradients, and the gradients of <gradients, cotangents> to cotangent and inputs.

    ``lay_out`` gives a cotangent the strides to test.
    """
    generator = torch.Generator().manual_seed(seed)

    def cotangent(like: Tensor) -> Tensor:
        values = torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)
        return lay_out(values).requires_grad_()

    output = function(*inputs)
    first_cotangent = cotangent(output)
    first = torch.autograd.grad(output, inputs, first_cotangent, create_graph=True)
    second = torch.autograd.grad(
        first, (first_cotangent, *inputs), [cotangent(g).detach() for g in first], materialize_grads=True
    )
    return [output, *first, *second]


def assert_all_close(actual: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    """Largest error at most ``tolerance`` of each expected tensor's largest value, or of 1."""
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        largest = e.abs().max().item() if e.numel() else 0.0
        torch.testing.assert_close(a.double(), e.double(), rtol=0, atol=tolerance * max(1.0, largest))
