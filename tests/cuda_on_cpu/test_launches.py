"""What benchmarks.launches says that our ops launch is what their kernels launch when the emulator runs them."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from emulated import Executor, Run
from families import FAMILIES, Family
from kernel_checks import RUNS, random_values
from test_kernels_on_cpu import large_shapes
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.launches import OWN, named

# Of a step of PGGAN; interpolate's emulated run asks for each of its two gradients alone too.
COUNTED = [
    family
    for family in FAMILIES
    if family.name in RUNS and family.name != "interpolate" and family.name.split("(")[0].split(" ")[0] in OWN
]


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("family", COUNTED, ids=str)
def test_launches_of_an_op_are_those_of_its_kernels(executor: Executor, family: Family, channels_last: bool) -> None:
    for shapes in [family.sizes, *large_shapes(family)]:
        inputs, g, v = random_values(family, torch.float32, shapes, torch.Generator().manual_seed(1))
        run = Run(executor, torch.float32, channels_last)
        RUNS[family.name](run, inputs, g, v)
        counts = launches_in_torch(family, channels_last, inputs, g, v)
        assert counts == run.launches


def launches_in_torch(
    family: Family, channels_last: bool, inputs: tuple[Tensor, ...], g: Tensor, v: tuple[Tensor, ...]
) -> dict[str, int]:
    """Of gan_ops' ops in forward, backward and double backward, as the counter has them."""

    def placed(tensor: Tensor) -> Tensor:
        moves = channels_last and tensor.dim() == 4
        return tensor.contiguous(memory_format=torch.channels_last) if moves else tensor

    inputs = tuple(placed(t).requires_grad_() for t in inputs)
    g, v = placed(g).requires_grad_(), tuple(map(placed, v))
    with OwnKernels() as found:
        first = torch.autograd.grad(family.op(*inputs), inputs, g, create_graph=True)
        torch.autograd.grad(first, (g, *inputs), v, allow_unused=True)
    return found.counts


class OwnKernels(TorchDispatchMode):
    """Of gan_ops' ops what the counter says that their kernels are, without copies and fills."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        if op.namespace == "gan_ops":
            name = op._schema.name.removeprefix("gan_ops::")
            self.counts[name] += OWN[name](named(op, args))
        return op(*args, **(kwargs or {}))
