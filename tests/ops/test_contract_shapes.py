"""The op contract on any shape and in any memory layout: kernels equal their definitions to the second derivative."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from comparing import assert_all_close, assert_no_worse_than_torch, derivatives
from families import FAMILIES, Family
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
LAYOUTS = ["contiguous", "channels_last", "slice of channels_last", "transposed", "sliced", "expanded"]


def laid_out(values: Tensor, layout: str) -> Tensor:
    """``values`` with the strides of ``layout``; "expanded" repeats the values of the first index of the last axis."""
    if layout == "channels_last":  # with the strides of it also where one channel leaves a choice
        return values.movedim(1, -1).contiguous().movedim(-1, 1) if values.dim() >= 2 else values
    if layout == "slice of channels_last" and values.dim():
        return laid_out(values.repeat_interleave(2, -1), "channels_last")[..., ::2]
    if layout == "transposed" and values.dim() >= 2:
        return values.transpose(0, -1).contiguous().transpose(0, -1)
    if layout == "sliced":  # every second value of a storage, from an odd offset on
        storage = values.new_zeros(1 + 2 * values.numel())
        sliced = storage[1::2].view(values.shape)
        return sliced.copy_(values)
    if layout == "expanded" and values.dim():
        return values[..., :1].expand_as(values)
    return values


def drawn(family: Family, data: st.DataObject, device: str, dtype: torch.dtype) -> tuple[tuple[Tensor, ...], Callable]:
    """Inputs, and what gives cotangents their layout."""
    shapes = data.draw(family.shapes, label="shapes")
    layouts = [data.draw(st.sampled_from(LAYOUTS), label="layout") for _ in shapes]
    of_cotangents = data.draw(st.sampled_from(LAYOUTS), label="layout of the cotangents")
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99), label="seed"))
    values = family.inputs(generator, dtype, shapes)
    inputs = tuple(laid_out(t.to(device), layout).requires_grad_() for t, layout in zip(values, layouts, strict=True))
    return inputs, lambda cotangent: laid_out(cotangent, of_cotangents)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_kernels_equal_the_definition_on_any_shape_and_layout(family: Family, device: str, data: st.DataObject) -> None:
    inputs, prepare = drawn(family, data, device, torch.float64)
    actual, expected = (derivatives(function, inputs, prepare=prepare) for function in (family.op, family.reference))
    # Sums in another order. Derivatives of one channel's norm, or of a deviation of equal samples (an expanded batch),
    # are what is left of larger numbers, so the bound is wider than for the fixed inputs of test_contract.py.
    assert_all_close(actual, expected, 1e-9)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=40, deadline=None, derandomize=True)  # a bound on roundings: values that break it can be found
@given(data=st.data())
def test_narrow_types_are_no_worse_than_torch_on_any_shape_and_layout(
    family: Family, dtype: torch.dtype, device: str, data: st.DataObject
) -> None:
    inputs, prepare = drawn(family, data, device, dtype)
    if "pixel_norm" in family.name:  # one channel's norm is its own: all derivatives are roundings of 0
        assume(inputs[0].shape[1] > 1)
    # The second derivative to interpolate's cotangent is a sum of two that are rounded, as is the sum.
    roundings = 6 if family.name == "interpolate" else 0
    assert_no_worse_than_torch(family.op, family.reference, inputs, prepare, roundings)
