"""Decode a source once, into memory or, when it is too large for that, into the cache."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from train.base.errors import DataError, UnreadableImage

from .cache import Entry, default_cache
from .image_set import ImageSet
from .pyramid import box_pyramid, pyramid_bytes, resolutions
from .source import Source

CHUNK_BYTES = 2**25  # of full-resolution pixels decoded before they are stored


class Skipped(NamedTuple):
    """An image that was left out."""

    index: int
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def store(source: Source, *, memory_limit: int, cache: Path | None, unreadable_limit: int) -> ImageSet:
    """`source` as an ImageSet.

    A pyramid of more than `memory_limit` bytes goes to files under `cache`, is mapped from there, and is found again
    the next time. Unreadable images are listed in one warning. DataError for more than `unreadable_limit` of them.
    """
    shape = len(source), 3, source.resolution
    if pyramid_bytes(*shape) > memory_limit:
        entry = Entry(cache or default_cache(), source.name, source.fingerprint())
        found = entry.load()
        if found is None:
            shape = len(source), source.channels(), source.resolution
            if pyramid_bytes(*shape) > memory_limit:
                with entry.building() as writer:
                    if writer is not None:  # None: another process was faster
                        writer.reserve(pyramid_bytes(*shape))
                        skipped = []
                        for levels in _decode(source, shape[1], unreadable_limit, skipped):
                            writer.append(levels)
                        writer.finish(len(source) - len(skipped), shape[1], source.resolution, skipped)
                found = entry.load()
        if found is not None:
            return _image_set(source, found.levels, [Skipped(*one) for one in found.skipped])
    return _in_memory(source, unreadable_limit)


def _in_memory(source: Source, unreadable_limit: int) -> ImageSet:
    channels = source.channels()
    levels = {r: torch.empty(len(source), channels, r, r, dtype=torch.uint8) for r in resolutions(source.resolution)}
    filled = 0
    skipped: list[Skipped] = []
    for chunk in _decode(source, channels, unreadable_limit, skipped):
        size = len(chunk[source.resolution])
        for r, images in chunk.items():
            levels[r][filled : filled + size] = torch.from_numpy(images)
        filled += size
    return _image_set(source, {r: level[:filled] for r, level in levels.items()}, skipped)


def _decode(
    source: Source, channels: int, unreadable_limit: int, skipped: list[Skipped]
) -> Iterator[dict[int, np.ndarray]]:
    """Pyramids of consecutive images, [n, C, r, r] each; what could not be decoded is added to `skipped`."""

    def attempt(index: int) -> np.ndarray | Skipped:
        try:
            return source.decode(index, channels)
        except UnreadableImage as error:
            return Skipped(index, source.describe(index), str(error))

    total = len(source)
    chunk = max(1, min(1024, CHUNK_BYTES // (channels * source.resolution**2)))
    with (
        ThreadPoolExecutor(min(8, os.cpu_count() or 1) if source.parallel else 1) as pool,
        tqdm(total=total, desc=source.name, unit="img", delay=3, leave=False, disable=None) as progress,
    ):
        for start in range(0, total, chunk):
            results = list(pool.map(attempt, range(start, min(start + chunk, total))))
            skipped += [result for result in results if isinstance(result, Skipped)]
            if len(skipped) > unreadable_limit:
                examples = "; ".join(str(one) for one in skipped[:5])
                raise DataError(
                    f"{source.name}: {len(skipped)} of the first {start + len(results)} images cannot be read, more "
                    f"than the {unreadable_limit} that may be skipped: {examples}"
                )
            images = [result for result in results if not isinstance(result, Skipped)]
            if images:
                yield box_pyramid(np.stack(images))
            progress.update(len(results))
    if len(skipped) == total:
        raise DataError(f"{source.name}: none of its {total} images can be read: {'; '.join(map(str, skipped[:5]))}")


def _image_set(source: Source, levels: dict[int, torch.Tensor], skipped: list[Skipped]) -> ImageSet:
    if skipped:
        listed = "; ".join(str(one) for one in skipped)
        warnings.warn(f"{source.name}: skipped {len(skipped)} unreadable images: {listed}", stacklevel=4)
    labels, files, left_out = source.labels, source.files, {one.index for one in skipped}
    if labels is not None:
        labels = torch.from_numpy(np.delete(labels, sorted(left_out)))
    if files is not None:
        files = [name for index, name in enumerate(files) if index not in left_out]
    about = source.num_classes, source.mirror, source.labels_from, source.class_names
    return ImageSet(source.name, levels, labels, *about, files)
