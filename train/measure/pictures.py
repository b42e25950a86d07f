"""Samples, and grids and files of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from gan_ops.nn import ReferenceSequential
from train.base.errors import UnreadableImage, UsageError
from train.base.files import write_atomically
from train.data import to_uint8
from train.data.decode import opened

LONGEST_NAME = 20  # characters of a class's name that are shown


@torch.no_grad()
def draw(
    generator: nn.Module, z: Tensor, labels: Tensor | None = None, batch: int = 32, first: int = 0, every: int = 1
) -> Iterator[Tensor]:
    """Images for the latents z [N, latent], in batches, or from the ``first`` on every ``every``-th batch of them:
    uint8 [n, C, H, W] on the CPU."""
    for module in generator.modules():
        if isinstance(module, ReferenceSequential):
            module.forget_statistics()  # a replayed CUDA graph changes parameters without a trace
    for start in range(first * batch, len(z), every * batch):
        given = [tensor[start : start + batch] for tensor in (z, labels) if tensor is not None]
        yield to_uint8(generator(*given).float()).cpu()


def latents(count: int, length: int, seed: int, truncation: float = 0.0) -> Tensor:
    """The same latents for the same seed on any device; a longer batch begins with the shorter one's. [N, latent]

    With ``truncation`` t they are of the normal distribution between −t and t: those that remain if values beyond are
    drawn anew (Brock et al. 2019, section 3.1).
    """
    random = torch.Generator().manual_seed(seed)
    # One row at a time: the order in which a whole batch is filled depends on its size.
    if not truncation:
        return torch.stack([torch.randn(length, generator=random) for _ in range(count)])
    within = math.erf(truncation / math.sqrt(2))
    places = torch.stack([2 * torch.rand(length, generator=random, dtype=torch.float64) - 1 for _ in range(count)])
    return math.sqrt(2) * torch.erfinv(within * places).clamp(-6, 6).float()  # no normal number here is beyond 6


def row_labels(rows: int, columns: int, classes: list[int]) -> Tensor:
    """Labels of a grid, int64 [rows · columns]: its rows go through the classes, or its cells if rows are too few."""
    if rows < len(classes):
        return torch.tensor([classes[cell % len(classes)] for cell in range(rows * columns)])
    return torch.tensor([classes[row % len(classes)] for row in range(rows)]).repeat_interleave(columns)


def row_names(rows: int, classes: Sequence[int], names: Sequence[str]) -> list[str]:
    """The name of each row's class in a grid of :func:`row_labels`; none where its cells go through the classes, or
    classes have no names."""
    if not classes or rows < len(classes) or max(classes) >= len(names):
        return []
    return [names[classes[row % len(classes)]] for row in range(rows)]


def enlarged(pixels: Tensor, factor: int) -> Tensor:
    """Images [N, C, h, w] with each pixel repeated → [N, C, factor · h, factor · w]."""
    return pixels if factor == 1 else pixels.repeat_interleave(factor, 2).repeat_interleave(factor, 3)


def grid(images: Tensor, columns: int, size: int | None = None) -> Tensor:
    """Images uint8 [N, C, h, w] side by side, in rows of ``columns`` → [C, rows · size, columns · size].

    ``size`` is the height and width of each in the grid, a multiple of its own: pixels are repeated. The last row is
    filled up with black.
    """
    images = enlarged(images, max((size or 0) // images.shape[2], 1))
    n, c, h, w = images.shape
    rows = -(-n // columns)
    padded = images.new_zeros(rows * columns, c, h, w)
    padded[:n] = images
    return padded.view(rows, columns, c, h, w).permute(2, 0, 3, 1, 4).reshape(c, rows * h, columns * w)


def with_row_names(picture: Tensor, names: Sequence[str]) -> Tensor:
    """A grid uint8 [C, H, W] with a name on the left of each of its rows, as many as there are names → [C, H, W']."""
    height = picture.shape[1] // len(names)
    font = ImageFont.load_default(max(min(13, height), 5))
    names = [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in names]
    width = 6 + max(math.ceil(font.getlength(name)) for name in names)
    margin = Image.new("L", (width, picture.shape[1]))
    for row, name in enumerate(names):
        ImageDraw.Draw(margin).text((3, round((row + 0.5) * height)), name, 255, font, anchor="lm")
    column = torch.from_numpy(np.array(margin)).expand(len(picture), -1, -1)  # → [C, H, width]
    return torch.cat((column, picture), dim=2)


def save_png(path: Path, image: Tensor) -> None:
    """Writes an image uint8 [C, H, W], grey (C = 1) or RGB (C = 3)."""
    save_picture(path, to_pillow(image))


def png_names(names: Sequence[str]) -> list[str]:
    """Names for PNG files that are made of files of these names, all different and none leading out of its folder.

    ``x/a.jpg`` → ``x/a.png``; the next of that name is ``x/a.jpg.png``, and further ones are numbered.
    """
    found: dict[str, None] = {}
    for name in names:
        place = PurePosixPath(*(part for part in PurePosixPath(name).parts if part not in ("/", "//", "..")))
        numbered = (f"{place}-{number}.png" for number in itertools.count(2))
        candidates = itertools.chain([f"{place.with_suffix('.png')}", f"{place}.png"], numbered)
        found[next(candidate for candidate in candidates if candidate not in found)] = None
    return list(found)


def save_picture(path: Path, picture: Image.Image) -> None:
    """Writes a PNG file."""
    write_atomically(path, lambda file: picture.save(file, format="PNG"))


def save_gif(path: Path, frames: Tensor) -> None:
    """Writes frames uint8 [N, C, H, W] as an endless loop, 60 ms each."""
    first, *rest = map(to_pillow, frames)
    write_atomically(path, lambda file: first.save(file, "GIF", save_all=True, append_images=rest, duration=60, loop=0))


def to_pillow(image: Tensor) -> Image.Image:
    """A uint8 tensor [C, H, W] as a Pillow image."""
    pixels = image.permute(1, 2, 0).contiguous().numpy()  # [C, H, W] → [H, W, C]
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def read_picture(path: Path) -> Image.Image:
    """A picture that a program wrote, in mode RGB; UsageError if it is damaged."""
    try:
        with opened(path.read_bytes()) as image:
            return image.convert("RGB")
    except UnreadableImage as error:
        raise UsageError(f"{path} is damaged ({error})") from None
