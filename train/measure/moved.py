"""How exactly images move with the transformation that their generator is given: EQ-T and EQ-R (Karras et al. 2021,
arXiv 2106.12423, appendix E)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from gan_ops.metrics import SignalToNoise, as_if_turned, rotation, shifted, turned
from train.base.seeds import stream_seed
from train.measure.pictures import latents

FARTHEST = 0.125
"""Of a shift on each axis, in sides of an image (Karras et al. 2021, appendix E.1)."""
TOGETHER = 10
"""Images that are moved alike."""


@torch.no_grad()
def equivariance(
    generator: nn.Module, names: Sequence[str], count: int, seed: int, labels: Tensor | None = None
) -> dict[str, float]:
    """Of each metric named, the ratio in dB of the images' range to the difference between images of a moved input and
    moved images.

    - "eqt": shifts by whole pixels, "eqt-frac": by any, up to an eighth of the image on each axis;
    - "eqr": rotations by any angle.

    Args:
        generator: takes ``transform`` [3, 3], which maps points of the image (x, y, 1), in sides from the middle, to
            those of the input.
        count: of latents; those that samples with this seed are drawn of.
        labels: int64 [count], if it has classes.
    """
    device, size = next(generator.parameters()).device, generator.resolution
    random = torch.Generator().manual_seed(stream_seed(seed, "moved"))
    ratios = {name: SignalToNoise() for name in names}
    z = latents(count, generator.latent_dim, stream_seed(seed, "drawn")).to(device)
    inputs = (z,) if labels is None else (z, labels.to(device))
    parts = list(zip(*(each.split(TOGETHER) for each in inputs), strict=True))
    for given in tqdm(parts, desc="moved", unit=f"{TOGETHER} img", delay=3, leave=False, disable=None):
        plain = generator(*given)
        for name, ratio in ratios.items():
            x, y, turn = (torch.rand(3, generator=random, dtype=torch.float64) * 2 - 1).tolist()
            if name == "eqr":
                angle = turn * math.pi
                made = generator(*given, transform=inverse(angle=angle).to(device))
                expected, mask = turned(plain, angle)
                made, valid = as_if_turned(made, angle)
                ratio.update(expected, made, mask * valid)
                continue
            right, down = (FARTHEST * size * way for way in (x, y))
            if name == "eqt":
                right, down = round(right), round(down)
            made = generator(*given, transform=inverse(right / size, down / size).to(device))
            expected, mask = shifted(plain, right, down)
            ratio.update(expected, made, mask)
    return {name: ratio.compute() for name, ratio in ratios.items()}


def inverse(right: float = 0.0, down: float = 0.0, angle: float = 0.0) -> Tensor:
    """What maps points of an image to where they were before it was turned counter-clockwise by an angle in radians,
    and then moved by parts of its side: float32 [3, 3]."""
    back = rotation(-angle)
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[:2, :2] = back
    matrix[:2, 2] = -back @ torch.tensor([right, down], dtype=torch.float64)
    return matrix.float()
