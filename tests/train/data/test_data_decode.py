"""One image file to 8-bit pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from train.base.errors import UnreadableImage
from train.data.decode import decode, fit_square, is_grey

RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def encode(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def colour(*rgba):
    """8 x 8 pixels of one colour."""
    mode = "RGB" if len(rgba) == 3 else "RGBA"
    return Image.new(mode, (8, 8), rgba)


def pixels(data, channels=3):
    return decode(data, channels, 8, resize=False)


def test_grey():
    assert np.array_equal(pixels(encode(Image.fromarray(RAMP)), 1), RAMP[None])


def test_grey_among_colour_gets_three_equal_channels():
    assert np.array_equal(pixels(encode(Image.fromarray(RAMP))), np.stack([RAMP] * 3))


def test_rgb():
    assert pixels(encode(colour(10, 20, 30)))[:, 0, 0].tolist() == [10, 20, 30]


def test_transparency_shows_white():
    assert pixels(encode(colour(10, 20, 30, 0)))[:, 0, 0].tolist() == [255, 255, 255]


def test_half_transparency_is_half_white():
    assert abs(int(pixels(encode(colour(0, 0, 0, 128)))[0, 0, 0]) - 127) <= 1


def test_grey_with_alpha():
    image = Image.new("LA", (8, 8), (40, 0))
    assert pixels(encode(image), 1).max() == pixels(encode(image), 1).min() == 255


def test_palette():
    image = colour(200, 0, 100).convert("P", palette=Image.Palette.ADAPTIVE)
    assert pixels(encode(image))[:, 0, 0].tolist() == [200, 0, 100]


def test_transparent_palette_entry_shows_white():
    image = colour(200, 0, 100).convert("P", palette=Image.Palette.ADAPTIVE)
    assert pixels(encode(image, transparency=image.getpixel((0, 0))))[:, 0, 0].tolist() == [255, 255, 255]


def test_one_bit():
    assert pixels(encode(Image.new("1", (8, 8), 1)), 1).min() == 255


def test_cmyk_jpeg():
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert np.allclose(pixels(encode(red, "JPEG", quality=95))[:, 0, 0], [255, 0, 0], atol=3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind):
    values = np.array([0, 128, 129, 257, 300, 32768, 65406, 65535], dtype=np.uint16)
    data = encode(Image.fromarray(np.tile(values, (8, 1))), kind)
    assert pixels(data, 1)[0, 0].tolist() == [0, 0, 1, 1, 1, 128, 254, 255]


def test_sixteen_bit_pgm():
    values = np.tile(np.arange(0, 65536, 8224, dtype=">u2"), (8, 1))[:, :8]
    data = b"P5 8 8 65535\n" + values.tobytes()
    assert pixels(data, 1)[0, 0].tolist() == [n * 32 for n in range(8)]


def test_exif_orientation_is_obeyed():
    image = Image.fromarray(RAMP)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise to see it upright
    assert np.array_equal(pixels(encode(image, exif=exif), 1)[0], np.rot90(RAMP, -1))


def test_animation_gives_its_first_frame():
    frames = [colour(250, 0, 0), colour(0, 0, 250)]
    assert pixels(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]))[:, 0, 0].tolist() == [250, 0, 0]


@pytest.mark.parametrize("size", [(16, 8), (8, 16)])
def test_centre_of_an_oblong_image(size):
    image = Image.new("L", size, 0)
    left, top = (size[0] - 8) // 2, (size[1] - 8) // 2
    image.paste(255, (left, top, left + 8, top + 8))
    assert decode(encode(image), 1, 8, resize=False).min() == 255


def test_resize_squashes_the_whole_image():
    image = Image.new("L", (16, 8), 0)
    image.paste(255, (8, 0, 16, 8))
    squashed = decode(encode(image), 1, 8, resize=True)
    assert squashed[0, 0].tolist() == [0] * 4 + [255] * 4


def test_whole_factors_average_areas():
    image = Image.fromarray(RAMP)
    means = RAMP.reshape(4, 2, 4, 2).mean((1, 3))
    assert np.abs(np.asarray(fit_square(image, 4)) - means).max() <= 0.5


@pytest.mark.parametrize("side", [1, 3, 5, 13, 100])
def test_any_size_fits(side):
    assert decode(encode(Image.new("RGB", (side, side + 3), (9, 9, 9))), 3, 8, False).tolist() == [[[9] * 8] * 8] * 3


def test_mpo_of_a_camera_is_read():
    data = encode(colour(90, 90, 90), "MPO", save_all=True, append_images=[colour(0, 0, 0)])
    assert np.allclose(pixels(data), 90, atol=2)


@pytest.mark.parametrize(
    ("image", "grey"),
    [
        (Image.new("L", (8, 8)), True),
        (Image.new("1", (8, 8)), True),
        (Image.new("I;16", (8, 8)), True),
        (Image.new("LA", (8, 8)), True),
        (Image.new("RGB", (8, 8)), False),
        (Image.new("RGBA", (8, 8)), False),
        (colour(1, 2, 3).convert("P", palette=Image.Palette.ADAPTIVE), False),
        (colour(7, 7, 7).quantize(2), True),
    ],
    ids=["8 bit", "1 bit", "16 bit", "alpha", "rgb", "rgba", "palette of colours", "palette of greys"],
)
def test_grey_is_told_by_the_header(image, grey):
    assert is_grey(encode(image)) is grey


WHOLE = encode(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)))


@pytest.mark.parametrize(
    "data",
    [b"", b"not an image", WHOLE[:30], WHOLE[: len(WHOLE) // 2], b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n"],
    ids=["empty", "text", "header only", "half", "eps"],
)
def test_bad_files_are_unreadable(data):
    with pytest.raises(UnreadableImage):
        decode(data, 3, 8, False)


def test_reason_is_one_line_without_addresses():
    with pytest.raises(UnreadableImage, match=r"^not an image of a known format$"):
        decode(b"text", 3, 8, False)


def test_decompression_bomb_is_unreadable():
    header = b"P5 60000 60000 255\n"  # 3.6 gigapixels in 20 bytes
    with pytest.raises(UnreadableImage, match=r"more than [0-9,]+ pixels"):
        decode(header, 1, 8, False)


def test_float_pixels_are_unreadable():
    with pytest.raises(UnreadableImage, match="no known range"):
        decode(encode(Image.new("F", (8, 8)), "TIFF"), 1, 8, False)
