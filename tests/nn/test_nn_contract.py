"""What users do with any module works with every layer: autocast, DDP, torch.compile, deepcopy, pickle, state_dict."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import gan_ops.nn as gnn

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one

Inputs = tuple[Tensor, ...]


def feature_map(channels: int) -> Callable[[], Inputs]:
    return lambda: (torch.randn(4, channels, 6, 5),)


def generator() -> nn.Module:
    network = gnn.ReferenceSequential(nn.Linear(6, 8), gnn.VirtualBatchNorm(8), nn.ReLU(), nn.Linear(8, 3))
    network.set_reference(torch.randn(5, 6))
    return network


def attending() -> nn.Module:
    layer = gnn.SelfAttention2d(8)
    nn.init.constant_(layer.gamma, 0.7)  # else it is the identity
    return layer


LAYERS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Inputs]]] = {
    "PixelNorm": (gnn.PixelNorm, feature_map(6)),
    "MinibatchStddev": (lambda: gnn.MinibatchStddev(2), feature_map(6)),
    "MinibatchDiscrimination": (
        lambda: gnn.MinibatchDiscrimination(6, 3, 2, include_self=False, weight_norm=True, bias=True),
        lambda: (torch.randn(4, 6),),
    ),
    "EqualizedLinear": (lambda: gnn.EqualizedLinear(6, 3), lambda: (torch.randn(4, 6),)),
    "EqualizedConv2d": (
        lambda: gnn.EqualizedConv2d(6, 3, 3, padding=1, negative_slope=0.2),
        feature_map(6),
    ),
    "EqualizedUpConv2d": (lambda: gnn.EqualizedUpConv2d(6, 3, negative_slope=0.2, pixel_norm=True), feature_map(6)),
    "VirtualBatchNorm": (lambda: gnn.VirtualBatchNorm(6), lambda: (torch.randn(4, 6, 6, 5), torch.randn(3, 6, 6, 5))),
    "SelfAttention2d": (attending, feature_map(8)),
    "ReferenceSequential": (generator, lambda: (torch.randn(4, 6),)),
}

every_layer = pytest.mark.parametrize("name", LAYERS)


def made(name: str, seed: int = 0) -> tuple[nn.Module, Inputs]:
    torch.manual_seed(seed)
    layer, inputs = LAYERS[name]
    return layer(), inputs()


def outputs_of(layer: nn.Module, inputs: Inputs) -> Inputs:
    result = layer(*inputs)
    return result if isinstance(result, tuple) else (result,)


def gradients_of(layer: nn.Module, inputs: Inputs) -> list[Tensor]:
    """Those of all inputs and parameters, for a loss that is not linear in the outputs."""
    inputs = tuple(t.detach().clone().requires_grad_() for t in inputs)
    loss = sum(out.float().square().mean() for out in outputs_of(layer, inputs))
    return list(torch.autograd.grad(loss, [*inputs, *layer.parameters()]))


def test_the_table_has_every_layer() -> None:
    assert set(LAYERS) == set(gnn.__all__)


@every_layer
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@EVERYWHERE
def test_runs_under_autocast_near_full_precision(name: str, dtype: torch.dtype) -> None:
    layer, inputs = made(name)
    with torch.autocast(torch.get_default_device().type, dtype=dtype):
        narrow = outputs_of(layer, inputs)
        gradients = gradients_of(layer, inputs)
    for actual, expected in zip(narrow, outputs_of(layer, inputs), strict=True):
        # Inputs and weights are rounded, and sums of some fifty products of them: a few units in the last place.
        bound = 8 * torch.finfo(dtype).eps * expected.abs().max().item()
        torch.testing.assert_close(actual.float(), expected, rtol=0, atol=bound)
    assert [g.dtype for g in gradients] == [torch.float32] * len(gradients)  # as inputs and parameters are


@every_layer
@EVERYWHERE
def test_compiles_as_one_graph(name: str) -> None:
    layer, inputs = made(name)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for actual, expected in zip(gradients_of(compiled, inputs), gradients_of(layer, inputs), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def pickled(layer: nn.Module) -> nn.Module:
    return pickle.loads(pickle.dumps(layer))


@every_layer
@pytest.mark.parametrize("copied", [copy.deepcopy, pickled], ids=["deepcopy", "pickle"])
@EVERYWHERE
def test_a_copy_gives_the_same_and_shares_nothing(name: str, copied) -> None:
    layer, inputs = made(name)
    outputs_of(layer, inputs)  # what a call may leave behind is copied too
    twin = copied(layer)
    before = outputs_of(layer, inputs)
    for actual, expected in zip(outputs_of(twin, inputs), before, strict=True):
        assert torch.equal(actual, expected)
    with torch.no_grad():
        for tensor in (*twin.parameters(), *twin.buffers()):
            tensor.add_(1)
    for actual, expected in zip(outputs_of(layer, inputs), before, strict=True):
        assert torch.equal(actual, expected)


@every_layer
@EVERYWHERE
def test_a_state_dict_is_all_that_a_new_layer_needs(name: str) -> None:
    layer, inputs = made(name)
    other, _ = made(name, seed=1)
    other.load_state_dict(layer.state_dict())
    for actual, expected in zip(outputs_of(other, inputs), outputs_of(layer, inputs), strict=True):
        assert torch.equal(actual, expected)


def test_ddp_averages_the_gradients_of_two_processes(tmp_path: Path) -> None:
    # Fresh processes: a forked one would inherit this one's OpenMP threads, which are not there.
    mp.spawn(_check_gradients_of_all_layers, args=(2, str(tmp_path / "store")), nprocs=2)


def _check_gradients_of_all_layers(rank: int, world: int, store: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(store, world), rank=rank, world_size=world)
    for name in LAYERS:
        layer, _ = made(name)
        if not list(layer.parameters()):
            continue
        shares = [made(name, seed=1 + other)[1] for other in range(world)]
        alone = [gradients_of(layer, share)[len(share) :] for share in shares]
        together = gradients_of_ddp(DistributedDataParallel(layer), shares[rank])
        for actual, *parts in zip(together, *alone, strict=True):
            torch.testing.assert_close(actual, torch.stack(parts).mean(0), msg=name)
    dist.barrier()
    # Not through the interpreter's own exit: there the threads of gloo's process group sometimes call std::terminate.
    os._exit(0)


def gradients_of_ddp(layer: nn.Module, inputs: Inputs) -> list[Tensor]:
    """Of the parameters, through ``backward``: DDP averages nothing that ``autograd.grad`` returns."""
    sum(out.float().square().mean() for out in outputs_of(layer, inputs)).backward()
    return [parameter.grad for parameter in layer.parameters()]
