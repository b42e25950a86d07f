"""Letters and digits drawn from matplotlib's fonts."""

import hashlib

import numpy as np
import pytest
import torch
from matplotlib.ft2font import FT2Font

from train.data import DataError, load_images
from train.data.glyphs import CHARACTERS, CONTRAST, FACES, VARIANTS, Glyphs, colour_pairs, contrast, font_folder


@pytest.fixture(scope="module")
def glyphs():
    return load_images("glyphs", 32, size=360, seed=7)


def test_what_the_set_is(glyphs):
    assert glyphs.level(32).shape == (360, 3, 32, 32)
    assert (glyphs.num_classes, glyphs.mirror, glyphs.name) == (36, False, "glyphs")


def test_classes_are_balanced(glyphs):
    assert glyphs.labels.bincount().tolist() == [10] * 36


def test_a_seed_gives_the_same_images_again(glyphs):
    assert torch.equal(load_images("glyphs", 32, size=360, seed=7).level(32), glyphs.level(32))


def test_another_seed_gives_others(glyphs):
    other = load_images("glyphs", 32, size=360, seed=8)
    same = (other.level(32) == glyphs.level(32)).flatten(1).all(1)
    assert not same.any()


def test_an_image_does_not_depend_on_how_many_there_are(glyphs):
    assert torch.equal(load_images("glyphs", 32, size=40, seed=7).level(32), glyphs.level(32)[:40])


def test_an_image_does_not_depend_on_those_drawn_before():
    assert np.array_equal(Glyphs(16, 100, 0).decode(50), [Glyphs(16, 100, 0).decode(n) for n in range(51)][50])


def test_no_two_images_of_a_class_are_alike(glyphs):
    ones = glyphs.level(32)[glyphs.labels == 0].flatten(1)
    assert len(ones.unique(dim=0)) == 10


@pytest.mark.parametrize("resolution", [4, 16, 64, 256])
def test_drawn_at_any_resolution(resolution):
    images = load_images("glyphs", resolution, size=36)
    assert images.level(resolution).shape == (36, 3, resolution, resolution)


def test_a_larger_picture_shows_the_same(glyphs):
    large = load_images("glyphs", 64, size=36, seed=7).level(32).float()
    assert (large - glyphs.level(32)[:36].float()).abs().mean() < 4


def test_every_glyph_is_there_whole_and_stands_out(glyphs):
    images = glyphs.level(32).float()
    paper = images[:, :, :1, :1]
    border = torch.ones(32, 32, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert ((images - paper)[:, :, border] == 0).all()  # nothing is cut off at the border
    ink = ((images - paper).abs().amax(1) > 60).flatten(1).float().mean(1)  # share of pixels unlike the paper
    assert ink.min() > 0.02
    assert ink.max() < 0.6


def test_edges_are_antialiased():
    images = load_images("glyphs", 32, size=36).level(32)
    assert all(len(image.flatten(1).unique(dim=1).T) > 10 for image in images)  # more than paper and ink


def test_colours_contrast():
    pairs = colour_pairs() / 255
    assert min(contrast(tuple(dark), tuple(light)) for dark, light in pairs) > 0.95 * CONTRAST


def test_black_on_white_is_the_largest_contrast():
    assert contrast((0, 0, 0), (1, 1, 1)) == pytest.approx(21)


@pytest.mark.parametrize("face", FACES)
def test_every_face_has_every_character(face):
    available = FT2Font(str(font_folder() / face)).get_charmap()
    assert all(ord(character) in available for character in CHARACTERS)


def test_negative_seeds_are_seeds():
    assert len(load_images("glyphs", 8, size=2, seed=-3)) == 2


# --- variants


def test_the_plain_set_is_what_it_was_before_there_were_variants(glyphs):
    digest = hashlib.sha256(glyphs.level(32).numpy()).hexdigest()
    assert digest == "76c49f61696f7941ab215937449941d7a825f7da9cafeed2df4156f559d04bc6"


@pytest.mark.parametrize(("name", "light"), [("glyphs-serif", False), ("glyphs-sans", True)])
def test_a_variant_has_one_polarity(name, light):
    images = load_images(name, 32, size=360).level(32).float()
    grey = (images * torch.tensor([0.2126, 0.7152, 0.0722]).view(3, 1, 1)).sum(1)  # [N, R, R]
    paper = grey[:, :1, :1]
    lighter, darker = (grey - paper).amax((1, 2)), (paper - grey).amax((1, 2))
    assert ((lighter > darker) == light).all()
    assert torch.maximum(lighter, darker).min() > 60


def test_variants_have_typefaces_of_their_own():
    serif, sans = (VARIANTS[name].faces for name in ("glyphs-serif", "glyphs-sans"))
    assert sorted([*serif, *sans]) == VARIANTS["glyphs"].faces == list(range(len(FACES)))
    assert all("Sans" in FACES[face] for face in sans) and not any("Sans" in FACES[face] for face in serif)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_draws_every_one_of_its_faces_and_no_other(name):
    glyphs, drawn = Glyphs(32, 400, 0, name), set()
    mask = glyphs._mask
    glyphs._mask = lambda face, character: drawn.add(face) or mask(face, character)
    for index in range(len(glyphs)):
        glyphs.decode(index)
    assert sorted(drawn) == VARIANTS[name].faces


def test_variants_of_one_seed_have_labels_and_nothing_else_in_common():
    """Else two lists would be pairs."""
    serif, sans = (load_images(name, 32, size=720, seed=3) for name in ("glyphs-serif", "glyphs-sans"))
    assert torch.equal(serif.labels, sans.labels) and serif.num_classes == sans.num_classes == 36
    # Where the ink lies, right or left: the same in both for as many as chance would have it.
    centres = [_centres(images.level(32).float()) for images in (serif, sans)]
    for letter in range(36):
        of = serif.labels == letter
        one, other = (c[of] - c[of].mean(0) for c in centres)  # [20, 2]
        assert ((one * other).mean(0) / (one.std(0) * other.std(0))).abs().max() < 0.8


def _centres(images: torch.Tensor) -> torch.Tensor:
    """Mean row and column of what differs from the paper, [N, 2]."""
    ink = (images - images[:, :, :1, :1]).abs().sum(1)  # [N, R, R]
    places = torch.arange(32.0)
    rows, columns = ((ink.sum(axis) * places).sum(1) / ink.sum((1, 2)) for axis in (2, 1))
    return torch.stack([rows, columns], 1)


def test_a_name_that_is_no_variant():
    with pytest.raises(DataError, match=r"'glyphs-mono'.*glyphs-serif, glyphs-sans"):
        load_images("glyphs-mono", 32)


def test_digits_are_white_on_black_and_near_the_middle():
    images = load_images("glyphs-digits", 32, size=300)
    pixels = images.level(32)
    assert images.num_classes == 10 and images.labels.bincount().tolist() == [30] * 10
    assert torch.equal(pixels[:, :1].expand(-1, 3, -1, -1), pixels) and pixels[:, :, 0].max() == 0
    assert pixels.amax((1, 2, 3)).min() > 200
    whole = load_images("glyphs", 32, size=360)
    near, far = (_centres(some.level(32).float()).std(0) for some in (images, whole))
    # Digits' own shapes move their centres too; rows and columns by the shift alone are 0.55 and 1.8 pixels.
    assert (near < 0.8 * far).all()
