"""The rooms of train/: who may import whom, and how long a file may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("base", "data", "engine", "measure", "run", "gan", "studies")
"""Each may import those before it; systems and tools, at the top of train/, all of them."""
FILES = sorted([*(ROOT / "train").rglob("*.py"), *(ROOT / "models").rglob("*.py")])
LONGEST = 300


def room_of(path: Path) -> str | None:
    """None for what lies at the top of train/."""
    parts = path.relative_to(ROOT / "train").parts
    return parts[0] if len(parts) > 1 else None


def imported(path: Path) -> Iterator[str]:
    """Modules that a file imports, wherever in it; names of what is imported from a package count as its modules."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*start, *([node.module] if node.module else [])])
            yield from (f"{module}.{name.name}" for name in node.names)


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def of_train(path: Path) -> Iterator[Path]:
    """The files and folders of train/ that a file imports."""
    for name in imported(path):
        module = name if is_module(name) else name.rpartition(".")[0]
        if module.split(".")[0] == "train" and module != "train" and is_module(module):
            found = ROOT.joinpath(*module.split("."))
            yield found / "__init__.py" if found.is_dir() else found.with_suffix(".py")


def test_every_folder_is_a_room_in_the_list() -> None:
    folders = {path.name for path in (ROOT / "train").iterdir() if (path / "__init__.py").exists()}
    assert folders == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_those_below_it(room: str) -> None:
    wrong = []
    for path in (ROOT / "train" / room).rglob("*.py"):
        for other in of_train(path):
            theirs = room_of(other)
            if room == "studies" and theirs is None:
                continue  # a study trains systems
            if theirs is None or ROOMS.index(theirs) > ROOMS.index(room):
                wrong.append(f"{path.relative_to(ROOT)} imports {other.relative_to(ROOT)}")
    assert wrong == []


def test_the_engine_knows_no_networks() -> None:
    for path in (ROOT / "train" / "engine").rglob("*.py"):
        assert not [name for name in imported(path) if name.split(".")[0] == "models"], path


def test_networks_know_nothing_of_training() -> None:
    for path in (ROOT / "models").rglob("*.py"):
        assert not [name for name in imported(path) if name.split(".")[0] == "train"], path


def test_the_engine_needs_no_more_packages_than_the_kernels(run_python) -> None:
    missing = "import sys\nfor name in ('PIL', 'tqdm', 'tyro'): sys.modules[name] = None\n"
    result = run_python("-c", missing + "import train.engine.trainer, train.gan.game")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_is_longer_than_a_few_screens(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST
