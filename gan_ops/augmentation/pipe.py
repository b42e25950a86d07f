"""Transformations one after another, and those of papers by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gan_ops.augmentation.blit import Blit
from gan_ops.augmentation.color import Color
from gan_ops.augmentation.corruption import Cutout, Noise
from gan_ops.augmentation.diffaugment import DiffColor, DiffCutout, Translation
from gan_ops.augmentation.filtering import Filtering
from gan_ops.augmentation.geometry import Geometry
from gan_ops.augmentation.transformation import Probability, Transformation


class Pipe(nn.Module):
    """Transformations of different names, applied in their order.

    ::

        pipe = ADA().pipe().to(device)
        drawn = pipe.draw(images.shape, p, generator)
        seen = pipe(images, drawn)
    """

    def __init__(self, *transformations: Transformation) -> None:
        super().__init__()
        self.transformations = nn.ModuleList(transformations)

    def draw(self, shape: Sequence[int], p: Probability, random: torch.Generator) -> dict[str, Tensor]:
        """Numbers [N, …] for images of a shape [N, C, H, W], by the names of the transformations.

        Args:
            p: how probable each change of an image is; a number, or a 0-d tensor on the generator's device.
        """
        return {t.name: t.draw(shape, p, random) for t in self.transformations}

    def forward(self, images: Tensor, drawn: dict[str, Tensor]) -> Tensor:
        """Images [N, C, H, W] in [−1, 1], changed; differentiable twice with respect to them."""
        for transformation in self.transformations:
            images = transformation(images, drawn[transformation.name])
        return images


@dataclass(frozen=True)
class ADA:
    """The categories of ADA (Karras et al. 2020, arXiv 2006.06676, appendix B), in their order, and for each what p is
    multiplied by; those with 0 are left out. As they are here, they are the paper's choice, ``bgc``."""

    blit: float = 1.0
    geom: float = 1.0
    color: float = 1.0
    filter: float = 0.0
    noise: float = 0.0
    cutout: float = 0.0

    def __post_init__(self) -> None:
        _check_shares(self)

    def pipe(self) -> Pipe:
        kinds = {
            Blit: self.blit,
            Geometry: self.geom,
            Color: self.color,
            Filtering: self.filter,
            Noise: self.noise,
            Cutout: self.cutout,
        }
        return Pipe(*(kind(share) for kind, share in kinds.items() if share))


@dataclass(frozen=True)
class DiffAugment:
    """The policies of Zhao et al. 2020 (arXiv 2006.10738), in their order, and for each what p, there 1, is multiplied
    by; those with 0 are left out."""

    color: float = 1.0
    translation: float = 1.0
    cutout: float = 1.0

    def __post_init__(self) -> None:
        _check_shares(self)

    def pipe(self) -> Pipe:
        kinds = {DiffColor: self.color, Translation: self.translation, DiffCutout: self.cutout}
        return Pipe(*(kind(share) for kind, share in kinds.items() if share))


def _check_shares(options: ADA | DiffAugment) -> None:
    """ValueError for what p is multiplied by, if it is not from 0 to 1."""
    for name, share in vars(options).items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name}={share:g} is not from 0 to 1")
    if not any(vars(options).values()):
        raise ValueError("no category is left")


_NONE = {"blit": 0.0, "geom": 0.0, "color": 0.0}
AUGMENTATIONS: dict[str, ADA | DiffAugment] = {
    "diffaugment": DiffAugment(),
    "bgc": ADA(),
    "blit": ADA(**_NONE | {"blit": 1.0}),
    "geom": ADA(**_NONE | {"geom": 1.0}),
    "color": ADA(**_NONE | {"color": 1.0}),
    "filter": ADA(**_NONE, filter=1.0),
    "noise": ADA(**_NONE, noise=1.0),
    "cutout": ADA(**_NONE, cutout=1.0),
    "bg": ADA(color=0.0),
    "bgcf": ADA(filter=1.0),
    "bgcfn": ADA(filter=1.0, noise=1.0),
    "bgcfnc": ADA(filter=1.0, noise=1.0, cutout=1.0),
}
"""By the names that the papers' authors use."""
