"""The rivals of single ops compute what the ops compute."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import benchmarks.ops
from benchmarks.ops import family as family_module
from benchmarks.ops import limits
from benchmarks.ops.family import Family, Part
from benchmarks.ops.in_graphs import stays_a_kernel
from benchmarks.ops.modes import MODES, Function, Problem
from benchmarks.ops.sizes import Size

MODULES = [
    importlib.import_module(f"benchmarks.ops.{found.name}") for found in pkgutil.iter_modules(benchmarks.ops.__path__)
]
FAMILIES = {
    str(value): value
    for module in MODULES
    for value in vars(module).values()
    if isinstance(value, Family) and module.__name__.startswith("benchmarks.ops.test_")
}
WITH_RIVALS = [
    pytest.param(family, mode, rival, id=f"{family}-{mode}-{rival}")
    for family in FAMILIES.values()
    for mode in family.modes
    for rival in ("ours", *family.rivals)
    if family.can_run(rival, mode, *family.inputs(family.sizes[0]))
]


@pytest.fixture(autouse=True)
def in_float64() -> None:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def outcome(family: Family, mode: str, function: Function) -> list[Tensor | None]:
    """What a call at the least size returns, and its tensors afterwards: some ops work in place."""
    torch.manual_seed(0)
    size = family.sizes[0]
    problem = Problem(mode, family.definition(), family.inputs(size), family.constants(size))
    return [*flat(problem.call(function)()), *problem.tensors]


def flat(results: object) -> list[Tensor | None]:
    if isinstance(results, (tuple, list)):
        return [tensor for part in results for tensor in flat(part)]
    return [results]


@pytest.mark.parametrize(("family", "mode", "rival"), WITH_RIVALS)
def test_every_rival_computes_the_definition_and_its_derivatives(family: Family, mode: str, rival: str) -> None:
    expected = outcome(family, mode, family.definition())
    found = outcome(family, mode, family.op() if rival == "ours" else family.rivals[rival])
    for value, other in zip(found, expected, strict=True):
        # An undefined gradient stands for zeros.
        value = torch.zeros_like(other) if value is None and other is not None else value
        other = torch.zeros_like(value) if other is None and value is not None else other
        # Sums of some hundred numbers of size 1 in another order, differentiated twice.
        torch.testing.assert_close(value, other, rtol=1e-9, atol=1e-9)


def has_kernel_in_graph(family: Family, function: Function) -> bool:
    """Whether the family's kernel is in the graph that torch.compile makes of the function."""
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Function:
        graphs.append(str(graph.graph))
        return graph.forward

    size = family.sizes[0]
    torch._dynamo.reset()  # all families' functions are one lambda's code, which torch compiles a few times only
    torch.compile(function, backend=backend, fullgraph=True)(*family.inputs(size), *family.constants(size))
    return f"gan_ops.{family.name}" in graphs[0]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_the_kernel_meant_for_graphs_is_in_the_graph(family: Family) -> None:
    kernel = family.in_graph_kernel()
    if kernel is None:
        pytest.skip("has no kernel")
    assert has_kernel_in_graph(family, kernel)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_the_op_becomes_in_graphs_what_the_tables_say(family: Family) -> None:
    assert has_kernel_in_graph(family, family.op()) == bool(stays_a_kernel(family.name))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_least_sizes_are_small(family: Family) -> None:
    assert sum(tensor.nbytes for tensor in family.inputs(family.sizes[0])) < 64e3


def test_a_copy_reads_and_writes_the_bytes_asked_for() -> None:
    copies = limits.copy(nbytes=4000, piece=800)()
    assert sum(2 * tensor.nbytes for tensor in copies) == 4000
    assert max(tensor.nbytes for tensor in copies) == 800


def test_on_a_gpu_compiled_rivals_come_after_those_op_by_op_but_before_lesser_sizes(monkeypatch) -> None:
    monkeypatch.setattr(family_module, "PARTS", (Part.OP_BY_OP, Part.COMPILED, Part.IN_GRAPHS))
    cells = [(part, place, mode) for part in family_module.PARTS for place in (1, 2, 4) for mode in MODES]
    order = [cell[:2] for cell in sorted(cells, key=lambda cell: family_module.rank(*cell)) if cell[2] == "forward"]
    op_by_op, compiled, in_graphs = ([(part, place) for place in (1, 2, 4)] for part in family_module.PARTS)
    assert order == [*op_by_op[:2], compiled[0], op_by_op[2], *compiled[1:], *in_graphs]


def test_a_rival_that_does_not_run_on_a_gpu_is_left_out_with_a_warning(monkeypatch) -> None:
    def fails() -> None:
        raise RuntimeError("CUDA out of memory.\nTried to allocate much")

    monkeypatch.setattr(family_module, "ON_GPU", True)
    monkeypatch.setattr(family_module, "peak_of", lambda call, device: call() or 0)
    with pytest.warns(UserWarning, match=r"compiled is left out: CUDA out of memory\."):
        assert family_module.peaks({"ours": lambda: None, "compiled": fails}) == {"ours": 0}
    with pytest.raises(RuntimeError, match="out of memory"):
        family_module.peaks({"ours": fails})


def in_bf16(size: Size) -> Size:
    return replace(size, channels_last=True, dtype=torch.bfloat16)


@pytest.mark.parametrize(
    ("family", "rival"),
    [
        pytest.param(family, rival, id=f"{family}-{rival}")
        for family in FAMILIES.values()
        for rival in ("ours", "definition", *family.rivals)
    ],
)
def test_every_rival_runs_in_bf16_and_channels_last(family: Family, rival: str) -> None:
    size, mode = in_bf16(family.sizes[0]), family.modes[-1]
    inputs, constants = family.inputs(size), family.constants(size)
    if not family.can_run(rival, mode, *inputs):
        mode = "forward"
    if not family.can_run(rival, mode, *inputs):
        pytest.skip("not in this type")
    assert {tensor.dtype for tensor in (*inputs, *constants)} == {torch.bfloat16}
    assert all(t.is_contiguous(memory_format=torch.channels_last) for t in inputs if t.dim() == 4)
    own = {"ours": family.op(), "definition": family.definition()}
    for result in flat(Problem(mode, family.op(), inputs, constants).call(own.get(rival) or family.rivals[rival])()):
        assert result is None or result.isfinite().all()


def test_a_size_s_name_has_its_layout_and_type_where_they_are_not_the_usual() -> None:
    assert str(Size((4, 16, 4, 4))) == "4x16x4x4"
    assert str(in_bf16(Size((4, 16, 4, 4)))) == "4x16x4x4-channels_last-bf16"


def test_on_a_gpu_bf16_in_channels_last_is_measured_before_all_else(run_python) -> None:
    code = """
import importlib, pkgutil, torch
torch.cuda.is_available = lambda: True
torch.cuda.get_device_properties = lambda device: type("Properties", (), {"total_memory": 1 << 37})
import benchmarks.ops
from benchmarks.ops.family import Family, Part, rank
for found in pkgutil.iter_modules(benchmarks.ops.__path__):
    for value in list(vars(importlib.import_module(f"benchmarks.ops.{found.name}")).values()):
        if isinstance(value, Family):
            places = range(len(value.sizes))
            order = sorted(places, key=lambda i: rank(Part.OP_BY_OP, len(value.sizes) - i, value.modes[0]))
            print(value, *(value.sizes[i] for i in order[:3]))
"""
    result = run_python("-c", code)
    lines = {}
    for line in result.stdout.splitlines():
        *name, first, second, third = line.split()
        lines[" ".join(name)] = [first, second, third]
    assert lines.keys() == FAMILIES.keys(), result.stderr
    for name, sizes in lines.items():
        if name.startswith("historical"):  # of weights, which are float32 where networks run in bf16
            assert sizes[1].endswith("-channels_last-bf16")
        elif name.startswith(("minibatch_discrimination", "pair_distances", "attention")):  # have no channels
            assert sizes[0].endswith("-bf16") and "bf16" not in sizes[1]
        else:
            assert sizes[0].endswith("-channels_last-bf16") and sizes[1].endswith("-channels_last"), name


def test_on_a_cpu_families_of_feature_maps_have_a_size_in_bf16() -> None:
    names = {name for name, family in FAMILIES.items() if any("channels_last-bf16" in str(s) for s in family.sizes)}
    assert {"pixel_norm", "bias_act", "bias_act_pixel_norm", "minibatch_stddev", "virtual_batch_norm"} <= names
