"""``python -m train.generate`` with generators of styles: seeds, truncation, style mixing, walks in w."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from models.parts.styles import mixed
from train import generate, stylegan2
from train.base.errors import UsageError
from train.base.tables import grid_of
from train.data import to_uint8
from train.measure.pictures import latents
from train.measure.styled_samples import Truncated, mixing_matrix, parse_numbers, seeded
from train.measure.walks import straight_walk
from train.run.restoring import build_generator, find_checkpoint

from .runs import TINY_STYLEGAN2, error_of, flags


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with labels: those of A, B and C are 0, 1 and 2."""
    folder = tmp_path_factory.mktemp("styles") / "run"
    options = {**TINY_STYLEGAN2, "condition": "projection", "kimg": 0.012, "out": folder}
    assert stylegan2.main(flags(options)) == 0
    return folder


@pytest.fixture
def generator(run):
    return build_generator(*find_checkpoint(run), torch.device("cpu"))


def pixels(path) -> torch.Tensor:
    """[3, H, W]."""
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)


def cells(path, columns: int, size: int = 8) -> torch.Tensor:
    """[rows, columns, 3, size, size], without names of rows."""
    return (
        pixels(path)[:, :, -columns * size :].unflatten(2, (-1, size)).unflatten(1, (-1, size)).permute(1, 3, 0, 2, 4)
    )


def alike(a: torch.Tensor, b: torch.Tensor) -> bool:
    """But for the rounding of what batches of other sizes give."""
    return a.shape == b.shape and (a.int() - b.int()).abs().max() <= 1


def fails(capsys, *args: object) -> str:
    return error_of(generate.main, list(map(str, args)), capsys)


# ---- parts


def test_numbers_are_listed_and_ranged():
    assert parse_numbers("3", "seeds") == [3] and parse_numbers("0-3, 7,5-5", "seeds") == [0, 1, 2, 3, 7, 5]
    for text, reason in (
        ("", "seeds='' is not a list of whole numbers such as 0-3,7"),
        ("1,-2", "is not a list"),
        ("1.5", "is not a list"),
        ("3-1", "3-1 is not from a number to a later one, or too many"),
        ("0-99999999", "or too many"),
    ):
        with pytest.raises(UsageError) as error:
            parse_numbers(text, "seeds")
        assert reason in str(error.value)


def test_each_seed_has_the_latent_that_it_draws_first():
    z = seeded([5, 2], 4)
    assert torch.equal(z[0], latents(3, 4, 5)[0]) and torch.equal(z[1], latents(1, 4, 2)[0])


def test_a_matrix_has_each_rows_styles_with_some_of_each_columns():
    rows, columns = torch.randn(2, 4, 3), torch.randn(3, 4, 3)
    matrix = mixing_matrix(rows, columns, [1, 2])
    assert torch.equal(matrix[:3], columns)
    table = matrix[3:].view(2, 4, 4, 3)
    assert torch.equal(table[:, 0], rows)
    for r in range(2):
        for c in range(3):
            expected = mixed(rows[r : r + 1], columns[c : c + 1], torch.tensor([1]))[0]
            expected[3] = rows[r, 3]
            assert torch.equal(table[r, 1 + c], expected)


def test_a_walk_goes_in_lines_from_key_to_key_and_back():
    keys = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    assert straight_walk(keys, 2).tolist() == [[0, 0], [0.5, 1], [1, 2], [0.5, 1]]
    assert straight_walk(torch.randn(3, 4, 5), 6).shape == (18, 4, 5)


def test_a_truncated_generator_is_the_generator_with_psi(generator):
    z, labels = torch.randn(3, 6), torch.tensor([0, 1, 2])
    for psi, cutoff in ((1.0, 0), (0.4, 0), (0.4, 2)):
        expected = generator(z, labels, psi=psi, cutoff=cutoff or None)
        torch.testing.assert_close(Truncated(generator, psi, cutoff)(z, labels), expected)


# ---- the program


def test_seeds_draw_the_same_images_wherever_they_stand(run, tmp_path):
    for name, seeds in (("a", "0-3"), ("b", "3,1,0,2")):
        out = str(tmp_path / f"{name}.png")
        assert generate.main([str(run), "--out", out, "--grid", "1x4", "--seeds", seeds, "--class", "B"]) == 0
    a, b = (cells(tmp_path / f"{name}.png", 4)[0] for name in "ab")
    assert alike(a[[3, 1, 0, 2]], b) and not alike(a, b)


def test_truncation_is_psi_and_its_cutoff_counts_layers(run, generator, tmp_path):
    labels = torch.tensor([1, 1])
    for options, given in (
        ([], {}),
        (["--truncation", "0.5"], {"psi": 0.5}),
        (["--truncation", "0.5", "--cutoff", "2"], {"psi": 0.5, "cutoff": 2}),
    ):
        out = tmp_path / "g.png"
        shared = ["--out", str(out), "--grid", "1x2", "--seed", "4", "--class", "B"]
        assert generate.main([str(run), *shared, *options]) == 0
        assert alike(cells(out, 2)[0], to_uint8(generator(latents(2, 6, 4), labels, **given)))


def test_a_mixing_matrix_has_rows_columns_and_what_comes_of_them(run, generator, tmp_path):
    out = tmp_path / "mix.png"
    options = ["--mix", "2x3", "--mix-layers", "1-2", "--seeds", "0-4", "--truncation", "0.7", "--class", "C"]
    assert generate.main([str(run), "--out", str(out), *options]) == 0
    picture = cells(out, 4)
    assert picture.shape[:2] == (3, 4) and not picture[0, 0].any()
    labels = torch.full((5,), 2)
    own = to_uint8(generator(seeded(range(5), 6), labels, psi=0.7))
    assert alike(picture[1:, 0], own[:2]) and alike(picture[0, 1:], own[2:])
    styles = Truncated(generator, 0.7).styles(seeded(range(5), 6), labels)
    one = styles[1:2].clone()
    one[:, 1:3] = styles[4:5, 1:3]
    assert alike(picture[2, 3], to_uint8(generator.synthesis(one))[0])


def test_a_walk_in_w_passes_through_the_keys(run, generator, tmp_path):
    for space in "wz":
        out = str(tmp_path / f"{space}.png")
        options = ["--interpolate", "2x4", "--seeds", "0,1", "--space", space, "--class", "B"]
        assert generate.main([str(run), "--out", out, *options]) == 0
    w, z = (cells(tmp_path / f"{space}.png", 4) for space in "wz")
    assert alike(w[:, 0], z[:, 0])
    styles = generator.mapping(seeded([0, 1], 6), torch.tensor([1, 1]))
    middle = generator.synthesis(styles.mean(0).expand(1, generator.layers, -1))
    assert alike(w[0, 2], to_uint8(middle)[0]) and alike(w[0, 2], w[1, 2])


def test_a_grid_has_as_many_images_as_there_are_seeds(run, tmp_path):
    assert [grid_of(count) for count in (1, 3, 11, 12, 16)] == [(1, 1), (1, 3), (1, 11), (2, 6), (2, 8)]
    for name, more in (("a", []), ("b", ["--grid", "1x3"])):
        assert generate.main([str(run), "--out", str(tmp_path / f"{name}.png"), "--seeds", "0-2", *more]) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_what_cannot_be_drawn_is_refused(run, shared_run, capsys):
    for args, reason in (
        (["--seeds", "0-2", "--grid", "1x4"], "seeds='0-2' are 3, and 4 latents are drawn"),
        (["--seeds", "a"], "seeds='a' is not a list of whole numbers"),
        (["--mix", "2x2", "--mix-layers", "3-4"], "mix_layers='3-4': this generator has layers 0 to 3"),
        (["--mix", "2x2", "--images", "4"], "--mix makes a picture of its own"),
        (["--mix", "2"], "mix: '2' is not ROWSxCOLUMNS"),
        (["--space", "w"], "--space w is for --interpolate"),
        (["--cutoff", "5"], "cutoff=5: this generator has 4 layers with styles"),
        (["--mix", "2x2", "--input", "pictures"], "--mix and --input cannot be combined"),
    ):
        assert reason in fails(capsys, run, *args), args
    plain = shared_run("plain")
    for args in (["--mix", "2x2"], ["--cutoff", "2"], ["--space", "w", "--interpolate", "2x2"]):
        assert f"{args[0]} needs a generator of styles, such as StyleGAN2's" in fails(capsys, plain, *args)
