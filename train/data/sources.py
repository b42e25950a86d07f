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
