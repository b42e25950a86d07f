"""Images ready for training: uint8 at every resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .pyramid import box_pyramid, check_resolution


class ImageSet:
    """N images at the resolutions 4, 8, …, `resolution`, in memory or mapped from the cache.

    `labels` is int64 [N] or None, then `num_classes` is 0; `labels_from` says where they come from, or why there are
    none. `mirror` says whether mirrored images are as good as the images themselves: no for letters. `files` are the
    names of the files that the images come from, if they do.
    """

    def __init__(
        self,
        name: str,
        levels: dict[int, Tensor],
        *,
        labels: Tensor | None = None,
        num_classes: int = 0,
        mirror: bool = True,
        labels_from: str = "",
        files: Sequence[str] | None = None,
    ) -> None:
        self.name = name
        self.resolution = max(levels)
        self.channels = levels[self.resolution].shape[1]
        self.labels = labels
        self.num_classes = num_classes
        self.mirror = mirror
        self.labels_from = labels_from
        self.files = files
        self._levels = levels

    @classmethod
    def from_images(
        cls, images: Tensor, *, name: str = "images", labels: Tensor | None = None, mirror: bool = True
    ) -> ImageSet:
        """From uint8 [N, C, R, R] in memory, R a power of two of at least 4; labels int64 [N]."""
        check_resolution(images.shape[-1])
        levels = {r: torch.from_numpy(level) for r, level in box_pyramid(images.numpy()).items()}
        num_classes = 0 if labels is None else int(labels.max()) + 1
        return cls(name, levels, labels=labels, num_classes=num_classes, mirror=mirror)

    def __len__(self) -> int:
        return self._levels[self.resolution].shape[0]

    def describe_labels(self) -> str:
        """How many classes there are and where they come from: ``10 classes (dataset.json)``."""
        what = "none" if self.labels is None else f"{self.num_classes} classes"
        return f"{what} ({self.labels_from})" if self.labels_from else what

    def level(self, resolution: int) -> Tensor:
        """All images at `resolution`, uint8 [N, C, r, r]: box means of the full ones, rounded once. Read only."""
        if resolution not in self._levels:
            there = ", ".join(str(r) for r in sorted(self._levels))
            raise ValueError(f"resolution={resolution}: {self.name} is stored at {there}")
        return self._levels[resolution]

    def batch(self, indices: Tensor, resolution: int) -> Tensor:
        """A copy of the images `indices` (int64 [n]) at `resolution`, uint8 [n, C, r, r]."""
        return self.level(resolution).index_select(0, indices)
