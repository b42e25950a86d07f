"""``python -m benchmarks.launches``: how many kernels a D and a G step of PGGAN launch on a GPU, by op.

At small sizes a step spends nearly all its time on launches. With a GPU, torch's profiler counts them. Without one, the
step runs on the CPU, and each dispatched op counts as the kernels that it launches on CUDA. This is a lower bound: a
convolution, a matrix product and a sum count as one kernel each, though cuDNN and cuBLAS may add some of their own.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from benchmarks.machine import DEVICE
from benchmarks.markdown import markdown
from benchmarks.steps import Ours
from gan_ops.nn import EqualizedUpConv2d
from gan_ops.ops._layout import format_of
from train.engine.precision import DTYPES

# ---- gan_ops' own ops: what run_on_cuda launches (tests/cuda_on_cpu/test_launches.py holds this to the kernels) ----

_SAMPLE_CHUNK, _STDDEV_CHUNK = 2048, 512  # kSampleChunk of csrc/math/samples.h, kStddevChunk of minibatch_stddev.h


def _sample_sums(x: Tensor) -> int:
    """A sum over each sample: a second kernel adds those of large samples."""
    return 1 + (x[0].numel() > _SAMPLE_CHUNK)


def _map_sums(x: Tensor, group_size: int | None) -> int:
    """Sums over the maps that minibatch_stddev appended: a second kernel adds those of large maps."""
    return 1 + (min(group_size or len(x), len(x)) * x[0, 0].numel() > _STDDEV_CHUNK)


OWN: dict[str, Callable[[dict[str, Any]], int]] = {
    "conv2d": lambda a: 1 + (a["bias"] is not None),
    "conv2d_input_grad": lambda _: 1,
    "conv2d_weight_grad": lambda _: 1,
    "pixel_norm": lambda _: 1,
    "pixel_norm_backward": lambda _: 1,
    "pixel_norm_double_backward": lambda _: 1,
    "bias_act": lambda _: 1,
    "bias_act_backward": lambda a: 1 + a["with_bias"],
    "bias_act_pixel_norm": lambda _: 1,
    "bias_act_pixel_norm_backward": lambda a: 1 + a["with_bias"],
    "bias_act_pixel_norm_double_backward": lambda a: 1 + a["with_bias"],
    "minibatch_stddev": lambda _: 2,
    "minibatch_stddev_backward": lambda a: _map_sums(a["x"], a["group_size"]) + 1,
    "minibatch_stddev_double_backward": lambda a: _map_sums(a["x"], a["group_size"]) + 2,
    "interpolate": lambda _: 1,
    "interpolate_backward": lambda _: 1,
    "interpolate_weight_grad": lambda _: 2,
    "gradient_penalty": lambda a: _sample_sums(a["gradient"]),
    "gradient_penalty_backward": lambda _: 1,
    "gradient_penalty_double_backward": lambda a: _sample_sums(a["gradient"]) + 1,
}
"""Kernels of each op that a step of PGGAN needs, by its arguments."""


def preparations(arguments: dict[str, Any]) -> int:
    """Copies and fills ahead of our kernels: what is not laid out as they walk it, and biases that are not there."""
    like = next((arguments[name] for name in ("x", "y", "gradient", "real") if name in arguments), None)
    if like is None or "padding" in arguments:  # a convolution's layouts are cuDNN's to choose
        return 0
    walked = [like, *(t for name, t in arguments.items() if name in ("v", "grad", "fake") and t.dim() == like.dim())]
    fills = ["bias", "v_bias"] if "eps" in arguments else []  # of bias_act_pixel_norm; bias_act goes without
    return sum(not tensor.is_contiguous(memory_format=format_of(like)) for tensor in walked) + sum(
        name in arguments and arguments[name] is None for name in fills
    )


# ---- ATen's ----

_ALLOCATIONS = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "lift_fresh"}

# ATen/native/cuda/MultiTensorApply.cuh: a launch takes so many tensors, by the number of lists, and so many chunks.
_LIST_TENSORS = {1: 110, 2: 64, 3: 48, 4: 36, 5: 30}
_LIST_BLOCKS = 320
_LIST_CHUNK = 65536


def _list_launches(lists: Sequence[Sequence[Tensor]]) -> int:
    """Of a kernel over lists of tensors; of one a tensor where the lists are not laid out alike."""
    first = lists[0]
    laid_out = [(tensor.dtype, tensor.stride()) for tensor in first]
    alike = all([(first[0].dtype, t.stride()) for t in tensors] == laid_out for tensors in lists)
    if not alike:
        return len(first)
    launches = blocks = tensors = 0
    for tensor in first:
        tensors += 1
        chunks = -(-tensor.numel() // _LIST_CHUNK)
        for chunk in range(chunks):
            blocks += 1
            if blocks == _LIST_BLOCKS or (tensors == _LIST_TENSORS[len(lists)] and chunk == chunks - 1):
                launches += 1
                blocks = 0
                tensors = 0 if chunk == chunks - 1 else 1
    return launches + (blocks > 0)


def _is_view(op: OpOverload) -> bool:
    return any(r.alias_info is not None and not r.alias_info.is_write for r in op._schema.returns)


def named(op: OpOverload, args: Sequence[Any]) -> dict[str, Any]:
    """The arguments by their names; what follows has its default and launches nothing more."""
    return dict(zip((a.name for a in op._schema.arguments), args, strict=False))


def launches(op: OpOverload, args: Sequence[Any]) -> int:
    """The kernels that ``op`` launches on CUDA for these arguments, at least."""
    name = op._schema.name.split("::")[1]
    if op.namespace == "gan_ops":
        arguments = named(op, args)
        return OWN[name](arguments) + preparations(arguments)
    if op.namespace == "profiler" or _is_view(op) or name in _ALLOCATIONS:
        return 0
    lists = [a for a in args if isinstance(a, (list, tuple)) and a and isinstance(a[0], Tensor)]
    if name == "_foreach_norm":
        return 2 + _list_launches(lists)  # zeros for the parts before, their sums after
    if name.startswith("_foreach"):
        return _list_launches(lists if name.endswith("_") else [*lists, lists[0]])  # with the results' list
    if name == "_fused_adam_":
        return _list_launches(lists[:4])  # of the steps it only reads one number each
    return 1


# ---- Counting ----


class Launches(TorchDispatchMode):
    """Within, ``counts`` collects the launches of every op that is dispatched, by its name.

    Convolutions and matrix products are not computed: their results are zeros, laid out as they would be.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        count = launches(op, args)
        if count:
            self.counts[op._schema.name] += count
        if any(part in op._schema.name for part in ("conv", "mm")):
            return _zeros(op, args, kwargs)
        return op(*args, **kwargs)


def _zeros(op: OpOverload, args: Any, kwargs: Any) -> Any:
    with FakeTensorMode() as mode:
        outputs = op(*tree_map_only(Tensor, mode.from_tensor, args), **kwargs)
    return tree_map_only(Tensor, lambda t: torch.empty_strided(t.shape, t.stride(), dtype=t.dtype).zero_(), outputs)


@contextmanager
def as_on_cuda() -> Iterator[None]:
    """Within, layers on the CPU go the ways that they go on a GPU."""
    with patch.object(EqualizedUpConv2d, "_FUSED_FROM_PIXELS", float("inf")):
        yield


def step_launches(
    resolution: int, channels: int, precision: str, batch: int = 16, device: torch.device = DEVICE
) -> Counter[str]:
    """Launches of a D and a G step, after the one that makes Adam's state: by op, or on a GPU by kernel."""
    with device:
        step = Ours(resolution, channels, channels, DTYPES[precision])
        real = torch.zeros(batch, 3, resolution, resolution).contiguous(memory_format=torch.channels_last)
        z = torch.zeros(batch, channels)
        inputs = (real, z, z, torch.zeros(batch))
    if device.type == "cuda":
        return _profiled(lambda: step.step(*inputs))
    with as_on_cuda():
        for _ in range(2):
            with Launches() as found:
                step.step(*inputs)
    return found.counts


def _profiled(step: Callable[[], None]) -> Counter[str]:
    for _ in range(3):  # cuDNN chooses algorithms, Adam makes its state
        step()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step()
        torch.cuda.synchronize()
    return Counter(e.name for e in profile.events() if e.device_type == torch.autograd.DeviceType.CUDA)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.launches", description=__doc__)
    parser.add_argument("--resolution", type=int, default=16)
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--precision", nargs="+", choices=DTYPES, default=["bf16", "float32"])
    options = parser.parse_args()
    found = [step_launches(options.resolution, options.channels, precision) for precision in options.precision]
    names = sorted(set().union(*found), key=lambda name: -max(counts[name] for counts in found))
    rows = [[f"{options.resolution} px, {options.channels} channels", *(str(c.total()) for c in found)]]
    rows += [[name[:80], *(str(counts[name]) for counts in found)] for name in names]
    print("\n".join(markdown(["launches", *options.precision], rows, words=1)))


if __name__ == "__main__":
    sys.exit(main())
