"""One op family's race: its kernels against every way that torch has to compute the same, and against the limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

import gan_ops
from benchmarks.memory import nothing_mapped, peak_of
from benchmarks.ops import limits
from benchmarks.ops.in_graphs import stays_a_kernel
from benchmarks.ops.modes import MODES, Call, Function, Problem
from benchmarks.ops.sizes import Size
from benchmarks.race import race
from gan_ops._dispatch import kernels_run

Tensors = tuple[Tensor, ...]
PerOrder = tuple[float, ...]


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

    def race(self, benchmark: BenchmarkFixture, mode: str, size: Size) -> None:
        """Measures a mode at a size."""
        torch.manual_seed(0)
        torch._dynamo.reset()
        inputs, constants = self.inputs(size), self.constants(size)
        problem = Problem(mode, self.op(), inputs, constants)
        alternatives, roles = self._alternatives(problem)
        orders = MODES.index(mode) + 1
        nbytes = sum(self.traffic(*problem.tensors)[:orders])
        units, work = {"bytes": nbytes}, {}
        largest = max(tensor.nbytes for tensor in problem.tensors)
        with torch._dynamo.config.patch(trace_autograd_ops=True):
            memory = {name: peak_of(call) for name, call in alternatives.items()}
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
                    params={"mode": mode, "size": str(size), "bytes": sum(tensor.nbytes for tensor in inputs)},
                    budget=1.5,
                    rounds=(5, 60),
                    units=units,
                    memory=memory,
                    roles=roles,
                    work=work,
                )

    def _function(self, op: Function) -> Function:
        return lambda *tensors: self.call(op, *tensors)

    def _alternatives(self, problem: Problem) -> tuple[dict[str, Call], dict[str, str]]:
        """Everything but the limits, and the part that each plays."""
        alternatives, roles = {"ours": problem.call(self.op())}, {}

        def add(name: str, role: str, call: Call) -> None:
            if self.can_run(name, problem.mode, *problem.tensors):
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


def cells(family: Family) -> Callable[[Function], Function]:
    """Makes a test of a mode and a size run over all that the family has."""

    def decorate(test: Function) -> Function:
        test = pytest.mark.parametrize("mode", family.modes, ids=lambda mode: mode.replace(" ", "_"))(test)
        return pytest.mark.parametrize("size", family.sizes, ids=str)(test)

    return decorate
