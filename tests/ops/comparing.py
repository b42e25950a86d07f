"""An op and its definition side by side: all their derivatives to the second, and how near they must be."""

from __future__ import annotations

import torch
from torch import Tensor


def seeded(seed: int) -> torch.Generator:
    """For random tensors on the device where tests make theirs."""
    return torch.Generator(torch.get_default_device()).manual_seed(seed)


def derivatives(function, inputs: tuple[Tensor, ...], seed: int = 1, prepare=lambda tensor: tensor) -> list[Tensor]:
    """Output, gradients, and the gradients of <gradients, cotangents> to cotangent and inputs.

    ``prepare`` makes of each cotangent, the output's first and then the gradients', what is to be tested.
    """
    generator = torch.Generator().manual_seed(seed)

    def cotangent(like: Tensor) -> Tensor:
        values = torch.randn(like.shape, generator=generator, dtype=torch.float64, device="cpu").to(like)
        return prepare(values).requires_grad_()

    output = function(*inputs)
    first_cotangent = cotangent(output)
    first = torch.autograd.grad(output, inputs, first_cotangent, create_graph=True)
    second = torch.autograd.grad(
        first, (first_cotangent, *inputs), [cotangent(g).detach() for g in first], materialize_grads=True
    )
    return [output, *first, *second]


def assert_no_worse_than_torch(
    function, definition, inputs: tuple[Tensor, ...], prepare=lambda tensor: tensor, roundings: int = 0
) -> None:
    """That the op errs, from the definition in float64, at most twice as much as the definition in the inputs' type.

    What that does not count is the rounding of each result to its type, by which torch may have been spared (a sum's of
    one element is exact), ``roundings`` more where autograd adds up gradients that kernels have rounded, and float32's
    roundings of the numbers that a result is the small rest of.
    """
    dtype = inputs[0].dtype

    def rounded(cotangent: Tensor) -> Tensor:  # the same for all three
        return prepare(cotangent.to(dtype).to(cotangent))

    wide = tuple(t.detach().double().requires_grad_() for t in inputs)
    actuals, torch_s, exacts = (
        derivatives(of, tensors, prepare=rounded)
        for of, tensors in ((function, inputs), (definition, inputs), (definition, wide))
    )
    half = torch.finfo(dtype).eps / 2
    largest = [t.abs().max().item() if t.numel() else 0.0 for t in exacts]
    spared = roundings * half * max(1.0, *largest) + FLOAT32_REST
    for actual, torch_s_own, exact, size in zip(actuals, torch_s, exacts, largest, strict=True):
        if exact.numel():
            error, bound = ((t.double() - exact).abs().max() for t in (actual, torch_s_own))
            assert error <= 2 * bound + half * size + spared


FLOAT32_REST = 1e-5  # of numbers of size 1 to 100


def assert_all_close(actual: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    """Largest error at most ``tolerance`` of each expected tensor's largest value, or of 1."""
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        largest = e.abs().max().item() if e.numel() else 0.0
        torch.testing.assert_close(a.double(), e.double(), rtol=0, atol=tolerance * max(1.0, largest))
