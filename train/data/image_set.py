"""Images ready for training: uint8 at every resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .pyramid import box_pyramid, check_resolution


@dataclass(eq=False)
class ImageSet:
    """N images at `resolution` and its halves down to 4 or 6, in memory or mapped from the cache."""

    name: str
    levels: dict[int, Tensor]  # resolution → uint8 [N, C, r, r]
    labels: Tensor | None = None  # int64 [N]
    num_classes: int = 0  # 0 without labels
    mirror: bool = True  # whether mirrored images are as good as the images themselves: no for letters
    labels_from: str = ""  # where labels come from, or why there are none
    class_names: Sequence[str] = ()  # by label; empty where they have none
    files: Sequence[str] | None = None  # names of the files that the images come from, if they do
    rows: Tensor | None = None  # int64 [N]: which of the levels' images these are, where they are not all

    def __post_init__(self) -> None:
        self.resolution = max(self.levels)
        self.channels = self.levels[self.resolution].shape[1]

    @classmethod
    def from_images(
        cls, images: Tensor, *, name: str = "images", labels: Tensor | None = None, mirror: bool = True
    ) -> ImageSet:
        """From uint8 [N, C, R, R] in memory, R as `check_resolution` has it; labels int64 [N]."""
        check_resolution(images.shape[-1])
        levels = {r: torch.from_numpy(level) for r, level in box_pyramid(images.numpy()).items()}
        num_classes = 0 if labels is None else int(labels.max()) + 1
        return cls(name, levels, labels, num_classes, mirror)

    def __len__(self) -> int:
        return len(self.levels[self.resolution] if self.rows is None else self.rows)

    def part(self, rows: Tensor) -> ImageSet:
        """The images `rows` (int64 [n]), in this order; they are not copied."""
        labels = None if self.labels is None else self.labels[rows]
        files = None if self.files is None else [self.files[row] for row in rows.tolist()]
        return replace(self, labels=labels, files=files, rows=rows if self.rows is None else self.rows[rows])

    def describe_labels(self) -> str:
        """How many classes there are and where they come from: ``10 classes (dataset.json)``."""
        what = "none" if self.labels is None else f"{self.num_classes} classes"
        return f"{what} ({self.labels_from})" if self.labels_from else what

    def level(self, resolution: int) -> Tensor:
        """All images at `resolution`, uint8 [N, C, r, r]: box means of the full ones, rounded once. Read only."""
        level = self._stored(resolution)
        return level if self.rows is None else level.index_select(0, self.rows)

    def batch(self, indices: Tensor, resolution: int) -> Tensor:
        """A copy of the images `indices` (int64 [n]) at `resolution`, uint8 [n, C, r, r]."""
        return self._stored(resolution).index_select(0, indices if self.rows is None else self.rows[indices])

    def _stored(self, resolution: int) -> Tensor:
        if resolution not in self.levels:
            there = ", ".join(map(str, sorted(self.levels)))
            raise ValueError(f"resolution={resolution}: {self.name} is stored at {there}")
        return self.levels[resolution]
