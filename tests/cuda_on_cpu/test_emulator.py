"""The emulator does what CUDA's programming guide says, and ends the process where that says "undefined"."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import torch
from compiling import EXAMPLES, compile_libraries
from emulated import Executor, KernelFault, Run
from torch import Tensor

NARROW = [torch.float16, torch.bfloat16]


@pytest.fixture(scope="module")
def examples() -> Iterator[Executor]:
    [library] = compile_libraries([[EXAMPLES]])
    with closing(Executor(library)) as executor:
        yield executor


@pytest.fixture(params=[0, 1], ids=["in order", "shuffled"])
def run(examples: Executor, request: pytest.FixtureRequest) -> Run:
    return Run(examples, torch.float32, seed=request.param)


def output(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def all_values(dtype: torch.dtype) -> Tensor:
    return torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(dtype)


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_every_narrow_value_widens_as_in_torch(examples: Executor, dtype: torch.dtype) -> None:
    values = all_values(dtype)
    (wide,) = Run(examples, dtype)("widen_every", values, output(len(values)), len(values))
    torch.testing.assert_close(wide, values.float(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_rounding_to_a_narrow_type_is_torch_s_at_every_tie_and_beside_it(
    examples: Executor, dtype: torch.dtype
) -> None:
    values = all_values(dtype).double()
    values = values[values.isfinite()].unique()
    largest = values[-1:]
    ties = torch.cat([(values[1:] + values[:-1]) / 2, largest + (largest - values[-2]) / 2]).float()
    infinity = torch.tensor([torch.inf])
    tried = [ties, ties.nextafter(infinity), ties.nextafter(-infinity), values.float(), infinity, -infinity]
    wide = torch.cat([*tried, torch.tensor([torch.nan])])
    (narrow,) = Run(examples, dtype)("narrow_every", wide, output(len(wide), dtype=dtype), len(wide))
    torch.testing.assert_close(narrow, wide.to(dtype), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(("source", "width"), [(0, 32), (1, 32), (5, 32), (31, 32), (1, 8), (5, 8), (3, 4), (9, 16)])
def test_shuffles_read_the_lane_they_should(run: Run, source: int, width: int) -> None:
    def expected(lane: int) -> list[int]:
        first, last = lane // width * width, lane // width * width + width - 1
        up, down, xor = lane - source, lane + source, lane ^ source
        return [
            first + source % width,
            up if up >= first else lane,
            down if down <= last else lane,
            xor if xor <= last else lane,
        ]

    (lanes,) = run("shuffles", output(4, 64), source, width)
    assert lanes.T.tolist() == [expected(i % 32) for i in range(64)]


def test_a_vote_counts_the_lanes_of_its_mask(run: Run) -> None:
    (answers,) = run("votes_of_even_lanes", output(3))
    assert answers.tolist() == [1 << 4, True, False]


@pytest.mark.parametrize(("limit", "answers"), [(0, [0, False, False]), (3, [21, True, False]), (10, [70, True, True])])
def test_a_barrier_counts_over_the_block(run: Run, limit: int, answers: list[int]) -> None:
    assert run("votes_of_block", output(3), limit)[0].tolist() == answers  # 7 rows of 10 threads


def test_a_barrier_does_not_wait_for_threads_that_returned(run: Run) -> None:
    assert run("barrier_after_some_left", output(1))[0].tolist() == [35]


def test_no_block_finds_what_another_left_in_shared_memory(run: Run) -> None:
    (found,) = run("shared_memory_of_blocks", output(5), 5)
    assert found.isnan().all()


def test_dynamic_shared_memory_holds_the_bytes_that_the_launch_asks_for(run: Run) -> None:
    values = torch.arange(37.0)
    assert run("reversed", values, output(37), 37, 37 * 4)[0].equal(values.flip(0))


def test_blocks_wait_for_those_that_took_their_tickets_before(run: Run) -> None:
    next_ticket, out = run("tickets", output(1), output(5), 5, -1)
    assert next_ticket.view(torch.int32).tolist() == [5] and out.tolist() == [1, 2, 3, 4, 5]


FAULTS: dict[str, tuple[Callable[[Run], object], str]] = {
    "one value more than dynamic shared memory holds": (
        lambda run: run("reversed", torch.arange(37.0), output(37), 37, 36 * 4),
        "AddressSanitizer",
    ),
    "threads at different barriers": (
        lambda run: run("two_barriers"),
        r"7 threads wait in __syncthreads at .*examples.cu:\d+: 0–6\n.*57 threads wait in __syncthreads.*: 7–63",
    ),
    "a shuffle with lanes that returned": (
        lambda run: run("lanes_that_left", output(7)),
        r"25 threads returned: 7–31\n.*7 threads wait in __shfl_xor_sync at .*with mask 0xffffffff: 0–6",
    ),
    "one shuffle in two places": (
        lambda run: run("two_shuffles", output(32)),
        "threads wait for others that do not come",
    ),
    "a shuffle with lanes that the block does not have": (
        lambda run: run("half_a_warp", output(4, 16), 1),
        "names lanes beyond the block",
    ),
    "sixteen bytes at an address that is not a multiple of sixteen": (
        lambda run: Run(run.executor, torch.float32, misaligned=True)("aligned_copy", torch.zeros(4), output(4)),
        "misaligned address",
    ),
    "a block that waits for another which comes later": (
        lambda run: run("tickets", output(1), output(5), 5, 1),
        r"__nanosleep at .*examples.cu:\d+: a thread sleeps until another block has done something",
    ),
    "a grid without blocks": (lambda run: run("empty_launch", 0, 32), "invalid configuration argument"),
    "a block of too many threads": (lambda run: run("empty_launch", 1, 1025), "invalid configuration argument"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_reported(run: Run, fault: str) -> None:
    call, report = FAULTS[fault]
    with pytest.raises(KernelFault, match=report):
        call(run)


def test_after_a_fault_the_next_call_works(run: Run) -> None:
    with pytest.raises(KernelFault):
        run("two_barriers")
    assert run("barrier_after_some_left", output(1))[0].tolist() == [35]
