"""Pictures of points over time: a row for each run, a column for each moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from train.data.gaussians import Mixture

TILE = 112  # pixels of a side
MARGIN = 1.0  # shown beyond the outermost centres
CIRCLE = 5  # pixels of the radius of the circle around a centre
LABELS, HEADER = 150, 18  # pixels that the rows' and columns' names take
WHITE, GREY, BLACK, ORANGE, BLUE = "white", "#cccccc", "black", "#d55e00", "#0072b2"


def strip(mixture: Mixture, samples: Sequence[Tensor]) -> Tensor:
    """A run's samples [N, 2] at each moment, centres circled: uint8 [3, TILE, TILE · moments]."""
    image = Image.new("RGB", (TILE * len(samples), TILE), WHITE)
    for i, points in enumerate(samples):
        image.paste(_tile(mixture, points), (TILE * i, 0))
    return _to_tensor(image)


def page(strips: Mapping[str, Tensor], steps: Sequence[int]) -> Tensor:
    """Strips of equal size with their names on the left and the numbers of steps above: uint8 [3, H, W]."""
    image = Image.new("RGB", (LABELS + TILE * len(steps), HEADER + TILE * len(strips)), WHITE)
    draw = ImageDraw.Draw(image)
    for i, step in enumerate(steps):
        draw.text((LABELS + TILE * i + 4, 4), f"step {step}" if i == 0 else f"{step}", fill=BLACK)
    for row, (name, pixels) in enumerate(strips.items()):
        top = HEADER + TILE * row
        draw.text((4, top + TILE // 2 - 6), name, fill=BLACK)
        image.paste(Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()), (LABELS, top))
    return _to_tensor(image)


def _tile(mixture: Mixture, points: Tensor) -> Image.Image:
    reach = mixture.centres.abs().max().item() + MARGIN
    image = Image.new("RGB", (TILE, TILE), WHITE)
    draw = ImageDraw.Draw(image)

    def pixels(place: Tensor) -> list[list[float]]:
        """[N, 2] → [[column, row], …]; the second axis points up."""
        return ((place * torch.tensor([1.0, -1.0]) / reach + 1) * (TILE / 2)).tolist()

    for x, y in pixels(mixture.centres):
        draw.ellipse((x - CIRCLE, y - CIRCLE, x + CIRCLE, y + CIRCLE), outline=ORANGE)
    shown = points[points.isfinite().all(1) & (points.abs() < reach).all(1)]
    for x, y in pixels(shown):
        draw.rectangle((int(x), int(y), int(x) + 1, int(y) + 1), fill=BLUE)
    draw.rectangle((0, 0, TILE - 1, TILE - 1), outline=GREY)
    return image


def _to_tensor(image: Image.Image) -> Tensor:
    data = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return data.view(image.height, image.width, 3).permute(2, 0, 1)
