"""Labelled sets parted into a pool to learn from, of which few images keep their labels, and test images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train.base import processes
from train.base.errors import UsageError
from train.base.seeds import stream_seed
from train.data import ShuffledOrder, load_images

DIGITS_POOL = 1000  # of 1797
GLYPHS, GLYPHS_POOL = 6000, 5000
GLYPHS_RESOLUTION = 16
MNIST_FRAME = 2  # black pixels around MNIST's 28x28


@dataclass(frozen=True)
class SemiData:
    """A set in two parts.

    Attributes:
        pool, test: images [N, C, H, W], uint8.
        pool_labels, test_labels: their classes [N], int64. Those of the pool are for :func:`balanced_labels` alone,
            and for telling afterwards what was right.
    """

    name: str
    pool: Tensor
    pool_labels: Tensor
    test: Tensor
    test_labels: Tensor
    num_classes: int


def load_semi_data(name: str, data_root: Path, download: bool) -> SemiData:
    """The set of a preset.

    ``digits`` has 1000 images in the pool and 797 to test, parted at random by a fixed seed; ``glyphs`` 5000 and
    1000 at 16x16; ``mnist`` (without the frame that other programs use), ``svhn`` and ``cifar10`` their own parts.
    """
    if name == "digits":
        images = load_images(name, 8)
        order = torch.from_numpy(np.random.default_rng(0).permutation(len(images)))
        return _parted(name, images.level(8)[order], images.labels[order], DIGITS_POOL, images.num_classes)
    if name == "glyphs":
        images = load_images(name, GLYPHS_RESOLUTION, size=GLYPHS)
        return _parted(name, images.level(GLYPHS_RESOLUTION), images.labels, GLYPHS_POOL, images.num_classes)
    pool, test = (load_images(name, 32, data_root=data_root, download=download, test=part) for part in (False, True))
    frame = slice(MNIST_FRAME, -MNIST_FRAME) if name == "mnist" else slice(None)
    images = [part.level(32)[:, :, frame, frame] for part in (pool, test)]
    return SemiData(name, images[0], pool.labels, images[1], test.labels, pool.num_classes)


def _parted(name: str, images: Tensor, labels: Tensor, pool: int, num_classes: int) -> SemiData:
    return SemiData(name, images[:pool], labels[:pool], images[pool:], labels[pool:], num_classes)


def balanced_labels(labels: Tensor, count: int, num_classes: int, seed: int) -> Tensor:
    """Which images keep their labels: ``count`` in all, equally many of each class, ordered by class, int64 [count].

    With one seed the choice for a smaller count is part of that for a larger one.

    Raises:
        UsageError: if the classes do not divide the count, or have fewer images.
    """
    if count < 1 or count % num_classes:
        raise UsageError(f"labels={count} cannot be shared equally by {num_classes} classes")
    each = count // num_classes
    random = np.random.default_rng(seed)
    chosen = []
    for label in range(num_classes):
        members = np.flatnonzero(labels.numpy() == label)
        if len(members) < each:
            raise UsageError(f"labels={count} takes {each} images of each class, but class {label} has {len(members)}")
        chosen.append(random.permutation(members)[:each])
    return torch.from_numpy(np.concatenate(chosen))


class PoolLists:
    """The pool as three lists, each in an order of its own: the images with labels, and all of them for either player.

    Args:
        pool: images float32 [N, C, H, W].
        classes: theirs, int64 [N].
        labelled: indices of those with labels.
    """

    def __init__(self, pool: Tensor, classes: Tensor, labelled: Tensor, seed: int) -> None:
        self._pool, self._classes = pool, classes
        everything = torch.arange(len(pool))
        self._indices = {"labelled": labelled, "critic": everything, "generator": everything}
        self.lists = {name: len(indices) for name, indices in self._indices.items()}
        mine = processes.rank(), processes.size()
        self._orders = {name: ShuffledOrder(n, stream_seed(seed, name), *mine) for name, n in self.lists.items()}

    def columns(self, counts: Mapping[str, int], at: Any, random: torch.Generator) -> dict[str, Tensor]:
        """Images by the name of the list, and "classes" of those with labels."""
        chosen = {name: self._indices[name][self._orders[name].next(count)] for name, count in counts.items()}
        images = {name: self._pool[some] for name, some in chosen.items()}
        return {**images, "classes": self._classes[chosen["labelled"]]}

    def state_dict(self) -> dict[str, Any]:
        return {name: order.state_dict() for name, order in self._orders.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, order in self._orders.items():
            order.load_state_dict(state[name])
