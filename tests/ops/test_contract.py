"""The op contract, for every family: right to the second derivative in every dtype and layout, compilable,
repeatable."""

from __future__ import annotations

import pytest
import torch
from comparing import assert_all_close, assert_no_worse_than_torch, derivatives
from families import FAMILIES, Family
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck

import gan_ops

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
NARROW = [torch.float32, torch.float16, torch.bfloat16]

pytestmark = [
    pytest.mark.parametrize("family", FAMILIES, ids=str),
    pytest.mark.parametrize("device", DEVICES),
]


def inputs_of(family: Family, device: str, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(t.to(device).requires_grad_() for t in family.inputs(generator, dtype))


def test_first_derivative_is_exact(family: Family, device: str) -> None:
    assert gradcheck(family.op, inputs_of(family, device))


def test_second_derivative_is_exact(family: Family, device: str) -> None:
    assert gradgradcheck(family.op, inputs_of(family, device))


def test_kernels_equal_the_definition_in_float64(family: Family, device: str) -> None:
    inputs = inputs_of(family, device)
    assert_all_close(derivatives(family.op, inputs), derivatives(family.reference, inputs), 1e-12)


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_narrow_types_are_near_the_float64_definition(family: Family, device: str, dtype: torch.dtype) -> None:
    assert_no_worse_than_torch(family.op, family.reference, inputs_of(family, device, dtype))


@pytest.mark.parametrize("dtype", [torch.float64, *NARROW], ids=str)
def test_results_have_the_type_of_x(family: Family, device: str, dtype: torch.dtype) -> None:
    output, *rest = derivatives(family.op, inputs_of(family, device, dtype))
    cotangent = rest[len(family.sizes)]  # its gradient has its type
    wide = torch.promote_types(dtype, torch.float32) if family.wide_output else dtype
    assert output.dtype == cotangent.dtype == wide
    assert {t.dtype for t in rest if t is not cotangent} == {dtype}


def test_channels_last_gives_the_same_values_and_stays_channels_last(family: Family, device: str) -> None:
    inputs = inputs_of(family, device)
    if inputs[0].dim() != 4:
        pytest.skip("not an op of feature maps")
    as_channels_last = tuple(
        t.detach().to(memory_format=torch.channels_last).requires_grad_() if t.dim() == 4 else t for t in inputs
    )
    results = derivatives(family.op, as_channels_last)
    assert_all_close(results, derivatives(family.op, inputs), 1e-12)
    if device == "cuda" and family.name.startswith("conv2d"):
        return  # cuDNN has no channels_last for float64; test_conv2d.py asks it of the narrower types
    output, gradient = results[:2]
    assert output.dim() != 4 or output.is_contiguous(memory_format=torch.channels_last)
    assert gradient.is_contiguous(memory_format=torch.channels_last)


def test_any_other_strides_give_the_same_values(family: Family, device: str) -> None:
    x, *others = inputs_of(family, device)
    expected = derivatives(family.op, (x, *others))
    transposed = x.detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    sliced = torch.stack([x.detach(), x.detach() + 1], dim=-1)[..., 0].requires_grad_()
    offset = torch.cat([x.detach().new_zeros(1, *x.shape[1:]), x.detach()])[1:].requires_grad_()
    for strided in (transposed, sliced, offset):
        assert_all_close(derivatives(family.op, (strided, *others)), expected, 1e-12)


def test_expanded_cotangents_are_read_right(family: Family, device: str) -> None:
    inputs = inputs_of(family, device)
    for function in (family.op, family.reference):
        output = function(*inputs)
        grads = torch.autograd.grad(output.sum(), inputs)  # the cotangent of a sum is one value, expanded
        dense = torch.autograd.grad(function(*inputs), inputs, torch.ones_like(output))
        assert_all_close(list(grads), list(dense), 1e-12)


def test_an_empty_batch_works(family: Family, device: str) -> None:
    inputs = inputs_of(family, device)
    empty = tuple(t.detach()[:0].requires_grad_() for t in inputs[: family.batched])
    results = derivatives(family.op, (*empty, *inputs[family.batched :]))
    expected = derivatives(family.reference, (*empty, *inputs[family.batched :]))
    assert [r.shape for r in results] == [e.shape for e in expected]


def test_results_repeat_to_the_bit(family: Family, device: str) -> None:
    inputs = inputs_of(family, device, torch.float32)
    for first, second in zip(derivatives(family.op, inputs), derivatives(family.op, inputs), strict=True):
        assert torch.equal(first, second)


def test_every_registered_op_passes_opcheck(family: Family, device: str) -> None:
    for op, arguments in family.registered():
        on_device = torch.utils._pytree.tree_map_only(
            Tensor, lambda t: t.detach().to(device).requires_grad_(t.requires_grad), arguments
        )
        torch.library.opcheck(op, on_device)


def test_the_third_derivative_is_that_of_the_definition_or_an_error(family: Family, device: str) -> None:
    inputs = inputs_of(family, device)

    def third(function) -> list[Tensor]:
        # Squares between the orders make each derivative depend on the one before.
        first = torch.autograd.grad(function(*inputs).square().sum(), inputs, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs, create_graph=True)
        return list(torch.autograd.grad(sum(g.square().sum() for g in second), inputs))

    if family.third:
        assert_all_close(third(family.op), third(family.reference), 1e-10)
    else:
        with pytest.raises(NotImplementedError, match="has no third derivative"):
            third(family.op)


def test_compiles_as_one_graph(family: Family, device: str) -> None:
    inputs = inputs_of(family, device)
    torch._dynamo.reset()
    compiled = torch.compile(family.op, fullgraph=True, backend="aot_eager")
    for function in (compiled, family.op):
        output = function(*inputs)
        grads = torch.autograd.grad(output.square().sum(), inputs)
        if function is compiled:
            actual = [output, *grads]
    assert_all_close(actual, [output, *grads], 1e-12)


def test_a_graph_holds_the_kernel_only_where_the_compiler_does_worse(family: Family, device: str) -> None:
    seen: list[str] = []

    def backend(graph: torch.fx.GraphModule, _):
        seen.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    torch._dynamo.reset()
    torch.compile(family.op, fullgraph=True, backend=backend)(*inputs_of(family, device))
    assert any("gan_ops" in target for target in seen) == family.kernels_in_graphs


def penalised_step(function, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    output = function(*inputs)
    gradients = torch.autograd.grad(output.square().sum(), inputs, create_graph=True)
    loss = output.sum() + sum(g.square().sum() for g in gradients)
    return torch.autograd.grad(loss, inputs)


def test_second_derivative_inside_a_compiled_step(family: Family, device: str) -> None:
    """Forward, create_graph and parameter gradients in one graph."""
    inputs = inputs_of(family, device)
    torch._dynamo.reset()
    with torch._dynamo.config.patch(trace_autograd_ops=True):
        step = torch.compile(lambda *t: penalised_step(family.op, t), fullgraph=True, backend="aot_eager")
        actual = step(*inputs)
    assert_all_close(list(actual), list(penalised_step(family.reference, inputs)), 1e-10)


def test_forward_mode_is_refused_and_not_taken_for_zero(family: Family, device: str) -> None:
    with forward_ad.dual_level(), torch.no_grad():
        inputs = tuple(forward_ad.make_dual(t.detach(), torch.ones_like(t)) for t in inputs_of(family, device))
        with pytest.raises(RuntimeError, match="jvp is not implemented"):
            family.op(*inputs)


def test_torch_func_transforms_work(family: Family, device: str) -> None:
    inputs = tuple(t.detach() for t in inputs_of(family, device))
    actual = torch.func.grad(lambda *tensors: family.op(*tensors).square().sum())(*inputs)
    expected = torch.func.grad(lambda *tensors: family.reference(*tensors).square().sum())(*inputs)
    torch.testing.assert_close(actual, expected)


def test_use_reference_runs_the_definition(family: Family, device: str) -> None:
    inputs = inputs_of(family, device)
    with gan_ops.use_reference():
        graph = family.op(*inputs).grad_fn
    assert "gan_ops" not in type(graph).__name__ and torch.equal(
        family.reference(*inputs), _in_reference(family, inputs)
    )


def _in_reference(family: Family, inputs: tuple[Tensor, ...]) -> Tensor:
    with gan_ops.use_reference():
        return family.op(*inputs)


def test_no_graph_is_recorded_without_gradients(family: Family, device: str) -> None:
    with torch.no_grad():
        assert family.op(*inputs_of(family, device)).grad_fn is None
