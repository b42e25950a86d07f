"""Builds gan_ops._C, the compiled ops. Everything else about the package is in pyproject.toml.

GAN_OPS_CUDA=1 makes a missing CUDA compiler an error, =0 leaves the CUDA kernels out; unset, they are built whenever
torch has CUDA and an nvcc of the same major version is found. No GPU is needed. TORCH_CUDA_ARCH_LIST chooses the
architectures. CFLAGS=-O1 compiles in half the time, for a build that is only tested.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import torch
from setuptools import setup
from torch.utils import cpp_extension

ROOT = Path(__file__).parent.resolve()
CSRC = ROOT / "csrc"
GENERATED = ROOT / "build" / "generated"
USUAL_TOOLKIT = Path("/usr/local/cuda")
ALONE = ("op.cpp", "registration.cpp")
"""Files of csrc that include headers which no family does."""
FAMILIES_IN_UNIT = 7
"""So that two cores compile for as short as they can, and sixteen not much longer than the slowest kernels take."""


def load_fingerprint():
    """gan_ops/_fingerprint.py alone: importing the package would want the extension that is being built."""
    spec = importlib.util.spec_from_file_location("_fingerprint", ROOT / "gan_ops" / "_fingerprint.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class NoToolkit(Exception):
    """Why there is no usable CUDA toolkit."""


def find_toolkit() -> tuple[Path, int]:
    """The toolkit's root folder and its version as 1000·major + 10·minor."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    nvcc = Path(home, "bin", "nvcc") if home else shutil.which("nvcc")
    if nvcc is None and (USUAL_TOOLKIT / "bin" / "nvcc").exists():
        nvcc = USUAL_TOOLKIT / "bin" / "nvcc"
    if nvcc is None:
        raise NoToolkit("nvcc is not on PATH and CUDA_HOME is not set")
    try:
        release = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
        # nvcc on PATH may be a wrapper script in another folder, so ask it instead of trusting where it lies.
        dry = subprocess.run([nvcc, "--dryrun", "-x", "cu", os.devnull], capture_output=True, text=True).stderr
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoToolkit(f"{nvcc} does not run: {error}") from error
    version = re.search(r"release (\d+)\.(\d+)", release)
    if version is None:
        raise NoToolkit(f"{nvcc} --version prints no release")
    top = re.search(r"^#\$ TOP=(.+)$", dry, re.MULTILINE)
    root = Path(home) if home else Path(top[1].strip()).resolve() if top else Path(nvcc).resolve().parent.parent
    return root, 1000 * int(version[1]) + 10 * int(version[2])


def default_architectures(toolkit: int) -> str:
    """What users have, for a build where no GPU is visible: Turing to Blackwell, as far as the toolkit knows them."""
    known = ["7.5", "8.0", "8.6", "9.0"]
    if toolkit >= 12080:
        known += ["10.0", "12.0"]
    return ";".join([*known[:-1], known[-1] + "+PTX"])


def choose_cuda() -> tuple[Path, int] | None:
    """The toolkit to build the CUDA kernels with, or None for the CPU only; exits when GAN_OPS_CUDA=1 can't be met."""
    wish = os.environ.get("GAN_OPS_CUDA", "")
    if wish not in ("", "0", "1"):
        sys.exit(f"GAN_OPS_CUDA must be 0 or 1, but is {wish!r}")
    if wish == "0":
        return None
    try:
        if torch.version.cuda is None:
            raise NoToolkit(f"torch {torch.__version__} is a build without CUDA")
        root, version = find_toolkit()
        if version // 1000 != int(torch.version.cuda.split(".")[0]):
            found = f"{version // 1000}.{version % 1000 // 10}"
            raise NoToolkit(f"nvcc is for CUDA {found}, but torch is built for CUDA {torch.version.cuda}")
    except NoToolkit as error:
        if wish == "1":
            sys.exit(f"GAN_OPS_CUDA=1, but {error}")
        print(f"gan_ops: building for the CPU only: {error}")
        return None
    return root, version


def write_build_facts(fingerprint: str, architectures: str) -> None:
    """A header with what registration.cpp reports (as flags, they would rebuild every file)."""
    text = f'#define GAN_OPS_FINGERPRINT "{fingerprint}"\n#define GAN_OPS_CUDA_ARCHITECTURES "{architectures}"\n'
    write_if_changed(GENERATED / "gan_ops_build_facts.h", text)


def write_if_changed(path: Path, text: str) -> None:
    """So that ninja compiles nothing anew without a reason."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def write_units() -> list[Path]:
    """Files that include some families' files each (csrc/<family>.cpp), to be compiled in their place.

    Reading torch's headers is most of what each of them costs, so they are read once for several.
    """
    families = sorted(path for path in CSRC.glob("*.cpp") if path.name not in ALONE)
    units = []
    for number, start in enumerate(range(0, len(families), FAMILIES_IN_UNIT), 1):
        unit = GENERATED / f"families_{number}.cpp"
        included = families[start : start + FAMILIES_IN_UNIT]
        write_if_changed(unit, "".join(f'#include "../../{path.relative_to(ROOT).as_posix()}"\n' for path in included))
        units.append(unit)
    return units


def make_extension() -> cpp_extension.CppExtension:
    fingerprint = load_fingerprint()
    toolkit = choose_cuda()
    sources = sorted((CSRC / "cpu").glob("*.cpp")) + write_units() + [CSRC / name for name in ALONE]
    # No NaN is assumed away; the two flags only say that nobody reads errno or floating-point traps, which lets loops
    # vectorise.
    # What is given here wins over CFLAGS. There -O2 is often no more than the system's default, a lower level is meant.
    level = [] if re.search(r"-O[01g]\b", os.environ.get("CFLAGS", "")) else ["-O3"]
    cxx = [*level, "-std=c++20", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden", "-g0"]
    if toolkit is None:
        write_build_facts(fingerprint.fingerprint(CSRC), "none")
        return cpp_extension.CppExtension(
            "gan_ops._C",
            [str(path.relative_to(ROOT)) for path in sources],
            include_dirs=[str(GENERATED)],
            extra_compile_args={"cxx": cxx},
            extra_link_args=["-fopenmp"],
        )
    root, version = toolkit
    os.environ["CUDA_HOME"] = str(root)
    cpp_extension.CUDA_HOME = str(root)  # torch set it at import, from the folder that nvcc lies in
    if not os.environ.get("TORCH_CUDA_ARCH_LIST"):
        if torch.cuda.is_available():
            seen = sorted({torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())})
            os.environ["TORCH_CUDA_ARCH_LIST"] = ";".join(f"{major}.{minor}" for major, minor in seen)
        else:
            os.environ["TORCH_CUDA_ARCH_LIST"] = default_architectures(version)
    architectures = os.environ["TORCH_CUDA_ARCH_LIST"].replace(" ", ";")
    print(f"gan_ops: building for the CPU and for CUDA {architectures} with the toolkit in {root}")
    write_build_facts(fingerprint.fingerprint(CSRC), architectures)
    sources += sorted((CSRC / "cuda").glob("*.cu"))
    return cpp_extension.CUDAExtension(
        "gan_ops._C",
        [str(path.relative_to(ROOT)) for path in sources],
        include_dirs=[str(GENERATED)],
        define_macros=[("GAN_OPS_WITH_CUDA", "1")],
        extra_compile_args={"cxx": cxx, "nvcc": ["-O3", "-std=c++20", "--extended-lambda"]},
        extra_link_args=["-fopenmp"],
    )


def missing_tools() -> list[str]:
    """What compiling needs and this machine lacks, each with what mends it."""
    missing = []
    compiler = shlex.split(cpp_extension.get_cxx_compiler())[0]
    if shutil.which(compiler) is None:
        mend = "install one (Debian and Ubuntu: apt install g++; Fedora: dnf install gcc-c++) or name yours in CXX"
        missing.append(f"a C++ compiler ({compiler} is not on PATH): {mend}")
    include = sysconfig.get_path("include")
    if not Path(include, "Python.h").exists():
        mend = "install them (Debian and Ubuntu: apt install python3-dev; Fedora: dnf install python3-devel)"
        missing.append(f"Python's headers (there is no {include}/Python.h): {mend}")
    if shutil.which("ninja") is None:
        missing.append("ninja: pip install ninja")
    return missing


class Build(cpp_extension.BuildExtension):
    """torch's own, which says in a line what is missing before anything is compiled."""

    def __init__(self, *args, **kwargs):
        if shutil.which("ninja") is None:  # in a virtual environment that is not activated it lies beside Python
            os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)])
        super().__init__(*args, **kwargs)

    def build_extensions(self) -> None:
        if missing := missing_tools():
            sys.exit(f"error: building gan_ops needs {'; and '.join(missing)}")
        super().build_extensions()

    def build_extension(self, extension) -> None:
        """With the files that take longest first, or one core would be left with them at the end: those that include
        several, then the others by their sizes. setuptools has them in the order of their names."""
        compile_all, included = self.compiler.compile, str(GENERATED.relative_to(ROOT))

        def compile_longest_first(sources: list[str], *args, **kwargs) -> list[str]:
            by_time = sorted(sources, key=lambda path: (not path.startswith(included), -Path(path).stat().st_size))
            return compile_all(by_time, *args, **kwargs)

        self.compiler.compile = compile_longest_first
        super().build_extension(extension)


if __name__ == "__main__":
    setup(
        ext_modules=[make_extension()],
        cmdclass={"build_ext": Build.with_options(use_ninja=True)},
        # The extension loads in the torch it was built against and in no other.
        install_requires=[f"torch=={torch.__version__.split('+')[0]}", "numpy"],
    )
