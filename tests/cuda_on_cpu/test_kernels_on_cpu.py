"""Every CUDA kernel, executed on the CPU: near its definition in all dtypes and derivatives, without a stray access,
and the same to the bit whatever the order of its threads."""

from __future__ import annotations

import pytest
import torch
from compiling import KERNELS
from emulated import DTYPES, Executor
from families import FAMILIES, Family
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from kernel_checks import RUNS, check_kernels

FAMILIES_WITH_KERNELS = [family for family in FAMILIES if family.name in RUNS]


def test_every_row_of_a_family_with_kernels_is_run() -> None:
    def has_kernels(family: Family) -> bool:
        return any(family.name.startswith(path.stem) for path in KERNELS)

    assert set(RUNS) == {family.name for family in FAMILIES if has_kernels(family)}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("family", FAMILIES_WITH_KERNELS, ids=str)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_kernels_equal_the_definition_in_any_order_of_threads(
    executor: Executor, family: Family, dtype: torch.dtype, data: st.DataObject
) -> None:
    shapes = data.draw(family.shapes, label="shapes")
    assume(all(0 not in shape for shape in shapes))  # kernels are not called for nothing
    check_kernels(
        executor,
        family,
        dtype,
        shapes,
        seed=data.draw(st.integers(1, 999), label="seed"),
        channels_last=data.draw(st.booleans(), label="channels_last"),
        misaligned=data.draw(st.booleans(), label="misaligned"),
    )
