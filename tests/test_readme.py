"""What the READMEs and CONTRIBUTING.md tell people to do exists and works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("tyro")  # and what else programs need

from train.config import parse_command_line
from train.pggan_config import PRESETS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
TEXTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")]
TEXTS += sorted(ROOT.glob("docs/*.md"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_ops_example_runs_as_it_stands(capsys: pytest.CaptureFixture) -> None:
    (example,) = blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out == "torch.Size([64, 64, 3, 3])\n"


def test_the_ops_example_has_eight_lines() -> None:
    (example,) = blocks("python")
    assert len([line for line in example.splitlines() if line]) == 8


@pytest.mark.parametrize(
    "option", sorted(set(re.findall(r"`(--[a-z-]+)", README.split("## Training")[1].split("##")[0])))
)
def test_an_option_that_the_readme_explains_exists(option: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        parse_command_line(PRESETS, ["--help"], prog="p", description="")
    assert re.search(rf"{option}\b", capsys.readouterr().out)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_readme_names_every_preset(preset: str) -> None:
    assert f"`{preset}`" in README


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
