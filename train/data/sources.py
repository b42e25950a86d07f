"""Where a game's columns come from: images in a shuffled order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from train.base import processes
from train.base.seeds import stream_seed
from train.data.image_set import ImageSet
from train.data.order import ShuffledOrder
from train.data.pixels import to_float


class Images:
    """One list of images with their labels; columns "images" and, where the data has classes, "labels".

    Args:
        mirror: mirror half of the images, if the data allows it.
        seed: of the run, for the order; all processes together visit each image once an epoch.
    """

    def __init__(
        self,
        images: ImageSet,
        device: torch.device,
        *,
        mirror: bool = False,
        seed: int = 0,
    ) -> None:
        self.images, self._device = images, device
        self.lists = {"images": len(images)}
        self._mirror = mirror and images.mirror
        self.labels = images.labels.to(device) if images.num_classes else None  # of all images, int64 [M]
        self._order = ShuffledOrder(len(images), stream_seed(seed, "order"), processes.rank(), processes.size())

    def columns(self, counts: Mapping[str, int], at: Any, random: torch.Generator) -> dict[str, Tensor]:
        """Images float32 [n, C, R, R] in [−1, 1], channels last, at the position's resolution; labels int64 [n]."""
        indices = self._order.next(counts["images"])
        pixels = self.images.batch(indices, at.resolution).to(self._device, non_blocking=True)
        if self._mirror:
            flip = torch.rand(len(pixels), 1, 1, 1, generator=random, device=self._device) < 0.5
            pixels = torch.where(flip, pixels.flip(3), pixels)
        columns = {"images": to_float(pixels).contiguous(memory_format=torch.channels_last)}
        if self.labels is not None:
            columns["labels"] = self.labels[indices.to(self._device)]
        return columns

    def state_dict(self) -> dict[str, Any]:
        return {"images": self._order.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._order.load_state_dict(state["images"])


class Lists:
    """Several lists of images, unpaired: a column of images for each, [n, C, R, R], by its name.

    Args:
        lists: by name. Each needs a seed of its own: orders of one seed are the same where lists are equally long.
    """

    def __init__(self, lists: Mapping[str, Images]) -> None:
        self._lists = dict(lists)
        self.lists = {name: len(images.images) for name, images in lists.items()}

    def columns(self, counts: Mapping[str, int], at: Any, random: torch.Generator) -> dict[str, Tensor]:
        return {name: self._lists[name].columns({"images": n}, at, random)["images"] for name, n in counts.items()}

    def state_dict(self) -> dict[str, Any]:
        return {name: images.state_dict()["images"] for name, images in self._lists.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, images in self._lists.items():
            images.load_state_dict({"images": state[name]})


class WithHeldOut:
    """A list of images with others of the same kind: columns as :class:`Images` has them, and the same of the others
    as "held_out" and "held_out labels"."""

    def __init__(self, images: Images, held_out: Images) -> None:
        self._images, self._held_out = images, held_out
        self.lists = {**images.lists, "held_out": held_out.lists["images"]}
        self.labels = images.labels

    def columns(self, counts: Mapping[str, int], at: Any, random: torch.Generator) -> dict[str, Tensor]:
        columns = self._images.columns(counts, at, random)
        others = self._held_out.columns({"images": counts["held_out"]}, at, random)
        names = {"images": "held_out", "labels": "held_out labels"}
        return columns | {names[name]: column for name, column in others.items()}

    def state_dict(self) -> dict[str, Any]:
        return {**self._images.state_dict(), "held_out": self._held_out.state_dict()["images"]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._images.load_state_dict(state)
        self._held_out.load_state_dict({"images": state["held_out"]})
