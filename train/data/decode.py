"""One image file → 8-bit pixels of the wanted size."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from train.base.errors import UnreadableImage

# Only raster formats that Pillow decodes itself: EPS, for one, would start an interpreter on the file's contents.
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "TGA", "JPEG2000", "AVIF")
SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"}
) | {".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".j2k", ".avif"}


def decode(data: bytes, channels: int, resolution: int, resize: bool) -> np.ndarray:
    """Bytes of an image file → uint8 [channels, resolution, resolution]. UnreadableImage says what is wrong with it.

    Orientation in EXIF is obeyed, transparent pixels show white, 16 bits are scaled to 8, animations give their first
    frame. See `fit_square` for the size.
    """
    with opened(data) as image:
        return to_array(fit_square(_eight_bit(image, channels), resolution, resize))


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height that the file's format says. UnreadableImage as in `decode`."""
    with opened(data) as image:
        return image.size


def is_grey(data: bytes) -> bool:
    """Whether the file's format says grey (or its palette holds greys only). UnreadableImage as in `decode`."""
    with opened(data) as image:
        if image.mode in ("P", "PA"):
            palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
            return bool((palette == palette[:, :1]).all())
        return image.mode in ("1", "L", "LA", "La", "I") or image.mode.startswith("I;16")


def fit_square(image: Image.Image, resolution: int, resize: bool = False) -> Image.Image:
    """Centre square (the whole image squashed with `resize`), then area averaging where the size is a multiple of
    `resolution`, else Lanczos; both ways, up and down."""
    width, height = image.size
    if not resize:
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if image.size == (resolution, resolution):
        return image
    multiple = all(side % resolution == 0 for side in image.size)
    return image.resize((resolution, resolution), Image.Resampling.BOX if multiple else Image.Resampling.LANCZOS)


def to_array(image: Image.Image) -> np.ndarray:
    """Image of mode L or RGB → uint8 [C, H, W]."""
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _eight_bit(image: Image.Image, channels: int) -> Image.Image:
    """Upright, opaque, mode L or RGB."""
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    image = ImageOps.exif_transpose(image)
    if image.mode == "I" or image.mode.startswith("I;16"):  # Pillow's own conversion clips at 255
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("more than 16 bits a pixel")
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))  # 65535 = 257 · 255
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if channels == 1 else "RGB")


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """The image, not decoded yet; whatever Pillow raises over it inside the context becomes UnreadableImage."""
    Image.init()
    try:
        with Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN]) as image:
            yield image
    except MemoryError:
        raise
    except UnidentifiedImageError as error:  # its own message holds an address in memory
        raise UnreadableImage("not an image of a known format") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels") from error
    except Exception as error:
        # Decoders meet hostile bytes with whatever their code runs into: OSError, SyntaxError, IndexError,
        # struct.error, …
        raise UnreadableImage(" ".join(str(error).split()) or type(error).__name__) from error
