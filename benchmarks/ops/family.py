"""One op family's race: its kernels against every way that torch has to compute the same, and against the limit."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import FunctionType

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

import gan_ops
from benchmarks.machine import DEVICE
from benchmarks.memory import nothing_mapped, peak_of
from benchmarks.ops import limits
from benchmarks.ops.in_graphs import stays_a_kernel
from benchmarks.ops.modes import MODES, Call, Function, Problem
from benchmarks.ops.sizes import ON_GPU, Size
from benchmarks.race import race
from gan_ops._dispatch import kernels_run

Tensors = tuple[Tensor, ...]
PerOrder = tuple[float, ...]

COLD = 1 << 20
"""Bytes of a call's tensors from which a GPU's caches hold none of them when a network calls the op."""


class Part(Enum):
    """The kinds of rivals that a race is against. On a GPU each has a race of its own, for compiling takes long."""

    ALL = ("eager", "compiled", "in-graph kernel", "in-graph kernel, not used")
    OP_BY_OP = ("eager",)
    COMPILED = ("compiled",)
    IN_GRAPHS = ("in-graph kernel", "in-graph kernel, not used")

    def __str__(self) -> str:
        return self.name.lower()


PARTS = (Part.OP_BY_OP, Part.COMPILED, Part.IN_GRAPHS) if ON_GPU else (Part.ALL,)


@dataclass(frozen=True)
class Family:
    """An op with its rivals.

    Args:
        name: the function's, in gan_ops and in gan_ops.reference.
        sizes: those to measure, the least first.
        inputs: the tensors that derivatives are taken by, of a size.
        traffic: bytes that forward, backward and double backward must each read and write, for a call's tensors.
        constants: tensors that follow the inputs in a call, of a size.
        call: how the function takes the tensors, with its options.
        rivals: other ways in torch, by name, taking the tensors; exact to the definition.
        compiled_rivals: those of them that torch.compile does better than the definition.
        operations: operations that each of the three must do, where arithmetic is the limit.
        can_run: whether an alternative has the derivatives of a mode and the memory for a call's tensors, by its name.
        modes: those that the op has.
        variant: the option that a family is for, where an op has several families.
    """

    name: str
    sizes: Sequence[Size]
    inputs: Callable[[Size], Tensors]
    traffic: Callable[..., PerOrder]
    constants: Callable[[Size], Tensors] = lambda size: ()
    call: Callable[..., Tensor] = lambda op, *tensors: op(*tensors)
    rivals: Mapping[str, Function] = field(default_factory=dict)
    compiled_rivals: Sequence[str] = ()
    operations: Callable[..., PerOrder] | None = None
    can_run: Callable[..., bool] = lambda name, mode, *tensors: True
    modes: Sequence[str] = MODES
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.variant}".strip()

    def op(self) -> Function:
        return self._function(getattr(gan_ops, self.name))

    def definition(self) -> Function:
        return self._function(getattr(gan_ops.reference, self.name))

    def in_graph_kernel(self) -> Function | None:
        """The op as a kernel in compiled graphs, whether it stays one there or not; None if it has no kernel."""
        op = getattr(gan_ops, self.name)
        if stays_a_kernel(self.name) is None:
            return None
        opened = FunctionType(op.__code__, {**op.__globals__, "kernels_run_eagerly": kernels_run}, op.__name__)
        opened.__defaults__, opened.__kwdefaults__ = op.__defaults__, op.__kwdefaults__
        return self._function(opened)

    def race(self, benchmark: BenchmarkFixture, mode: str, size: Size, part: Part) -> None:
        """Measures a mode at a size."""
        torch.manual_seed(0)
        torch._dynamo.reset()
        with DEVICE:
            inputs, constants = self.inputs(size), self.constants(size)
        problem = Problem(mode, self.op(), inputs, constants)
        alternatives, roles = self._alternatives(problem, part)
        orders = MODES.index(mode) + 1
        nbytes = sum(self.traffic(*problem.tensors)[:orders])
        units, work = {"bytes": nbytes}, {}
        largest = max(tensor.nbytes for tensor in problem.tensors)
        params = {
            "mode": mode,
            "size": f"{size} {self.variant}".strip(),
            "bytes": sum(tensor.nbytes for tensor in inputs),
        }
        if part is not Part.ALL:
            params["rivals"] = str(part)
        with torch._dynamo.config.patch(trace_autograd_ops=True):
            memory = peaks(alternatives)
            if part is not PARTS[0] and not roles.keys() & memory.keys():
                pytest.skip("no rival of this kind runs")
            alternatives = {name: alternatives[name] for name in memory}
            roles = {name: role for name, role in roles.items() if name in memory}
            alternatives["copy"], roles["copy"] = limits.copy(int(nbytes), largest), "limit"
            if self.operations is not None:
                units["operations"] = sum(self.operations(*problem.tensors)[:orders])
                alternatives["arithmetic"], work["arithmetic"] = limits.operations(units["operations"])
                roles["arithmetic"] = "limit"
            with nothing_mapped():
                race(
                    benchmark,
                    "ours",
                    alternatives,
                    params=params,
                    budget=0.5 if ON_GPU else 1.5,
                    rounds=(5, 60),
                    units=units,
                    memory=memory,
                    roles=roles,
                    work=work,
                    cold=params["bytes"] >= COLD,
                )

    def _function(self, op: Function) -> Function:
        return lambda *tensors: self.call(op, *tensors)

    def _alternatives(self, problem: Problem, part: Part) -> tuple[dict[str, Call], dict[str, str]]:
        """Everything of a part but the limits, and the role that each plays."""
        alternatives, roles = {"ours": problem.call(self.op())}, {}

        def add(name: str, role: str, call: Call) -> None:
            if role in part.value and self.can_run(name, problem.mode, *problem.tensors):
                alternatives[name], roles[name] = call, role

        add("definition", "eager", problem.call(self.definition()))
        add("compiled", "compiled", problem.compiled_call(self.definition()))
        for name, rival in self.rivals.items():
            add(name, "eager", problem.call(rival))
        for name in self.compiled_rivals:
            add(f"{name}, compiled", "compiled", problem.compiled_call(self.rivals[name]))
        kernel = self.in_graph_kernel()
        if kernel is not None:
            add("compiled kernel", "in-graph kernel", problem.compiled_call(kernel))
        return alternatives, roles


def peaks(alternatives: Mapping[str, Call]) -> dict[str, int]:
    """The memory that each takes. On a GPU a rival that does not run there (no memory, no compiler) is left out."""
    found = {}
    for name, call in alternatives.items():
        try:
            found[name] = peak_of(call, DEVICE)
        except RuntimeError as error:
            if name == "ours" or not ON_GPU:
                raise
            warnings.warn(f"{name} is left out: {str(error).strip().splitlines()[0]}", stacklevel=2)
    return found


def rank(part: Part, place: int, mode: str) -> tuple[int, ...]:
    """Rivals op by op at the three foremost sizes, what compiles at the first; then the rest in the same order.

    Within a size double backward comes first: most is asked of it.
    """
    foremost = place <= {Part.OP_BY_OP: 3, Part.COMPILED: 1}.get(part, 0)
    return int(not foremost), PARTS.index(part), place, -MODES.index(mode)


def cells(family: Family) -> Callable[[Function], Function]:
    """Makes a test of a mode, a size and a part run over all that the family has, ranked by importance."""
    return pytest.mark.parametrize(("mode", "size", "part"), [_cell(family, *cell) for cell in _cells(family)])


def cells_of_variants(*families: Family) -> Callable[[Function], Function]:
    """The same for families of one op: a test of a family, a mode, a size and a part."""
    every = [_cell(family, *cell, family) for family in families for cell in _cells(family)]
    return pytest.mark.parametrize(("mode", "size", "part", "family"), every)


def _cells(family: Family) -> list[tuple[str, int, Part]]:
    return [(mode, i, part) for part in PARTS for i in range(len(family.sizes)) for mode in family.modes]


def _cell(family: Family, mode: str, i: int, part: Part, *more: Family) -> object:
    name = f"{family.sizes[i]}-{mode.replace(' ', '_')}" + ("" if part is Part.ALL else f"-{part}")
    name += f"-{family.variant}" if more else ""
    marks = pytest.mark.rank(*rank(part, len(family.sizes) - i, mode))
    return pytest.param(mode, family.sizes[i], part, *more, id=name, marks=marks)
