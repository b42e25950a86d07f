"""What must hold of a family's kernels, for one set of shapes."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import torch
from compiling import KERNELS
from emulated import Executor, Outputs, Run
from families import Family, Shapes
from torch import Tensor

Tensors = tuple[Tensor, ...]
# For the name of a row in tests/ops/families.py: run, inputs, cotangent of the output and those of the gradients → what
# the kernels make.
RUNS: dict[str, Callable[[Run, Tensors, Tensor, Tensors], Outputs]] = {}
for path in KERNELS:
    RUNS |= import_module(f"glue.{path.stem}").RUNS


def check_kernels(
    executor: Executor,
    family: Family,
    dtype: torch.dtype,
    shapes: Shapes,
    seed: int = 1,
    channels_last: bool = False,
    misaligned: bool = False,
    misaligned_vectors: bool | None = None,
) -> None:
    """Runs the kernels of all derivatives on random values, with their threads in order and shuffled.

    Raises AssertionError if the results differ in a bit or are not near the float64 definition, KernelFault if the
    emulator or a sanitizer objects.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs, g, v = random_values(family, dtype, shapes, generator)

    # What is not written is NaN in one run and a large number in the other: a result that it touches differs.
    in_order = Run(executor, dtype, channels_last, misaligned, misaligned_vectors, seed=0, unwritten=0xFF)
    shuffled = Run(executor, dtype, channels_last, misaligned, misaligned_vectors, seed=seed, unwritten=0x7B)
    results, again = (RUNS[family.name](run, inputs, g, v) for run in (in_order, shuffled))
    exact = definition(family.reference, torch.float64, inputs, g, v)
    bounds = _bounds(family, dtype, inputs, g, v, exact, generator)
    for i, (a, b, e, bound) in enumerate(zip(results, again, exact, bounds, strict=True)):
        if a is None:
            continue
        error = (a.double() - e).abs().max().item()
        assert error <= bound, f"result {i} is {error:.2e} off its definition, which is more than {bound:.2e}"
        assert torch.equal(_bits(a), _bits(b)), f"result {i} depends on the order of threads, or on unwritten memory"


def check_alignment(
    executor: Executor, family: Family, dtype: torch.dtype, shapes: Shapes, channels_last: bool = False
) -> None:
    """Runs the kernels on the same values in tensors that begin at multiples of 16 bytes and in others, all of them or
    parameters alone: raises AssertionError if the results differ in a bit."""
    inputs, g, v = random_values(family, dtype, shapes, torch.Generator().manual_seed(1))
    ways = [(False, None), (True, None), *([(False, True)] if any(t.dim() == 1 for t in inputs) else [])]
    runs = (Run(executor, dtype, channels_last, misaligned, of_vectors) for misaligned, of_vectors in ways)
    for i, results in enumerate(zip(*(RUNS[family.name](run, inputs, g, v) for run in runs), strict=True)):
        first = results[0]
        same = first is None or all(torch.equal(_bits(first), _bits(other)) for other in results[1:])
        assert same, f"result {i} depends on where its tensors begin"


def random_values(
    family: Family, dtype: torch.dtype, shapes: Shapes, generator: torch.Generator
) -> tuple[Tensors, Tensor, Tensors]:
    """Inputs, the cotangent of the output, and those of the gradients."""
    inputs = family.inputs(generator, dtype, shapes)
    g = _normal(family.reference(*inputs), generator)
    return inputs, g, tuple(_normal(t, generator) for t in inputs)


def definition(
    reference: Callable[..., Tensor], dtype: torch.dtype, inputs: Tensors, g: Tensor, v: Tensors
) -> list[Tensor]:
    """What autograd gives for the definition in ``dtype``: the output; the gradients of the inputs; and those of
    <these, v> to g and to the inputs."""
    inputs = tuple(t.to(dtype).requires_grad_() for t in inputs)
    output = reference(*inputs)
    g = g.to(output.dtype).requires_grad_()
    first = torch.autograd.grad(output, inputs, g, create_graph=True)
    second = torch.autograd.grad(first, (g, *inputs), [t.to(dtype) for t in v], materialize_grads=True)
    return [t.detach() for t in (output, *first, *second)]


def _bounds(
    family: Family,
    dtype: torch.dtype,
    inputs: Tensors,
    g: Tensor,
    v: Tensors,
    exact: list[Tensor],
    generator: torch.Generator,
) -> list[float]:
    """How far each result may be from the exact one."""
    largest = [e.abs().max().item() for e in exact]
    if dtype == torch.float64:
        return [1e-9 * max(1.0, size) for size in largest]  # as in tests/ops/test_contract_shapes.py
    # Sums are taken in float32, where some results are what is left of larger numbers (the derivative of one channel's
    # norm). The definition in float32 errs likewise, but may be lucky: so it is tried at a few neighbours of the inputs
    # that differ in their last bits. What is left of numbers near 1 may be 0 in it and 1e-6 here.
    noise = [0.0] * len(exact)
    for _ in range(4):
        near = tuple(t.float() * (1 + 2**-18 * _normal(t.float(), generator)) for t in inputs)
        pairs = zip(*(definition(family.reference, d, near, g, v) for d in (torch.float32, torch.float64)), strict=True)
        noise = [max(n, _distance(*pair)) for n, pair in zip(noise, pairs, strict=True)]
    torch_s_own = [_distance(*p) for p in zip(definition(family.reference, dtype, inputs, g, v), exact, strict=True)]
    eps = torch.finfo(dtype).eps
    return [1e-6 + 32 * n + 2 * t + eps * size for n, t, size in zip(noise, torch_s_own, largest, strict=True)]


def _distance(a: Tensor, b: Tensor) -> float:
    return (a.double() - b.double()).abs().max().item()


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.dtype)


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)
