"""How exactly images move with the transformation that their generator is given: EQ-T and EQ-R (Karras et al. 2021,
arXiv 2106.12423, appendix E)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from gan_ops.metrics import SignalToNoise, as_if_turned, rotation, shifted, turned
from train.base.errors import NotMeasurable
from train.base.seeds import stream_seed
from train.measure.pictures import latents

FARTHEST = 0.125
"""Of a shift on each axis, in sides of an image (Karras et al. 2021, appendix E.1)."""
TOGETHER = 10
"""Images that are moved alike."""
SMALLEST_TURNED = 32
"""Of images that are turned, whose borders do not count."""


@torch.no_grad()
def measure_moved(
    generator: nn.Module, names: Sequence[str], count: int, *, seed: int, labels: Tensor | None, of: str
) -> dict[str, Any]:
    """Of each metric named, the ratio in dB of the images' range to the difference between images of a moved input and
    moved images.

    - "eqt": shifts by whole pixels, "eqt-frac": by any, up to an eighth of the image on each axis;
    - "eqr": rotations by any angle.

    Args:
        generator: takes ``transform`` [3, 3], which maps points of the image (x, y, 1), in sides from the middle, to
            those of the input.
        count: of latents; those that samples with this seed are drawn of.
        labels: int64 [count], if it has classes.
        of: the generator's name, for errors.

    Returns:
        Plain types: ``metrics``, and how many images were ``moved``.

    Raises:
        NotMeasurable: its images cannot be moved, or are too small to be turned.
    """
    size = generator.resolution
    if not transformable(generator):
        raise NotMeasurable(
            f"{names[0]} needs a generator whose input can be moved, such as StyleGAN3's: that of {of} cannot"
        )
    if "eqr" in names and size < SMALLEST_TURNED:
        raise NotMeasurable(
            f"eqr needs images of at least {SMALLEST_TURNED} pixels on a side: those of {of} have {size}"
        )
    device = next(generator.parameters()).device
    random = torch.Generator().manual_seed(stream_seed(seed, "moved"))
    ratios = {name: SignalToNoise() for name in names}
    z = latents(count, generator.latent_dim, stream_seed(seed, "drawn")).to(device)
    inputs = (z,) if labels is None else (z, labels.to(device))
    parts = list(zip(*(each.split(TOGETHER) for each in inputs), strict=True))
    for given in tqdm(parts, desc="moved", unit=f"{TOGETHER} img", delay=3, leave=False, disable=None):
        plain = generator(*given)
        for name, ratio in ratios.items():
            x, y, turn = (torch.rand(3, generator=random, dtype=torch.float64) * 2 - 1).tolist()
            right, down = (FARTHEST * size * part for part in (x, y))
            if name == "eqr":
                transform = inverse(angle=turn * math.pi)
                expected, mask = turned(plain, turn * math.pi)
                made, valid = as_if_turned(generator(*given, transform=transform.to(device)), turn * math.pi)
                ratio.update(expected, made, mask * valid)
                continue
            if name == "eqt":
                right, down = round(right), round(down)
            expected, mask = shifted(plain, right, down)
            transform = inverse(right / size, down / size)
            ratio.update(expected, generator(*given, transform=transform.to(device)), mask)
    return {"metrics": {name: ratio.compute() for name, ratio in ratios.items()}, "moved": count}


def transformable(generator: nn.Module) -> bool:
    """Whether it takes a ``transform``."""
    return getattr(generator, "transformable", False)


def inverse(right: float = 0.0, down: float = 0.0, angle: float = 0.0) -> Tensor:
    """What maps points of an image to where they were before it was turned counter-clockwise by an angle in radians,
    and then moved by parts of its side: float32 [3, 3]."""
    back = rotation(-angle)
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[:2, :2] = back
    matrix[:2, 2] = -back @ torch.tensor([right, down], dtype=torch.float64)
    return matrix.float()
