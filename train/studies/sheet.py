"""Pictures below each other, to compare what several trainings give."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from train.data.glyphs import font_folder
from train.measure.pictures import read_picture

GAP = 4  # pixels between two rows
FONT_SIZE = 13


def sheet(strips: Sequence[tuple[str, Path]], columns: Sequence[str] = ()) -> Image.Image:
    """Pictures from files, each with its name on its left; ``columns`` are names above equal parts of their widths.
    UsageError if a picture is damaged."""
    pictures = [(name, read_picture(path)) for name, path in strips]
    font = ImageFont.truetype(str(font_folder() / "DejaVuSans.ttf"), FONT_SIZE)
    left = FONT_SIZE + max(round(font.getlength(name)) for name, _ in pictures)
    top = FONT_SIZE + 2 * GAP if columns else 0
    widest = max(picture.width for _, picture in pictures)
    height = top + sum(picture.height + GAP for _, picture in pictures) - GAP
    whole = Image.new("RGB", (left + widest, height), "white")
    pen = ImageDraw.Draw(whole)
    for i, name in enumerate(columns):
        pen.text((left + i * widest // len(columns), GAP), name, "black", font)
    for name, picture in pictures:
        pen.text((0, top + picture.height // 2), name, "black", font, anchor="lm")
        whole.paste(picture, (left, top))
        top += picture.height + GAP
    return whole
