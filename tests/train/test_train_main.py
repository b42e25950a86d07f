"""``python -m train``: what it lists, what it starts, and what it suggests."""

from __future__ import annotations

import json

import pytest

from train import __main__ as program
from train.run.system import catalogue, system

from .fuzzing import programs
from .runs import error_of


def test_every_program_is_listed_with_a_line_and_every_system_with_its_paper(capsys) -> None:
    assert program.main([]) == 0
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.startswith("  "))
    assert set(listed) == {name.removeprefix("train.") for name in programs()}
    for entry in catalogue():
        assert listed[entry.name] == entry.line and "arXiv" in entry.line


def test_help_is_the_list(capsys) -> None:
    texts = []
    for args in ([], ["--help"], ["-h"]):
        assert program.main(args) == 0
        texts.append(capsys.readouterr().out)
    assert len(set(texts)) == 1 and "Karras et al. 2018, arXiv 1710.10196" in texts[0]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("pgan", "did you mean pggan?"),
        ("DCGAN", "python -m train lists them all"),
        ("genrate", "did you mean generate?"),
        ("ablation", "did you mean studies.ablation?"),
        ("few_labels", "did you mean studies.few_labels?"),
        ("xyz", "python -m train lists them all"),
        ("--dry-run", "python -m train lists them all"),
    ],
)
def test_an_unknown_name_is_one_line_with_the_nearest_one(name: str, hint: str, capsys) -> None:
    assert error_of(program.main, [name], capsys) == f"error: there is no program {name!r} ({hint})"


def test_a_program_is_started_with_its_options(run_python, tmp_path) -> None:
    """And ends as it would end by itself."""
    result = run_python("-m", "train", "pggan", "--dry-run", "--seed", "5")
    assert result.returncode == 0, result.stderr
    options, _ = json.JSONDecoder().raw_decode(result.stdout)
    assert options["seed"] == 5 and options["loss"] == "wgan-gp"
    result = run_python("-m", "train", "pggan", "--sed", "5")
    assert result.returncode == 2
    assert result.stderr.splitlines() == ["error: unknown option --sed (did you mean --seed?)"]


def test_a_system_is_found_by_its_name() -> None:
    assert system("pggan").name == "pggan" and system("pggan").program == "python -m train.pggan"
