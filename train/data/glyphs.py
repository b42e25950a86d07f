"""Letters and digits drawn on demand: real pictures to learn from with nothing to download.

Faces are those that matplotlib ships: DejaVu and STIX.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from train.base.errors import DataError

from .source import OWN, digest

CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
STYLES = {
    "DejaVuSans": ("", "-Bold", "-Oblique", "-BoldOblique"),
    "DejaVuSansMono": ("", "-Bold", "-Oblique", "-BoldOblique"),
    "DejaVuSerif": ("", "-Bold", "-Italic", "-BoldItalic"),
    "STIXGeneral": ("", "Bol", "Italic", "BolIta"),
}
FACES = [f"{family}{style}.ttf" for family, styles in STYLES.items() for style in styles]
SHIFT = 0.10  # of the image, either way


@dataclass(frozen=True)
class Variant:
    """A kind of glyphs.

    Attributes:
        families: of its typefaces, keys of STYLES.
        light: whether glyphs are light on dark paper, instead of dark on light; None: half of them.
        tint: how far colours are from greys of their luma, 1 for those of `colour_pairs`. Where shapes are what is to
            be learnt, networks that see flat bright colours spend most of a short training on these.
        shift: how far glyphs lie from the middle, at most, as a part of the image.
        plain: whether glyphs are white on black, or where they are not ``light`` black on white.
        characters: its classes, of CHARACTERS.
        stream: goes into the seed of each image, so that variants have nothing in common but the order of classes.
    """

    families: tuple[str, ...]
    light: bool | None = None
    tint: float = 1.0
    shift: float = SHIFT
    plain: bool = False
    characters: str = CHARACTERS
    stream: tuple[int, ...] = ()

    @property
    def faces(self) -> list[int]:
        """Places in FACES."""
        own = {f"{family}{style}.ttf" for family in self.families for style in STYLES[family]}
        return [place for place, face in enumerate(FACES) if face in own]


VARIANTS = {
    "glyphs": Variant(tuple(STYLES)),
    "glyphs-serif": Variant(("DejaVuSerif", "STIXGeneral"), light=False, tint=0.25, stream=(1,)),
    "glyphs-sans": Variant(("DejaVuSans", "DejaVuSansMono"), light=True, tint=0.25, stream=(2,)),
    "glyphs-digits": Variant(tuple(STYLES), light=True, shift=0.03, plain=True, characters="0123456789", stream=(3,)),
}
HEIGHT = (0.60, 0.80)  # of a capital, as a part of the image
ANGLE = 12.0  # degrees, either way
MARGIN = 1 / 32  # of the image, kept free around the glyph
CONTRAST = 6.0  # least ratio of luminances (WCAG 2 asks 4.5 of text; thin strokes lose some at 32 px)

PLAIN = np.array([[[0, 0, 0], [255, 255, 255]]], dtype=np.uint8)
"""Black and white, in the form of :func:`colour_pairs`."""

MASK_CACHE_BYTES = 2**28


class Glyphs:
    """`length` images, RGB, labelled with their place in the variant's characters; classes take turns.

    Image n depends on (name, seed, n) alone, apart from the resolution: not on the length, nor on what was drawn
    before. The name is one of VARIANTS.
    """

    mirror = False
    files = None
    parallel = False  # drawing is quick, and FreeType's faces are not for two threads at once
    labels_from = OWN

    def __init__(self, resolution: int, length: int, seed: int, name: str = "glyphs") -> None:
        self.resolution, self.name = resolution, name
        self._variant = VARIANTS[name]
        self._faces = self._variant.faces
        self.seed = seed % 2**64
        self.class_names = list(self._variant.characters)
        self.num_classes = len(self.class_names)
        self.labels = np.arange(length, dtype=np.int64) % self.num_classes
        # Drawn larger and averaged: 4 times at 32 px; where pixels are plenty, twice is enough.
        self._supersampling = max(2, 128 // resolution)
        self._canvas = resolution * self._supersampling
        self._mask = _mask_maker(font_folder(), round(self._canvas * HEIGHT[1]))
        self._colours = PLAIN if self._variant.plain else tinted(colour_pairs(), self._variant.tint)

    def __len__(self) -> int:
        return len(self.labels)

    def channels(self) -> int:
        return 3

    def fingerprint(self) -> str:
        # The cache's version stands for this file; the faces and what draws them have versions of their own.
        versions = [version(package) for package in ("pillow", "matplotlib")]
        return digest([self.name, self.resolution, len(self), self.seed, *versions])

    def describe(self, index: int) -> str:
        return f"{self.name}[{index}]"

    def decode(self, index: int, channels: int = 3) -> np.ndarray:
        """uint8 [3, resolution, resolution]."""
        # Uniform numbers only, which NumPy keeps the same from release to release.
        random = np.random.default_rng([self.seed, index, *self._variant.stream])
        face, height, angle, right, down, colour, swap = random.random(7)
        mask, capital = self._mask(self._faces[int(face * len(self._faces))], self.class_names[self.labels[index]])
        ink = self._place(mask, capital, height, angle, right, down)  # [R, R] in 0..255
        pair = self._colours[int(colour * len(self._colours))].astype(np.int32)  # [2, 3]
        light = swap < 0.5 if self._variant.light is None else self._variant.light
        paper, glyph = pair if light else pair[::-1]
        blend = paper[:, None, None] * 255 + (glyph - paper)[:, None, None] * ink + 127  # [3, R, R]
        return (blend // 255).astype(np.uint8)

    def _place(
        self, mask: Image.Image, capital: float, height: float, angle: float, right: float, down: float
    ) -> np.ndarray:
        """The mask, scaled, turned and moved as the uniform numbers say, averaged to int32 [R, R]."""
        canvas = self._canvas
        radians = math.radians(ANGLE * (2 * angle - 1))
        cos, sin = math.cos(radians), math.sin(radians)
        scale = (HEIGHT[0] + (HEIGHT[1] - HEIGHT[0]) * height) * canvas / capital
        half_width = (mask.width * cos + mask.height * abs(sin)) / 2
        half_height = (mask.width * abs(sin) + mask.height * cos) / 2
        free = canvas * (0.5 - MARGIN)
        scale = min(scale, free / half_width, free / half_height)
        x = canvas / 2 + (2 * right - 1) * min(self._variant.shift * canvas, free - half_width * scale)
        y = canvas / 2 + (2 * down - 1) * min(self._variant.shift * canvas, free - half_height * scale)
        # Pillow asks where in the mask each pixel of the canvas comes from.
        a, b = cos / scale, sin / scale
        inverse = (a, b, mask.width / 2 - a * x - b * y, -b, a, mask.height / 2 + b * x - a * y)
        drawn = mask.transform((canvas, canvas), Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR)
        return np.asarray(drawn.reduce(self._supersampling), dtype=np.int32)


def font_folder() -> Path:
    """Where matplotlib keeps its fonts. DataError if that is not installed, or lacks one of FACES."""
    try:
        from matplotlib import get_data_path
    except ImportError as error:
        raise DataError("glyphs use matplotlib's fonts, and it is not installed: pip install matplotlib") from error
    folder = Path(get_data_path()) / "fonts" / "ttf"
    missing = [face for face in FACES if not (folder / face).is_file()]
    if missing:
        raise DataError(f"glyphs: {folder} lacks {', '.join(missing)}: pip install --force-reinstall matplotlib")
    return folder


@lru_cache(maxsize=1)
def colour_pairs(count: int = 4096) -> np.ndarray:
    """uint8 [count, 2, 3]: (dark, light) pairs of colours of any hue that stand out from one another."""
    generator = np.random.default_rng(0)
    pairs: list[tuple] = []
    while len(pairs) < count:
        hues = generator.random(2)
        dark = colorsys.hsv_to_rgb(hues[0], 0.3 + 0.7 * generator.random(), 0.6 * generator.random())
        light = colorsys.hsv_to_rgb(hues[1], 0.7 * generator.random(), 0.75 + 0.25 * generator.random())
        if contrast(dark, light) >= CONTRAST:
            pairs.append((dark, light))
    return np.rint(np.array(pairs) * 255).astype(np.uint8)


def tinted(colours: np.ndarray, tint: float) -> np.ndarray:
    """Colours uint8 [..., 3], drawn towards greys of the same luma: 1 leaves them, 0 makes them grey."""
    if tint == 1:
        return colours
    luma = colours @ np.array([0.299, 0.587, 0.114])
    return np.rint(luma[..., None] + tint * (colours - luma[..., None])).astype(np.uint8)


def contrast(dark: tuple, light: tuple) -> float:
    """Ratio of luminances of two sRGB colours in 0..1, from 1 to 21 (WCAG 2)."""
    first, second = (0.05 + _luminance(colour) for colour in (dark, light))
    return max(first, second) / min(first, second)


def _luminance(colour: tuple) -> float:
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _mask_maker(folder: Path, capital: int) -> Callable[[int, str], tuple[Image.Image, float]]:
    """A function (face, character) → the character's shape, tightly framed, in a face whose capitals are about as high
    as `capital`, and how high exactly they are; it remembers as many as may be kept."""

    @cache
    def font(face: int) -> tuple[ImageFont.FreeTypeFont, float]:
        path = folder / FACES[face]
        probe = ImageFont.truetype(path, 1000, layout_engine=ImageFont.Layout.BASIC)
        height = -probe.getbbox("H", anchor="ls")[1] / 1000
        size = max(1, round(capital / height))
        return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC), size * height

    @lru_cache(maxsize=max(64, MASK_CACHE_BYTES // (capital * capital)))
    def mask(face: int, character: str) -> tuple[Image.Image, float]:
        face_font, height = font(face)
        left, top, right, bottom = face_font.getbbox(character, anchor="ls")
        image = Image.new("L", (right - left + 2, bottom - top + 2))  # a pixel of air around, for interpolation
        ImageDraw.Draw(image).text((1 - left, 1 - top), character, 255, face_font, anchor="ls")
        return image, height

    return mask
