"""A ``_C`` that would crash or compute something else is refused, in one line that ends with the command to run."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch

from gan_ops import BuildError, _extension

MENDS = "pip install --no-build-isolation --force-reinstall --no-deps"


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    """A copy of ``_C`` to spoil."""
    return Path(shutil.copy(_extension.find(), tmp_path))


@pytest.fixture
def csrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sources to change, in the place of the checkout's."""
    folder = shutil.copytree(_extension._CSRC, tmp_path / "csrc")
    monkeypatch.setattr(_extension, "_CSRC", folder)
    return folder


def refusal(path: Path) -> str:
    with pytest.raises(BuildError) as caught:
        _extension.check(path)
    message = str(caught.value)
    assert "\n" not in message and re.search(rf"in the checkout, run: {MENDS} (-e )?\.$", message)
    return message


def test_untouched_kernels_and_sources_pass(kernels: Path, csrc: Path) -> None:
    _extension.check(kernels)


def test_changed_source_is_refused(kernels: Path, csrc: Path) -> None:
    source = csrc / "cpu" / "pixel_norm.cpp"
    source.write_text(source.read_text() + "// changed\n")
    assert "other sources" in refusal(kernels)


def test_new_source_is_refused(kernels: Path, csrc: Path) -> None:
    (csrc / "cpu" / "new.h").touch()
    assert "other sources" in refusal(kernels)


def test_renamed_source_is_refused(kernels: Path, csrc: Path) -> None:
    (csrc / "cpu" / "pixel_norm.cpp").rename(csrc / "cpu" / "norm.cpp")
    assert "other sources" in refusal(kernels)


def test_files_that_are_not_compiled_do_not_matter(kernels: Path, csrc: Path) -> None:
    (csrc / "NOTES.md").write_text("of no effect")
    _extension.check(kernels)


def test_installed_package_without_sources_beside_it_passes(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_extension, "_CSRC", Path("no such folder"))
    _extension.check(kernels)


def test_kernels_for_another_torch_are_refused(kernels: Path) -> None:
    version = torch.__version__.split("+")[0]
    other = "9" + version[1:]
    mark = "gan_ops-build:torch={};"
    kernels.write_bytes(kernels.read_bytes().replace(mark.format(version).encode(), mark.format(other).encode()))
    assert f"built against torch {other}, but torch {version} is running" in refusal(kernels)


@pytest.mark.parametrize("content", [b"", b"not a library", b"\x7fELF", b"gan_ops-build:torch=;fingerprint=;"])
def test_file_that_is_no_build_of_ours_is_refused(kernels: Path, content: bytes) -> None:
    kernels.write_bytes(content)
    assert str(kernels) in refusal(kernels)


def test_another_librarys_file_is_refused(tmp_path: Path) -> None:
    other = Path(shutil.copy(torch._C.__file__, tmp_path))
    assert "is not a build of gan_ops" in refusal(other)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.9999])
def test_truncated_kernels_are_refused(kernels: Path, part: float) -> None:
    content = kernels.read_bytes()
    kernels.write_bytes(content[: int(part * len(content))])
    assert "is truncated" in refusal(kernels)


def test_damaged_kernels_that_pass_the_checks_are_refused_by_the_loader(
    kernels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray(kernels.read_bytes())
    content[4:16] = bytes(12)  # ELF's class, byte order and version
    kernels.write_bytes(content)
    monkeypatch.delitem(sys.modules, "gan_ops._C")
    monkeypatch.setattr(_extension, "find", lambda: kernels)
    with pytest.raises(BuildError, match=f"does not load: .* run: {MENDS}"):
        _extension.load()


def test_missing_kernels_are_an_error_that_says_how_to_build_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_extension, "_PACKAGE", tmp_path)
    monkeypatch.setattr(importlib.metadata, "distributions", lambda **_: [])
    with pytest.raises(BuildError, match=f"is not installed; in the checkout, run: {MENDS} \\.$"):
        _extension.find()


def test_kernels_beside_the_package_are_mended_in_place() -> None:
    """A plain install would leave them there, and they would be found first again."""
    beside, elsewhere = _extension._PACKAGE / "_C.so", Path("site-packages/gan_ops/_C.so")
    assert _extension.mend(beside).endswith(f"{MENDS} -e .")
    assert _extension.mend(elsewhere).endswith(f"{MENDS} .")
