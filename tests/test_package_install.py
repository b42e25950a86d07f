"""A plain install serves the checkout, an editable one is used where it lies; the wheel holds gan_ops and no more."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

import gan_ops
from gan_ops import _extension

ROOT = Path(__file__).parent.parent
WHERE = "import gan_ops, torch; gan_ops.pixel_norm(torch.ones(2, 3)); print(gan_ops._extension.load().__file__)"


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a fresh clone holds: no ``_C`` beside gan_ops."""
    folder = tmp_path_factory.mktemp("checkout")
    built = shutil.ignore_patterns("_C.*", "__pycache__")
    for name in ("csrc", "gan_ops", "models", "train", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=built)
    for name in ("setup.py", "pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, folder)
    return folder


# setup.py as it is, but for the compiler: that has run to build the environment's own _C, and takes a minute.
BUILD_WITHOUT_COMPILING = """
import pathlib, runpy, shutil, sys
from torch.utils import cpp_extension

kernels, *sys.argv[1:] = sys.argv[1:]

class CopyExtension(cpp_extension.BuildExtension):
    def build_extensions(self):
        (extension,) = self.extensions
        target = pathlib.Path(self.get_ext_fullpath(extension.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(kernels, target)

cpp_extension.BuildExtension = CopyExtension
runpy.run_path("setup.py", run_name="__main__")
"""


@pytest.fixture(scope="session")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory, run_python) -> Path:
    """Built in the checkout, where that leaves folders of its own, as pip does."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [_extension.find(), "bdist_wheel", "--dist-dir", folder]
    built = run_python("-c", BUILD_WITHOUT_COMPILING, *command, cwd=checkout, GAN_OPS_CUDA="0")
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory, run_python) -> Path:
    """A folder for PYTHONPATH that the wheel is installed in."""
    folder = tmp_path_factory.mktemp("site")
    done = run_python("-m", "pip", "install", "--no-deps", "--no-index", "--target", folder, wheel)
    assert done.returncode == 0, done.stderr
    return folder


def test_wheel_holds_gan_ops_whole_and_nothing_else(wheel: Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "gan_ops").rglob("*.py")}
    assert packed == sources | {f"gan_ops/{_extension.find().name}"}


def test_wheel_wants_the_torch_that_it_was_built_against(installed: Path) -> None:
    metadata = importlib.metadata.Distribution.at(next(installed.glob("*.dist-info"))).metadata
    assert f"torch=={torch.__version__.split('+')[0]}" in metadata.get_all("Requires-Dist")


def test_wheel_says_licence_python_and_extras(installed: Path) -> None:
    metadata = importlib.metadata.Distribution.at(next(installed.glob("*.dist-info"))).metadata
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Requires-Python"] == ">=3.10"
    assert {"train", "test"} <= set(metadata.get_all("Provides-Extra"))


def test_version_is_the_same_in_code_and_metadata(installed: Path) -> None:
    metadata = importlib.metadata.Distribution.at(next(installed.glob("*.dist-info"))).metadata
    assert metadata["Version"] == gan_ops.__version__


def test_checkout_finds_the_kernels_of_a_plain_install(checkout: Path, installed: Path, run_python) -> None:
    assert not list(checkout.glob("gan_ops/_C.*"))
    result = run_python("-c", f"{WHERE}; print(gan_ops.__file__)", cwd=checkout, PYTHONPATH=installed)
    kernels, package = map(Path, result.stdout.split())
    assert kernels.parent == installed / "gan_ops" and package.parent == checkout / "gan_ops"


def test_trainer_runs_from_the_checkout_after_a_plain_install(checkout: Path, installed: Path, run_python) -> None:
    pytest.importorskip("tyro")  # and what else programs need
    result = run_python("-m", "train.pggan", "--dry-run", cwd=checkout, PYTHONPATH=installed)
    assert result.returncode == 0, result.stderr


def test_plain_install_works_away_from_the_checkout(installed: Path, tmp_path: Path, run_python) -> None:
    result = run_python("-c", f"{WHERE}; print(gan_ops.__file__)", cwd=tmp_path, PYTHONPATH=installed)
    assert {Path(line).parent for line in result.stdout.split()} == {installed / "gan_ops"}


def test_kernels_beside_the_package_come_first(checkout: Path, installed: Path, tmp_path: Path, run_python) -> None:
    """As after ``pip install -e .``, whatever else is installed."""
    editable = tmp_path / "editable"
    shutil.copytree(checkout / "gan_ops", editable / "gan_ops")
    shutil.copytree(checkout / "csrc", editable / "csrc")
    (kernels,) = installed.glob("gan_ops/_C.*")
    shutil.copy(kernels, editable / "gan_ops")
    result = run_python("-c", WHERE, cwd=editable, PYTHONPATH=installed)
    assert Path(result.stdout.strip()) == editable / "gan_ops" / kernels.name


def test_this_editable_install_runs_the_kernels_in_the_checkout() -> None:
    """``make test`` runs on an editable install."""
    origins = [d.read_text("direct_url.json") for d in importlib.metadata.distributions(name="gan_ops")]
    if not any(json.loads(origin).get("dir_info", {}).get("editable") for origin in origins if origin):
        pytest.skip("gan_ops is not installed as editable here")
    assert Path(_extension.load().__file__).parent == ROOT / "gan_ops"


def test_checkout_refuses_an_install_from_other_sources(
    checkout: Path, installed: Path, tmp_path: Path, run_python
) -> None:
    moved_on = tmp_path / "moved_on"
    shutil.copytree(checkout / "gan_ops", moved_on / "gan_ops")
    shutil.copytree(checkout / "csrc", moved_on / "csrc")
    with (moved_on / "csrc" / "registration.cpp").open("a") as source:
        source.write("// another commit\n")
    result = run_python("-c", "import gan_ops", cwd=moved_on, PYTHONPATH=installed)
    *_, last = result.stderr.splitlines()
    assert result.returncode == 1
    assert re.match(r"gan_ops\._extension\.BuildError: .*was built from other sources.*run: pip install ", last)
