"""Means over the processes of a run: the one place where their training meets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from train.base import processes
from train.engine.shared_memory import SharedMemory

BUCKET = 2**23
"""Values in a message, 32 MB in float32, unless one tensor alone has more."""


@torch.no_grad()
def mean(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The means of tensors over the processes, which all give as many of the same shapes and memory layouts.

    They are sent in few flat messages, each while the next is being packed. On the CPU, processes of one machine lay
    them into memory that they share.
    """
    if processes.size() == 1:
        return list(tensors)
    means: dict[int, Tensor] = {}
    sent = []
    for places in _buckets(tensors):
        parts = [_flat(tensors[i]) for i in places]
        shared = processes.kept(SharedMemory) if parts[0].device.type == "cpu" else None
        if shared and shared.reserve(sum(part.numel() * part.element_size() for part in parts)):
            mean_here = shared.mean(parts)
            sent.append((places, lambda flat=mean_here: flat))
        else:
            sent.append((places, _sent(parts)))
    for places, received in sent:
        parts = received().split([tensors[i].numel() for i in places])
        means |= {i: _like(part, tensors[i]) for i, part in zip(places, parts, strict=True)}
    return [means[i] for i in range(len(tensors))]


def _in_channels_last(tensor: Tensor) -> bool:
    return tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)


def _flat(tensor: Tensor) -> Tensor:
    """Its values [n], those in channels_last as they lie in memory."""
    return tensor.permute(0, 2, 3, 1).flatten() if _in_channels_last(tensor) else tensor.reshape(-1)


def _like(flat: Tensor, tensor: Tensor) -> Tensor:
    """Values [n] in another tensor's shape and layout, as :func:`_flat` took them from there."""
    if not _in_channels_last(tensor):
        return flat.view(tensor.shape)
    n, c, h, w = tensor.shape
    return flat.view(n, h, w, c).permute(0, 3, 1, 2)


def _sent(parts: Sequence[Tensor]) -> Callable[[], Tensor]:
    """Sends tensors [n] as one message; gives what waits for the others' and has the mean."""
    flat = torch.cat(list(parts))
    with processes.speaking():
        work = dist.all_reduce(flat, async_op=True)

    def received() -> Tensor:
        with processes.speaking():
            work.wait()
        return flat.div_(processes.size())

    return received


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[int]]:
    """Places of tensors that go into one message: of one type, and together not too large."""
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        places: list[int] = []
        values = 0
        for i, tensor in enumerate(tensors):
            if tensor.dtype != dtype:
                continue
            if places and values + tensor.numel() > BUCKET:
                yield places
                places, values = [], 0
            places.append(i)
            values += tensor.numel()
        yield places


@torch.no_grad()
def make_alike(tensors: Iterable[Tensor]) -> None:
    """Gives all processes the first one's values: what each has computed, on another kind of processor, need not be
    equal to the last bit."""
    if processes.size() > 1:
        processes.exchange(None)  # one that has failed meanwhile says so here, and not in the middle of a message
        for tensor in tensors:
            given = tensor.contiguous()
            with processes.speaking():
                dist.broadcast(given, 0)
            tensor.copy_(given)


def statistics(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """What networks remember of the batches that they have seen, such as batch norm's running means, by the networks'
    and their own names: their buffers of floating-point numbers that are kept, which filters, being constants, are
    not."""
    found = {}
    for name, network in networks.items():
        kept = network.state_dict().keys()
        buffers = ((key, buffer) for key, buffer in network.named_buffers() if buffer.is_floating_point())
        found |= {f"{name}.{key}": buffer for key, buffer in buffers if key in kept}
    return found


def mean_statistics(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The means of :func:`statistics` over the processes."""
    mine = statistics(networks)
    return dict(zip(mine, mean(list(mine.values())), strict=True))


@torch.no_grad()
def fill(networks: Mapping[str, nn.Module], values: Mapping[str, Tensor]) -> None:
    """Other values for :func:`statistics`; KeyError where one is missing."""
    for name, buffer in statistics(networks).items():
        buffer.copy_(values[name])
