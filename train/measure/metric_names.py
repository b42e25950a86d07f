"""What metrics there are, what their results are called, and which way each of them is good."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

from train.base.errors import UsageError

METRICS = {
    "swd": "swd",
    "msssim": "msssim",
    "is": "is",
    "fid": "fid",
    "kid": "kid",
    "pr": "precision",
    "birthday": "birthday",
    "intra-fid": "intra-fid",
    "accuracy": "accuracy",
}
"""Names to ask for, and for each the first of its results, which stands for it."""
OF_FEATURES = ("is", "fid", "kid", "pr", "birthday", "intra-fid")
OF_REALS = ("swd", "fid", "kid", "pr", "birthday", "intra-fid")
"""Those that compare with real images; the others are of generated ones alone."""
OF_CLASSES = ("intra-fid", "accuracy")
"""Those of images that were made as images of a class."""
PATHS = {
    "ppl-w-full": ("w", 1.0),
    "ppl-w-end": ("w", 0.0),
    "ppl-z-full": ("z", 1.0),
    "ppl-z-end": ("z", 0.0),
}
"""Path lengths, which are of a generator, not of images: the space of the paths, and the part of each on which its
small step lies. They are measured by name alone."""
MOVED = ("eqt", "eqt-frac", "eqr")
"""How exactly images move and turn with their generator's input; by name alone too."""
AUTO = "auto"
"""All that can be measured of images."""
KID_SUBSET = 1000
"""Images in each of the subsets over which kid is averaged, as in published results."""
_HIGHER_IS_BETTER = ("is", "precision", "recall", "density", "coverage", "birthday", "accuracy", "eqt", "eqr")

Item = TypeVar("Item")


def parse_metrics(text: str) -> tuple[str, ...]:
    """``"swd,fid"`` → ("swd", "fid"), ``"auto"`` → all; UsageError for a name that is none."""
    if text.strip() == AUTO:
        return tuple(METRICS)
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if own := [name for name in names if name in PATHS]:
        raise UsageError(f"metrics: {own[0]} is of paths between latents: train.evaluate measures it, of a checkpoint")
    if own := [name for name in names if name in MOVED]:
        raise UsageError(f"metrics: {own[0]} is of moved images: train.evaluate measures it, of a checkpoint")
    if wrong := [name for name in names if name not in METRICS]:
        raise UsageError(f"metrics: {wrong[0]!r} is not one of {', '.join(METRICS)}, and {AUTO} stands alone")
    return tuple(dict.fromkeys(names))


def parted_metrics(text: str) -> tuple[str, tuple[str, ...]]:
    """``"fid,ppl-w-full"`` → ("fid", ("ppl-w-full",)): those of images, and those of a generator."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    of_generators = (*PATHS, *MOVED)
    return ",".join(n for n in names if n not in of_generators), tuple(n for n in names if n in of_generators)


def qualified(name: str, features: str | None) -> str:
    """``fid`` → ``fid[glyphs-classifier-v1]``: features other than the field's own are part of a result's name."""
    return name if features is None else f"{name}[{features}]"


def is_lower_better(result: str) -> bool:
    """Of a result's name, such as ``swd_32`` or ``fid[glyphs-classifier-v1]``."""
    return re.split(r"[^a-z]", result, maxsplit=1)[0] not in _HIGHER_IS_BETTER


def better(result: str, items: Iterable[Item], key: Callable[[Item], float]) -> Item:
    """The best of the items by their values of this result; the first of several."""
    return (min if is_lower_better(result) else max)(items, key=key)
