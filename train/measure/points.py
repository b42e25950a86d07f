"""Pictures of points in the plane over time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from train.data.gaussians import Mixture

TILE = 112  # pixels of a side
MARGIN = 1.0  # shown beyond the outermost centres
CIRCLE = 5  # pixels of the radius of the circle around a centre
WHITE, GREY, ORANGE, BLUE = "white", "#cccccc", "#d55e00", "#0072b2"


def strip(mixture: Mixture, samples: Sequence[Tensor]) -> Image.Image:
    """A run's samples [N, 2] at each moment, centres circled, TILE pixels high."""
    strip = Image.new("RGB", (TILE * len(samples), TILE))
    reach = mixture.centres.abs().max().item() + MARGIN

    def pixels(place: Tensor) -> list[list[float]]:
        """[N, 2] → [[column, row], …]; the second axis points up."""
        return ((place * torch.tensor([1.0, -1.0]) / reach + 1) * (TILE / 2)).tolist()

    for i, points in enumerate(samples):
        tile = Image.new("RGB", (TILE, TILE), WHITE)
        draw = ImageDraw.Draw(tile)
        for x, y in pixels(mixture.centres):
            draw.ellipse((x - CIRCLE, y - CIRCLE, x + CIRCLE, y + CIRCLE), outline=ORANGE)
        for x, y in pixels(points[(points.abs() < reach).all(1)]):  # not those that are not finite
            draw.rectangle((int(x), int(y), int(x) + 1, int(y) + 1), fill=BLUE)
        draw.rectangle((0, 0, TILE - 1, TILE - 1), outline=GREY)
        strip.paste(tile, (TILE * i, 0))
    return strip
