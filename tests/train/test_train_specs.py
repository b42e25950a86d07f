"""Choices with their values, read from the dataclasses that have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gan_ops.objectives import R1, R2, Dragan, Hinge, Minimax, Objective, Wasserstein, WassersteinGP
from train.base.errors import UsageError
from train.base.specs import listing, parse_spec, parse_specs


@dataclass(frozen=True)
class Everything:
    whole: int = 1
    broken: float = 0.5
    yes: bool = False
    size: Literal["small", "Large"] = "small"
    name: str = "x"


@dataclass(eq=False)
class Remembering(nn.Module, Objective):
    gamma: float = 0.5

    def __post_init__(self) -> None:
        super().__init__()


KINDS = {
    "minimax": Minimax(),
    "hinge": Hinge(),
    "wgan": Wasserstein(),
    "wgan-gp": WassersteinGP(),
    "karras": WassersteinGP(drift=0.001),
    "everything": Everything(),
    "remembering": Remembering(),
}
PENALTIES = {"r1": R1(), "r2": R2(), "dragan": Dragan()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hinge", Hinge()),
        ("wgan-gp", WassersteinGP()),
        ("wgan-gp()", WassersteinGP()),
        (" wgan-gp ( weight = 2 ,target=750) ", WassersteinGP(weight=2.0, target=750.0)),
        ("wgan-gp(drift=1e-3)", WassersteinGP(drift=0.001)),
        ("karras(weight=1)", WassersteinGP(weight=1.0, drift=0.001)),
        ("minimax(label-smoothing=0.1)", Minimax(0.1)),
        ("minimax(label_smoothing=.1)", Minimax(0.1)),
        ("everything(whole=-3, yes=True, size=Large, name=a b)", Everything(-3, yes=True, size="Large", name="a b")),
    ],
)
def test_a_name_with_values_is_the_default_with_these_values(text, expected):
    assert parse_spec(text, KINDS, "--loss") == expected


def test_values_have_the_types_of_their_fields():
    made = parse_spec("everything(broken=2, whole=2, yes=false)", KINDS, "--x")
    assert [type(value) for value in (made.broken, made.whole, made.yes)] == [float, int, bool]


def test_what_remembers_is_made_anew():
    assert parse_spec("remembering", KINDS, "--loss") is not KINDS["remembering"]
    assert parse_spec("remembering(gamma=0.7)", KINDS, "--loss").gamma == 0.7


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("  ", ()),
        ("r1", (R1(),)),
        ("r1(gamma=1), r2(gamma=1, every=16)", (R1(1.0), R2(1.0, every=16))),
        ("r1,dragan(noise=0.1,weight=1,every=2),r2()", (R1(), Dragan(weight=1.0, noise=0.1, every=2), R2())),
    ],
)
def test_lists_are_split_outside_brackets(text, expected):
    assert parse_specs(text, PENALTIES, "--penalty") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "wgan-pg",
            "--loss='wgan-pg': 'wgan-pg' is not one of minimax, hinge, wgan, wgan-gp, karras, everything,"
            " remembering; did you mean wgan-gp?",
        ),
        ("zzz", "'zzz' is not one of minimax, hinge, wgan, wgan-gp, karras, everything, remembering"),
        ("wgan-gp(wieght=1)", "wgan-gp has no 'wieght', only weight, target, drift"),
        ("hinge(margin=1)", "hinge has no 'margin', nor anything else to give"),
        ("wgan-gp(weight=much)", "weight='much' is not a number"),
        ("wgan-gp(weight=)", "weight='' is not a number"),
        ("wgan-gp(weight=nan)", "weight='nan' is not a finite number"),
        ("wgan-gp(weight=1e400)", "weight='1e400' is not a finite number"),
        ("wgan-gp(weight=1e39)", "weight='1e39' is beyond 3.4e+38, the largest number in float32"),
        ("everything(whole=1.5)", "whole='1.5' is not a whole number"),
        ("everything(yes=1)", "yes='1' is not true or false"),
        ("everything(size=large)", "size='large' is not one of 'small', 'Large'"),
        ("wgan-gp(weight=1, weight=1)", "weight is given twice"),
        ("minimax(label-smoothing=0, label_smoothing=0)", "label_smoothing is given twice"),
        ("wgan-gp(weight=-1)", "weight=-1.0 is not a finite number of at least 0"),
        ("minimax(label_smoothing=1)", "label_smoothing=1.0 must be at least 0 and below 1"),
        ("wgan-gp(750)", "'750' does not read like field=value"),
        ("wgan-gp(weight=1,)", "'' does not read like field=value"),
        *((text, "does not read like name or name(field=value, …)") for text in ("", "a b", "()", "wgan(", "wgan)")),
        *((text, "does not read like name or name(field=value, …)") for text in ("wgan(drift=(1))", "wgan()()", "=")),
    ],
)
def test_what_is_wrong_is_said_with_option_and_text(text, message):
    with pytest.raises(UsageError) as caught:
        parse_spec(text, KINDS, "--loss")
    said = str(caught.value)
    assert said.startswith(f"--loss={text!r}") and message in said and "\n" not in said


@pytest.mark.parametrize("text", ["r1,", ",r1", "r1,,r2", "r1(gamma=1", "r1(gamma=1, r2", "r1), r2", "r1 r2"])
def test_lists_with_gaps_or_open_brackets_are_refused(text):
    with pytest.raises(UsageError, match=r"^--penalty='.*' does not read like name"):
        parse_specs(text, PENALTIES, "--penalty")


def test_an_impossible_interval_is_refused():
    with pytest.raises(UsageError, match="every=0 is not a whole number of at least 1"):
        parse_specs("r1(every=0)", PENALTIES, "--penalty")


def test_the_listing_can_be_typed_again():
    assert listing(PENALTIES | {"wgan-gp": WassersteinGP()}) == (
        "r1(gamma=10, every=1), r2(gamma=10, every=1), dragan(weight=10, target=1, noise=0.5, every=1),"
        " wgan-gp(weight=10, target=1, drift=0)"
    )
    kinds = {name: kind for name, kind in KINDS.items() if name != "remembering"}
    assert parse_specs(listing(kinds), kinds, "--loss") == tuple(kinds.values())


ODD = st.lists(
    st.sampled_from([*"(),=-_ \n\0\ud800é९\\", *KINDS, "weight", "whole", "size", "name", "9" * 5000, "1e5", "nan"]),
    max_size=12,
).map("".join)


@given(ODD)
def test_odd_text_is_read_or_refused_in_one_line(text):
    for parse in (parse_spec, parse_specs):
        try:
            parse(text, KINDS, "--loss")
        except UsageError as error:
            assert str(error).isprintable()
