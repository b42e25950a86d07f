"""setup.py's choices: which toolkit, which architectures, what GAN_OPS_CUDA may say, and what it says is missing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest
import torch
from setuptools import Distribution

from benchmarks import kernel_report

ROOT = Path(__file__).parent.parent


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """setup.py, imported without building anything, in a torch for CUDA 13.0 and with no toolkit in sight."""
    spec = importlib.util.spec_from_file_location("gan_ops_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("GAN_OPS_CUDA", "CUDA_HOME", "CUDA_PATH", "CXX", "TORCH_CUDA_ARCH_LIST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(module, "USUAL_TOOLKIT", Path("no such folder"))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    return module


@pytest.mark.parametrize(("flags", "level"), [("", "-O3"), ("-O2 -g", "-O3"), ("-O1", None), ("-Og -g", None)])
def test_a_low_level_of_optimisation_in_cflags_is_heeded(setup, monkeypatch, flags, level) -> None:
    monkeypatch.setenv("CFLAGS", flags)
    monkeypatch.setenv("GAN_OPS_CUDA", "0")
    given = setup.make_extension().extra_compile_args["cxx"]
    assert [flag for flag in given if flag.startswith("-O")] == ([level] if level else [])


@pytest.fixture
def install_nvcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """``install_nvcc("13.0")``: puts a wrapper script on PATH, and returns the toolkit's root, which lies elsewhere."""

    def install(release: str) -> Path:
        root, wrapper = tmp_path / "toolkit", tmp_path / "wrappers" / "nvcc"
        (root / "bin").mkdir(parents=True)
        wrapper.parent.mkdir()
        wrapper.write_text(
            "#!/bin/sh\n"
            f'case "$1" in --version) echo "Cuda compilation tools, release {release}, V{release}.88";;\n'
            f'*) echo "#$ _HERE_={root}/bin" >&2; echo "#$ TOP={root}/bin/.." >&2;; esac\n'
        )
        wrapper.chmod(0o755)
        monkeypatch.setenv("PATH", str(wrapper.parent))
        return root

    return install


@pytest.mark.parametrize("wish", ["banana", "2", "yes"])
def test_unknown_wish_is_refused(setup: ModuleType, monkeypatch: pytest.MonkeyPatch, wish: str) -> None:
    monkeypatch.setenv("GAN_OPS_CUDA", wish)
    with pytest.raises(SystemExit, match=f"GAN_OPS_CUDA must be 0 or 1, but is '{wish}'"):
        setup.choose_cuda()


def test_without_nvcc_the_cpu_kernels_are_built_and_the_reason_said(setup: ModuleType, capsys) -> None:
    assert setup.choose_cuda() is None
    assert "for the CPU only: nvcc is not on PATH and CUDA_HOME is not set" in capsys.readouterr().out


def test_cuda_asked_for_without_nvcc_is_an_error(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAN_OPS_CUDA", "1")
    with pytest.raises(SystemExit, match="GAN_OPS_CUDA=1, but nvcc is not on PATH and CUDA_HOME is not set"):
        setup.choose_cuda()


def test_cuda_asked_for_in_a_torch_without_cuda_is_an_error(
    setup: ModuleType, install_nvcc, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_nvcc("13.0")
    monkeypatch.setenv("GAN_OPS_CUDA", "1")
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(SystemExit, match=r"GAN_OPS_CUDA=1, but torch .* is a build without CUDA"):
        setup.choose_cuda()


def test_cuda_home_without_a_compiler_is_named(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAN_OPS_CUDA", "1")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    with pytest.raises(SystemExit, match=f"{tmp_path}/bin/nvcc does not run"):
        setup.choose_cuda()


def test_cuda_can_be_left_out(setup: ModuleType, install_nvcc, monkeypatch: pytest.MonkeyPatch) -> None:
    install_nvcc("13.0")
    monkeypatch.setenv("GAN_OPS_CUDA", "0")
    assert setup.choose_cuda() is None


def test_toolkit_is_found_through_a_wrapper_script(setup: ModuleType, install_nvcc) -> None:
    root = install_nvcc("13.2")
    assert setup.choose_cuda() == (root, 13020)


def test_cuda_home_comes_before_path(
    setup: ModuleType, install_nvcc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_nvcc("13.2")
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    os.symlink(tmp_path / "wrappers" / "nvcc", home / "bin" / "nvcc")
    monkeypatch.setenv("CUDA_HOME", str(home))
    assert setup.choose_cuda() == (home, 13020)


def test_toolkit_of_another_major_version_is_not_used(setup: ModuleType, install_nvcc, capsys) -> None:
    install_nvcc("12.8")
    assert setup.choose_cuda() is None
    assert "for the CPU only: nvcc is for CUDA 12.8, but torch is built for CUDA 13.0" in capsys.readouterr().out


def test_toolkit_of_another_major_version_is_an_error_when_cuda_is_asked_for(
    setup: ModuleType, install_nvcc, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_nvcc("12.8")
    monkeypatch.setenv("GAN_OPS_CUDA", "1")
    with pytest.raises(SystemExit, match=r"GAN_OPS_CUDA=1, but nvcc is for CUDA 12\.8"):
        setup.choose_cuda()


@pytest.mark.parametrize(
    ("toolkit", "architectures"),
    [
        (12000, "7.5;8.0;8.6;9.0+PTX"),
        (12060, "7.5;8.0;8.6;9.0+PTX"),
        (12080, "7.5;8.0;8.6;9.0;10.0;12.0+PTX"),
        (13000, "7.5;8.0;8.6;9.0;10.0;12.0+PTX"),
    ],
)
def test_default_architectures_are_those_the_toolkit_knows(setup: ModuleType, toolkit: int, architectures: str) -> None:
    assert setup.default_architectures(toolkit) == architectures


def test_the_kernel_report_looks_at_the_default_architectures(setup: ModuleType) -> None:
    assert setup.default_architectures(13000).removesuffix("+PTX").split(";") == list(kernel_report.ARCHITECTURES)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """``install("c++", "ninja")``: puts programs of these names, and no others, on PATH."""

    def make(*names: str) -> Path:
        folder = tmp_path / "programs"
        folder.mkdir()
        for name in names:
            (folder / name).write_text("#!/bin/sh\n")
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        return folder

    return make


@pytest.fixture
def headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Python.h, where this Python looks for it."""
    folder = tmp_path / "include"
    folder.mkdir()
    (folder / "Python.h").touch()
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(folder))
    return folder / "Python.h"


def test_nothing_is_missing_where_all_is_there(setup: ModuleType, install, headers: Path) -> None:
    install("c++", "ninja")
    assert setup.missing_tools() == []


def test_a_missing_compiler_is_named_with_what_mends_it(setup: ModuleType, install, headers: Path) -> None:
    install("ninja")
    (line,) = setup.missing_tools()
    assert line.startswith("a C++ compiler (c++ is not on PATH): install one (Debian and Ubuntu: apt install g++;")


@pytest.mark.parametrize(("compiler", "wanted"), [("g++-13", "g++-13"), ("ccache g++", "ccache")])
def test_the_compiler_is_the_one_that_cxx_names(
    setup: ModuleType, install, headers: Path, monkeypatch: pytest.MonkeyPatch, compiler: str, wanted: str
) -> None:
    programs = install("c++", "ninja")
    monkeypatch.setenv("CXX", compiler)
    (line,) = setup.missing_tools()
    assert line.startswith(f"a C++ compiler ({wanted} is not on PATH)")
    (programs / "c++").rename(programs / wanted)
    assert setup.missing_tools() == []


def test_missing_headers_are_named_with_what_mends_it(setup: ModuleType, install, headers: Path) -> None:
    install("c++", "ninja")
    headers.unlink()
    (line,) = setup.missing_tools()
    assert line.startswith(f"Python's headers (there is no {headers}): install them (Debian and Ubuntu: apt install")


def test_missing_ninja_is_named_with_what_mends_it(setup: ModuleType, install, headers: Path) -> None:
    install("c++")
    assert setup.missing_tools() == ["ninja: pip install ninja"]


def test_a_build_that_cannot_be_done_ends_in_a_line_before_it_begins(
    setup: ModuleType, install, headers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = install()
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    headers.unlink()
    with pytest.raises(SystemExit) as stop:
        setup.Build(Distribution()).build_extensions()
    line = str(stop.value)
    assert line.startswith("error: building gan_ops needs a C++ compiler")
    assert "; and Python's headers" in line and line.endswith("; and ninja: pip install ninja")
    assert "\n" not in line


def test_ninja_is_found_beside_python_where_the_environment_is_not_activated(
    setup: ModuleType, install, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = install("ninja")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    setup.Build(Distribution())
    assert shutil.which("ninja") == str(folder / "ninja")
