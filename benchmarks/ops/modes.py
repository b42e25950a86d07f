"""What of an op is measured: its value, its gradients, and the derivatives of those, as a gradient penalty takes them.

All that a mode computes is returned, so that no compiler can leave out what a network would need.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

Function = Callable[..., Tensor]
Call = Callable[[], object]

MODES = ("forward", "forward+backward", "double backward")


class Problem:
    """A mode, an op's inputs, and the cotangents that come in from above, made once.

    Args:
        mode: one of MODES.
        function: what computes the op; only for the shapes.
        inputs: those to differentiate by.
        constants: those not to; they follow the inputs in a call.
    """

    def __init__(self, mode: str, function: Function, inputs: Sequence[Tensor], constants: Sequence[Tensor]) -> None:
        self.mode, self.constants = mode, tuple(constants)
        self.inputs = tuple(tensor.requires_grad_(mode != "forward") for tensor in inputs)
        if mode == "forward":
            return
        with torch.no_grad():
            y = function(*self.tensors)
        # The cotangent comes from layers above: a double backward is differentiated by it too.
        self.g = torch.randn_like(y).requires_grad_(mode == "double backward")
        self.v = tuple(torch.randn_like(tensor) for tensor in inputs)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return *self.inputs, *self.constants

    def call(self, function: Function) -> Call:
        """One call of ``function`` in this mode, op by op."""
        if self.mode == "forward":
            return partial(function, *self.tensors)
        if self.mode == "forward+backward":
            return partial(forward_backward, function, self.inputs, self.constants, self.g)
        return partial(double_backward, function, self.inputs, self.constants, self.g, self.v)

    def compiled_call(self, function: Function) -> Call:
        """The same by torch.compile; a double backward as one graph with the gradients taken inside."""
        if self.mode != "double backward":
            return self.call(torch.compile(function, fullgraph=True, dynamic=False))

        def whole(inputs: Sequence[Tensor], constants: Sequence[Tensor], g: Tensor, v: Sequence[Tensor]) -> object:
            # Detached, or torch would keep what a backward pass through the results needs.
            y, first, second = double_backward(function, inputs, constants, g, v)
            return [tensor if tensor is None else tensor.detach() for tensor in (y, *first, *second)]

        compiled = torch.compile(whole, fullgraph=True, dynamic=False)
        return partial(compiled, self.inputs, self.constants, self.g, self.v)


def forward_backward(
    function: Function, inputs: Sequence[Tensor], constants: Sequence[Tensor], g: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The value and its gradients for the cotangent g."""
    y = function(*inputs, *constants)
    return y, torch.autograd.grad(y, inputs, g)


def double_backward(
    function: Function, inputs: Sequence[Tensor], constants: Sequence[Tensor], g: Tensor, v: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor | None, ...]]:
    """The value, its gradients for g, and for their cotangents v the gradients to the inputs and to g."""
    y = function(*inputs, *constants)
    first = torch.autograd.grad(y, inputs, g, create_graph=True)
    return y, first, torch.autograd.grad(first, (*inputs, g), v, allow_unused=True)
