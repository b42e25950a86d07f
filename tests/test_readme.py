"""What the READMEs and CONTRIBUTING.md tell people to do exists and works."""

from __future__ import annotations

import dataclasses
import importlib
import re
from pathlib import Path

import pytest

pytest.importorskip("tyro")  # and what else programs need

from train import dcgan, pggan, r3gan, stylegan3
from train.run.options import RunOptions, parse_command_line

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
TRAINING = (ROOT / "docs" / "training.md").read_text()
TEXTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")]
TEXTS += sorted(ROOT.glob("docs/*.md"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


OPS, STEP = blocks("python")


def test_the_ops_example_runs_as_it_stands(capsys: pytest.CaptureFixture) -> None:
    exec(compile(OPS, "README.md", "exec"), {})
    assert capsys.readouterr().out == "torch.Size([64, 64, 3, 3])\n"


def test_the_step_example_trains_both_networks() -> None:
    names: dict = {}
    exec(compile(STEP, "README.md", "exec"), names)
    for network, adam in (("generator", "g_adam"), ("critic", "d_adam")):
        state = names[adam].state_dict()["state"]
        assert len(state) == len(list(names[network].parameters()))
        assert all(of["step"] == 10 and of["exp_avg"].any() for of in state.values())


@pytest.mark.parametrize(("example", "lines"), [(OPS, 8), (STEP, 16)])
def test_the_examples_are_short(example: str, lines: int) -> None:
    assert len([line for line in example.splitlines() if line]) == lines


TABLES = re.findall(r"^## (PGGAN|DCGAN|R3GAN|StyleGAN3|Techniques)\n(.*?)(?=^## )", TRAINING, re.MULTILINE | re.DOTALL)
PROGRAMS = {"PGGAN": [pggan.PRESETS], "DCGAN": [dcgan.PRESETS], "R3GAN": [r3gan.PRESETS]}
PROGRAMS["StyleGAN3"] = [stylegan3.PRESETS]
PROGRAMS["Techniques"] = PROGRAMS["PGGAN"] + PROGRAMS["DCGAN"]


@pytest.mark.parametrize(
    ("section", "option"),
    sorted({(section, option) for section, text in TABLES for option in re.findall(r"^\| (`--[^|]*) \|", text, re.M)}),
)
def test_an_option_that_the_page_on_training_explains_exists(section: str, option: str, capsys) -> None:
    for presets in PROGRAMS[section]:
        with pytest.raises(SystemExit):
            parse_command_line(presets, ["--help"], prog="p", description="")
        printed = capsys.readouterr().out
        for name in re.findall(r"`(--[a-z0-9-]+)", option):
            assert re.search(rf"{name}\b", printed)


@pytest.mark.parametrize("preset", sorted({*pggan.PRESETS, *dcgan.PRESETS, *r3gan.PRESETS, *stylegan3.PRESETS}))
def test_the_page_on_training_names_every_preset(preset: str) -> None:
    assert f"`{preset}`" in TRAINING


def options_of(program: str) -> set[str]:
    """The options of a program of ``train``, with dashes."""
    module = importlib.import_module(f"train.{program}")
    kinds = [module.Options] if hasattr(module, "Options") else [type(next(iter(module.PRESETS.values()))), RunOptions]
    names = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    return {f"--{name.replace('_', '-')}" for name in names} | ({"--class"} if "classes" in names else set())


STYLEGAN = (ROOT / "docs" / "stylegan.md").read_text()


def test_the_page_on_stylegan_has_the_options_that_there_are() -> None:
    table = STYLEGAN.partition("## Training")[2].partition("\n## ")[0]
    rows = [line.split("|")[2] for line in table.splitlines() if line.startswith("| `")]
    named = {option for row in rows for option in re.findall(r"--[a-z0-9-]+", row)} - {"--nproc-per-node"}
    assert len(rows) > 20 and len(named) > 25
    assert named <= options_of("stylegan2") | options_of("stylegan3")
    commands = re.findall(r"python -m train\.(\w+)([^\n|`#]*)", STYLEGAN)
    assert len(commands) > 8
    for program, words in commands:
        assert set(re.findall(r"(?<= )--[a-z0-9-]+", words)) <= options_of(program), program


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_files(text: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", text.read_text())
    assert [target for target in targets if not (text.parent / target).exists()] == []


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_make_targets_exist(text: Path) -> None:
    targets = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", text.read_text(), re.MULTILINE))
    rules = re.findall(r"^([a-z-]+(?: [a-z-]+)*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    known = {target for rule in rules for target in rule.split()}
    assert {one or other for one, other in targets} <= known
