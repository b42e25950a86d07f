"""The lists of images that a run learns from and is measured against, and how they change while it rests."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from train.base import processes
from train.base.errors import UsageError
from train.data import MEMORY_LIMIT, NAMES, ImageSet, load_images
from train.run import image_names
from train.run.options import TrainConfig


def load_list(config: TrainConfig, name: str, *, seed: int = 0, size: int | None = None, spec: str = "") -> ImageSet:
    """One list of a run with these options, or what ``spec`` names in its place; DataError where it cannot be had.

    Lists that are drawn are each drawn with a seed of their own.
    """
    lists = config.lists()
    return load_images(
        spec or lists[name],
        config.resolution,
        data_root=config.data_root,
        download=config.download,
        resize=config.resize,
        seed=seed + [*lists].index(name),
        size=size,
        memory_limit=MEMORY_LIMIT // processes.on_this_machine(),
    )


def training_images(config: TrainConfig) -> dict[str, ImageSet]:
    """What a run with these options learns from, by the names of its lists.

    Raises:
        DataError: where a list cannot be had.
        UsageError: if some are in colour and others grey.
    """
    lists = {name: load_list(config, name, seed=config.seed, size=config.data_size or None) for name in config.lists()}
    first, *others = lists.items()
    for other in others:
        if other[1].channels != first[1].channels:
            specs = config.lists()
            both = (f"{_option(name)} {specs[name]} has {images.channels}" for name, images in (first, other))
            raise UsageError(f"the images differ in their number of channels (1: grey, 3: colour): {', '.join(both)}")
    return lists


def real_images(config: TrainConfig, name: str = "images", images: ImageSet | None = None) -> ImageSet:
    """What a run is measured against: a list with seed 0 and nothing left out, so that runs can be compared.

    ``images`` are those of the list that the run was trained on, if they are at hand.
    """
    drawn = config.lists()[name].startswith("glyphs")  # anew for each seed
    if images is not None and not config.data_size and (config.seed == 0 or not drawn):
        return images
    return load_list(config, name)


def own_files(config: TrainConfig, lists: Mapping[str, ImageSet]) -> dict[str, list[str]]:
    """Names of the files of those lists that are the user's own, which may change."""
    specs = config.lists()
    return {name: list(images.files) for name, images in lists.items() if specs[name] not in NAMES and images.files}


def changed_images(folder: Path, config: TrainConfig, lists: Mapping[str, ImageSet], program: str) -> list[str]:
    """A warning for each list whose pictures have other names than when the run in the folder began.

    Raises:
        UsageError: if there are more or fewer of them, so that the run cannot go on as it was.
    """
    warnings, specs = [], config.lists()
    for name, changed in image_names.changes(folder, own_files(config, lists)).items():
        said = f"the images in {specs[name]} have changed: {changed}"
        if changed.counts_differ:
            named = [word for name, spec in specs.items() for word in (_option(name), spec)]
            new = ["--init-from", str(folder), *named, "--resolution", str(config.resolution)]
            raise UsageError(
                f"{said}. Undo that, or start a new run with the networks of this one: {program} {shlex.join(new)}"
            )
        warnings.append(f"warning: {said}")
    return warnings


def _option(name: str) -> str:
    """That names a list."""
    return "--data" if name == "images" else f"--{name}"
