"""Every CUDA kernel, executed on the CPU: near its definition in all dtypes and derivatives, without a stray access,
and the same to the bit whatever the order of its threads."""

from __future__ import annotations

import pytest
import torch
from compiling import KERNELS
from emulated import DTYPES, Executor
from families import ATTENTION, EPILOGUES, FAMILIES, Family, Shapes
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from kernel_checks import RUNS, check_alignment, check_kernels

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


def large_shapes(family: Family) -> list[Shapes]:
    """Those that take ways through the kernels that the drawn ones are too small for: several chunks of a plane,
    sample, tensor or batch, a block a plane, several tiles of a chunk, several vectors of a pixel's channels for a
    thread, more of them than it keeps; with whole vectors, and without."""
    name = family.name.split("(")[0].split(" ")[0]
    if name == "minibatch_discrimination":
        # Rows and columns of more than a tile, features of more than a chunk, the same in few blocks; several columns'
        # tiles at a time, and features by vector.
        return [((70, 2, 35),), ((70, 1, 35),), ((150, 1, 8),)]
    if name == "pair_distances":
        # Several tiles of pairs; features of several shares of one tile, and the last share not full; other samples
        # than weights fit in shared memory.
        return [((70, 5), (133, 5)), ((6, 170), (5, 170)), ((3, 40), (131, 40))]
    if name == "minibatch_stddev":
        return [((60, 6, 8, 12),)]
    if name == "attention":
        # A warp a row, and a block a row, with several elements for a thread; few rows of many matrices.
        row = next(row for row in ATTENTION if row.name == family.name)
        return [row.shapes(2, 5, 70, 3, 2), row.shapes(1, 3, 1100, 2, 2), row.shapes(9, 2, 33, 1, 1)]
    if name == "historical_distance":
        return [((3, 1400), (17,), (64,))]
    if name == "fade_in":
        return [((2, 24, 12, 16), (2, 24, 6, 8))]
    if name == "upfirdn2d":
        # Several tiles side by side and below one another, with vectors in rows and without; several groups of values.
        return [((1, 3, 41, 300),), ((2, 40, 20, 37),)]
    if name == "grid_sample":
        # More points than a warp and channels than a block has, with whole vectors and without; of several blocks.
        axes = len(family.sizes[0]) - 2
        return [
            ((2, 70, *(4, 7, 3)[:axes]), (2, *(7, 6, 2)[:axes], axes)),
            ((1, 136, *(5, 4, 2)[:axes]), (1, *(9, 4, 2)[:axes], axes)),
            ((3, 5, *(20, 23, 2)[:axes]), (3, *(15, 9, 2)[:axes], axes)),
        ]
    if name == "scale_bias_act":
        # Several chunks along both axes; planes of less than a warp; no whole vectors; features.
        shapes_of = {str(epilogue): epilogue.shapes for epilogue in EPILOGUES}[family.name]
        return [shapes_of(x) for x in [(2, 10, 12, 24), (1, 70, 4, 4), (1, 262, 3, 3), (3, 40)]]
    x = {
        "gradient_penalty": [(2, 24, 10, 12)],
        "interpolate": [(2, 24, 10, 12)],
        # Several tiles of a plane, the last not full; more planes than blocks.
        "filtered_lrelu": [(1, 3, 40, 37), (2, 20, 5, 7)],
        # Chunks of one sample and of several, several groups of channels, no whole vectors.
        "virtual_batch_norm": [(1, 8, 96, 92), (3, 72, 17, 16), (2, 19, 23, 15)],
    }
    maps = x.get(name, [(1, 8, 96, 92), (2, 8, 35, 33), (2, 136, 8, 4)])
    if name in ("bias_act", "bias_act_pixel_norm", "pixel_norm"):
        maps = [*maps, (1, 264, 5, 7), (1, 267, 3, 5), (1, 520, 3, 3), (1, 524, 3, 3)]
    of_channels = {"bias_act", "bias_act_pixel_norm", "filtered_lrelu", "virtual_batch_norm"}

    def shape_of(i: int, usual: tuple[int, ...], x: tuple[int, ...]) -> tuple[int, ...]:
        if i > 0 and name in of_channels:
            return x[1:2]
        return x[: len(usual)]

    return [tuple(shape_of(i, usual, x) for i, usual in enumerate(family.sizes)) for x in maps]


# An element's bytes decide how many of them are taken at once.
of_each_width = pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=str)


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@of_each_width
@pytest.mark.parametrize("family", FAMILIES_WITH_KERNELS, ids=str)
def test_kernels_equal_the_definition_where_tensors_are_large(
    executor: Executor, family: Family, dtype: torch.dtype, channels_last: bool
) -> None:
    for shapes in large_shapes(family):
        check_kernels(executor, family, dtype, shapes, channels_last=channels_last)


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@of_each_width
@pytest.mark.parametrize("family", FAMILIES_WITH_KERNELS, ids=str)
def test_results_do_not_depend_on_where_tensors_begin(
    executor: Executor, family: Family, dtype: torch.dtype, channels_last: bool
) -> None:
    for shapes in [*large_shapes(family), family.sizes]:
        check_alignment(executor, family, dtype, shapes, channels_last)
