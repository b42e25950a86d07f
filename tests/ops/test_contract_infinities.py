"""The op contract for inf and nan: in each tensor that a derivative is made of, they spread as in the definition."""

from __future__ import annotations

import math

import pytest
import torch
from comparing import assert_all_close, derivatives
from families import FAMILIES, Family
from torch import Tensor

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
# Some roundings of the type, and float32's and float64's of sums.
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}


def named_derivatives(
    function, family: Family, device: str, dtype: torch.dtype, layout, poisoned: str, place: int, poison: float
) -> dict[str, Tensor]:
    """All results to the second derivative by name, with ``poison`` in one place of the input or cotangent named."""
    inputs = [layout(t.to(device)) for t in family.inputs(torch.Generator().manual_seed(0), dtype)]
    first = [f"first[{i}]" for i in range(len(inputs))]
    of_cotangents = iter(["cotangent", *[f"cotangent of {name}" for name in first]])

    def put_into(tensor: Tensor) -> None:
        if tensor.numel():
            tensor[_index(tensor, place)] = poison

    def prepare(cotangent: Tensor) -> Tensor:
        if next(of_cotangents) == poisoned:
            put_into(cotangent)
        return cotangent

    for i, tensor in enumerate(inputs):
        if poisoned == f"input {i}":
            put_into(tensor)
    results = derivatives(function, tuple(t.requires_grad_() for t in inputs), prepare=prepare)
    names = ["output", *first, "second to the cotangent", *[f"second[{i}]" for i in range(len(inputs))]]
    return dict(zip(names, [t.detach() for t in results], strict=True))


def _index(tensor: Tensor, place: int) -> tuple[int, ...]:
    """The first or the last element."""
    return tuple(place if size else 0 for size in tensor.shape)


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def assert_spread_alike(actual: Tensor, expected: Tensor, kinds: bool, tolerance: float) -> None:
    """Finite in the same places and near there; the same of inf, −inf and nan in the others, if ``kinds``."""
    finite = expected.isfinite()
    assert torch.equal(actual.isfinite(), finite)
    if kinds:
        assert torch.equal(actual.isnan(), expected.isnan())
        assert torch.equal(actual == math.inf, expected == math.inf)
    assert_all_close([actual[finite]], [expected[finite]], tolerance)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("family", FAMILIES, ids=str)
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("poison", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("layout", [Tensor.contiguous, channels_last], ids=["contiguous", "channels_last"])
def test_inf_and_nan_spread_as_in_the_definition(
    family: Family, device: str, dtype: torch.dtype, poison: float, layout
) -> None:
    if device == "cuda" and family.name.startswith("conv2d"):
        pytest.skip("some of cuDNN's algorithms mix pixels, which spreads nan further")
    if dtype == torch.bfloat16 and family.name.startswith("conv2d"):
        pytest.skip("oneDNN's convolutions of bfloat16 multiply padding as well, which makes nan of inf")
    if dtype == torch.float32 and family.name == "conv2d(groups=2)":
        pytest.skip("ATen's gradient of a grouped weight in float32 multiplies padding as well")
    if "is_causal" in family.name:
        pytest.skip("what a query does not see is 0 in the kernels' matrices, and 0·nan in some of the definition's")
    count = len(family.sizes)
    inputs = [f"input {i}" for i in range(count)]
    cotangents = ["cotangent", *[f"cotangent of first[{i}]" for i in range(count)]]
    for poisoned in (*inputs, *cotangents):
        for place in (0, -1):
            actual, expected = (
                named_derivatives(function, family, device, dtype, layout, poisoned, place, poison)
                for function in (family.op, family.reference)
            )
            for name, value in expected.items():
                if math.isinf(poison) and poisoned in inputs and name in family.zero_times_nan:
                    value = torch.where(actual[name] == 0, 0, value)
                assert_spread_alike(actual[name], value, name not in family.sums_in_another_order, TOLERANCES[dtype])
