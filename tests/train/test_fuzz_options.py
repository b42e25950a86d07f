"""Options out of range and of the wrong kind: each program takes them, or refuses them in a line and leaves nothing."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import tyro

from train.data import store

from .fuzzing import TRAINING, TRANSLATING, WORK, Accepted, accept, attempt, flags, furnish, options_of, programs

SMALL_DCGAN = {"resolution": 16, "batch": 4, "latent": 6, "g_width": 4, "d_width": 4, "grid": "2x3"}
SMALL_VAE_GAN = {"resolution": 16, "batch": 4, "latent": 6, "e_width": 4, "g_width": 4, "d_width": 4, "grid": "3x4"}
SMALL_ENERGIES = {"resolution": 16, "batch": 4, "latent": 6, "grid": "2x3", "data": "pictures", "device": "cpu"}
SMALL_RESIDUAL = {"resolution": 8, "batch": 4, "latent": 6, "g_width": 4, "d_width": 4, "attention": 0}
SMALL_RESIDUAL |= {"condition": "none", "grid": "2x3", "data": "pictures", "device": "cpu"}
SMALL_TRANSGAN = {"g_width": 16, "g_blocks": "1,1", "d_width": 16, "d_blocks": 1, "heads": 2, "window": 4}
SMALL_STYLEGAN = {"w_dim": 6, "mapping_layers": 2}
SMALL_STYLEGAN3 = {"layers": 4, "margin": 2, "channel_base": 64, "channel_max": 4}
STARTS = {
    "train.pggan": flags(TRAINING),
    "train.dcgan": flags({**SMALL_DCGAN, "data": "pictures", "device": "cpu"}),
    "train.sngan": flags(SMALL_RESIDUAL),
    "train.biggan": flags(SMALL_RESIDUAL),
    "train.cyclegan": flags({**TRANSLATING, "a": "pictures"}),
    "train.vae_gan": flags({**SMALL_VAE_GAN, "data": "pictures", "device": "cpu"}),
    "train.began": flags({**SMALL_ENERGIES, "width": 4}),
    "train.ebgan": flags({**SMALL_ENERGIES, "g_width": 4, "d_width": 4}),
    "train.meg": flags({**SMALL_ENERGIES, "g_width": 4, "d_width": 4, "t_width": 4}),
    "train.transgan": flags({**SMALL_ENERGIES, **SMALL_TRANSGAN}),
    "train.r3gan": flags({**SMALL_ENERGIES, "width": 4, "group_width": 4}),
    "train.stylegan": flags({**SMALL_ENERGIES, **SMALL_STYLEGAN, "fmap_base": 32, "fmap_max": 4}),
    "train.stylegan2": flags({**SMALL_ENERGIES, **SMALL_STYLEGAN, "channel_base": 64, "channel_max": 4}),
    "train.stylegan3": flags({**SMALL_ENERGIES, **SMALL_STYLEGAN3}),
    "train.mixture": [],
    "train.semi_supervised": [],
    "train.studies.ablation": [],
    "train.studies.augmentation": ["--only", "DCGAN", "--seeds", "1"],
    "train.studies.divergences": ["--only", "minimax"],
    "train.studies.few_labels": ["--labels", "20"],
    "train.studies.infogan": ["--seeds", "1"],
    "train.studies.mode_collapse": ["--only", "baseline", "--seeds", "1"],
    "train.studies.networks": ["--only", "DCGAN"],
    "train.studies.objectives": ["--only", "non-saturating", "--seeds", "1"],
    "train.studies.translation": ["translations", "--out", "page.md"],
    "train.studies.reconstruction": ["autoencoder", "--held-out", "glyphs", "--images", "40", "--device", "cpu"],
    "train.generate": ["run"],
    "train.export": ["run"],
    "train.project": ["styled", "--image", "pictures/0.png"],
    "train.import_weights": ["weights.npz"],
    "train.evaluate": ["run", "--metrics", "swd", "--images", "10", "--resolution", "16"],
    "train.report": ["run"],
}
"""A start of each program that is in order and comes soon to its work."""
WRONG: dict[type, Sequence[str]] = {
    int: ("-1", "0", str(2**40), str(2**64)),
    float: ("-1", "0", "1e38", "1e39", "nan"),
    str: ("", "-1", "\udcff", "4:64,32", "99999999x99999999", "²x²", "4:1e38", 3000 * "a"),
    Path: ("", "missing/there", "file.txt", "file.txt/x", "folder", "\udcff", 300 * "x"),
    bool: ("maybe",),
}
"""By the type of an option."""


def wrong_values(kind: Any) -> Iterator[str]:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated or origin is tuple:
        yield from wrong_values(parts[0])
    elif origin in (typing.Union, types.UnionType):
        for part in parts:
            yield from wrong_values(part)
    elif origin is Literal:
        yield "unknown"
    else:
        yield from WRONG.get(kind, ())


def options() -> Iterator[tuple[str, str]]:
    """Each program with each of its options; one that several share, with the class that has it, in the first."""
    seen = set()
    for program in programs():
        for name, (owner, _) in options_of(program).items():
            if (owner, name) not in seen:
                seen.add((owner, name))
                yield program, name


def arguments(program: str, option: str, value: str) -> list[str]:
    kind = options_of(program)[option][1]
    if tyro.conf.Positional in getattr(kind, "__metadata__", ()):
        return [value, *STARTS[program][1:]]
    return [*STARTS[program], f"--{option.replace('_', '-')}={value}"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Working folder of the starts; programs end before what takes long."""
    place = tmp_path_factory.mktemp("options") / "here"
    furnish(place)
    decode = store._decode
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("XDG_CACHE_HOME", str(place.parent / "cache"))
        patch.setattr("train.data.load.GLYPHS", 40)
        patch.setattr(store, "_decode", lambda source, *a: decode(source, *a) if len(source) < 99 else accept())
        for work in WORK:
            patch.setattr(work, accept)
        yield place


def test_every_program_is_fuzzed():
    assert set(programs()) == set(STARTS)


@pytest.mark.parametrize("program", programs())
def test_a_start_that_is_in_order_is_accepted(place, program):
    assert attempt(program, STARTS[program], place) == "accepted"


@pytest.mark.parametrize(("program", "option"), list(options()))
def test_a_wrong_value_is_taken_or_refused_in_one_line(place, program, option):
    for value in wrong_values(options_of(program)[option][1]):
        try:
            attempt(program, arguments(program, option, value), place)
        except (AssertionError, Accepted):
            raise
        except Exception as error:
            raise AssertionError(f"{option}={value[:40]!r} ends in a traceback") from error


@pytest.mark.parametrize("word", ["", "x", "0.5", "1e30", "nan", "\udcff", "1" + 5000 * "0"])
def test_a_word_in_a_numbers_place_is_refused(place, word):
    assert "--latent" in attempt("train.pggan", [*STARTS["train.pggan"], f"--latent={word}"], place)


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("seed", "-1", "is less than 0"),
        ("seed", str(2**64), "is more than"),
        ("latent", str(2**40), "is more than"),
        ("fmap-max", "1000000", "GB"),
        ("batch", str(2**40), "GB"),
        ("grid", "99999x99999", "GB"),
        ("kimg", "nan", "is not a finite number"),
        ("resolution", str(2**40), "more than"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(place, option, value, reason):
    more = ["--fmap-base=1000000"] if option == "fmap-max" else []
    line = attempt("train.pggan", [*STARTS["train.pggan"], *more, f"--{option}={value}"], place)
    assert option.replace("-", "_") in line and reason in line


def test_data_whose_path_is_not_utf_8_is_trained_on(place):
    folder = place / "caf\udce9"
    folder.symlink_to("pictures")
    try:
        assert attempt("train.pggan", [*STARTS["train.pggan"], f"--data={folder}"], place) == "accepted"
    finally:
        folder.unlink()


@pytest.mark.parametrize(
    ("option", "values"),
    [
        (
            "loss",
            ("wgan-gp(", "wgan-gp(weight)", "wgan-gp(weight=1e39)", "wgan-gp(weight=nan)", "hinge()()", "()", "\0"),
        ),
        ("loss", ("lsgan(label_smoothing=2)", "wgan-gp(weight=1,weight=2)", "wgan-gp(penalty=1)", 999 * "wgan-gp(")),
        (
            "penalty",
            (",", "r1,,r2", "r1(every=0)", "r1(every=1e3)", f"r1(every={2**64})", "r1(gamma=-1)", "r1(at=fake)"),
        ),
        ("categorical", (",", "1", "10,", "-3", "1e3", "2²", "99999", "x")),
        ("optimizer", ("", "sgd", "adam, rmsprop", "rmsprop(alpha=2)", "rmsprop(alpha=nan)", "optimistic(lr=1)")),
    ],
)
def test_a_loss_that_cannot_be_read_is_refused(place, option, values):
    for value in values:
        line = attempt("train.pggan", [*STARTS["train.pggan"], f"--{option}={value}"], place)
        assert option in line, value
