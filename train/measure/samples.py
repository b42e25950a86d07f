"""Sets of images as batches to measure: drawn by a generator, or taken from files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from train.base.capacity import check_fits
from train.base.errors import UsageError
from train.base.seeds import stream_seed
from train.data import ImageSet, to_float
from train.measure.pictures import draw, enlarged, latents

BATCH = 100  # images handed over at once


class Batches(Protocol):
    """Hands images over, or from the ``first`` on every ``every``-th batch of them."""

    def __call__(self, first: int = 0, every: int = 1) -> Iterator[Tensor]: ...


@dataclass(frozen=True)
class Samples:
    """So many images."""

    name: str
    count: int
    size: int  # height and width that they came in; what is handed over has been enlarged
    batches: Batches  # hands them over as uint8 [n, C, R, R], BATCH at once
    made_of: str = ""  # the images that they were made of, if they were
    labels: Tensor | None = None  # int64 [count]: the classes that they are of, or were asked for
    generator: nn.Module | None = None  # that draws them from latents, if one does


def chosen(images: ImageSet, count: int, seed: int, *, besides: Tensor | None = None) -> Samples:
    """``count`` of the images, or all of them if there are no more, in random order; none of those ``besides``."""
    indices, size = chosen_indices(images, len(images), seed), images.resolution
    if besides is not None:
        indices = indices[torch.isin(indices, besides, invert=True)]
    indices = indices[:count]

    def batches(first: int = 0, every: int = 1) -> Iterator[Tensor]:
        return (images.batch(part, size) for part in indices.split(BATCH)[first::every])

    labels = None if images.labels is None else images.labels[indices]
    return Samples(images.name, len(indices), size, batches, labels=labels)


def chosen_indices(images: ImageSet, count: int, seed: int) -> Tensor:
    """Which images :func:`chosen` takes, int64 [n]."""
    random = torch.Generator().manual_seed(stream_seed(seed, "chosen"))
    return torch.randperm(len(images), generator=random)[:count]


def drawn(
    generator: nn.Module, name: str, count: int, resolution: int, seed: int, like: Any, device: torch.device
) -> Samples:
    """Images of a generator at the resolution that it has reached, pixels repeated up to ``resolution``.

    A generator with labels gets those of ``like``, an image set or a real side, as frequent as there. UsageError if its
    classes are not those of ``like``, or its images are larger than ``resolution``.
    """
    size, classes = generator.resolution, generator.num_classes
    if size > resolution:
        raise UsageError(f"{name} draws {size}x{size}, more than resolution={resolution}")
    if classes and classes != like.num_classes:
        raise UsageError(f"{name} draws {classes} classes, but {like.name} has {like.num_classes} to choose from")
    check_fits(4 * count * generator.latent_dim, torch.device("cpu"), f"images={count}")

    labels = drawn_labels(like, count, seed) if classes else None

    def batches(first: int = 0, every: int = 1) -> Iterator[Tensor]:
        z = latents(count, generator.latent_dim, stream_seed(seed, "drawn"))
        given = None if labels is None else labels.to(device)
        for part in draw(generator, z.to(device), given, BATCH, first, every):
            yield enlarged(part, resolution // size)

    return Samples(name, count, size, batches, labels=labels, generator=generator)


def drawn_labels(like: Any, count: int, seed: int) -> Tensor:
    """The classes that a generator is asked for, int64 [count], as frequent as in ``like``."""
    random = torch.Generator().manual_seed(stream_seed(seed, "labels"))
    return like.labels[torch.randint(len(like.labels), (count,), generator=random)]


def made(
    network: nn.Module, name: str, images: ImageSet, count: int, resolution: int, seed: int, device: torch.device
) -> Samples:
    """What a network makes of ``count`` of the images, those that :func:`chosen` takes, as :func:`drawn` gives it.

    UsageError if it makes larger images than ``resolution``, or the images are in colour and the network is grey.
    """
    size = network.resolution
    if size > resolution:
        raise UsageError(f"{name} makes {size}x{size}, more than resolution={resolution}")
    indices = chosen_indices(images, count, seed)
    check_channels(images, network)

    def batches(first: int = 0, every: int = 1) -> Iterator[Tensor]:
        for batch in through(network, images, indices, device, BATCH, first, every):
            yield enlarged(batch, resolution // size)

    return Samples(name, len(indices), size, batches, images.name)


def check_channels(images: ImageSet, network: nn.Module) -> None:
    """UsageError if a network of grey images cannot be given these."""
    if images.channels > network.image_channels:
        raise UsageError(f"the images of {images.name} are in colour, and the network is for grey ones")


def through(
    network: nn.Module,
    images: ImageSet,
    indices: Tensor,
    device: torch.device,
    batch: int = BATCH,
    first: int = 0,
    every: int = 1,
) -> Iterator[Tensor]:
    """What a network makes of images, in batches, or from the ``first`` on every ``every``-th batch of them: uint8
    [n, C, R, R] on the CPU."""
    for part in indices.split(batch)[first::every]:
        yield from draw(network, given(network, images, part).to(device), batch=batch)


def given(network: nn.Module, images: ImageSet, indices: Tensor) -> Tensor:
    """Images as a network takes them: float32 [N, C, R, R] in [−1, 1], grey ones in as many channels as it has."""
    return to_float(images.batch(indices, network.resolution)).expand(-1, network.image_channels, -1, -1)


def batches_of(samples: Samples, first: int = 0, every: int = 1) -> Iterator[Tensor]:
    """The images, or some of their batches; progress on stderr."""
    total = -(-samples.count // every)
    with tqdm(total=total, desc=samples.name, unit="img", delay=3, leave=False, disable=None) as progress:
        for batch in samples.batches(first, every):
            yield batch
            progress.update(len(batch))


def picked(samples: Samples, places: Sequence[int]) -> Tensor:
    """The images at these places, uint8 [n, C, R, R]; they are handed over anew."""
    found: dict[int, Tensor] = {}
    for number, batch in enumerate(samples.batches()):
        found.update({place: batch[place % BATCH] for place in places if place // BATCH == number})
    return torch.stack([found[place] for place in places])


def digest(samples: Samples) -> str:
    """SHA-256 of the images in their order, hexadecimal: 32 digits."""
    hasher = hashlib.sha256()
    for batch in samples.batches():
        hasher.update(repr(tuple(batch.shape[1:])).encode())
        hasher.update(batch.contiguous().numpy())
    return hasher.hexdigest()[:32]
