"""Compiles kernel files as C++, with the sanitizers; what has not changed is not compiled again."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import chain
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "cuda_on_cpu"

EMULATOR = HERE / "emulator.cpp"
EXAMPLES = HERE / "examples.cu"
CUDA = ROOT / "csrc" / "cuda"
KERNELS = sorted(CUDA.glob("*.cu"))
GLUE = HERE / "glue"

FLAGS = ["-std=c++20", "-O1", "-g1", "-fPIC", "-Wno-unknown-pragmas", "-DGAN_OPS_MOST_BLOCKS=3"]
FLAGS += ["-DGAN_OPS_MANY_BLOCKS=4"]  # of csrc/cuda/minibatch_discrimination.cu
FLAGS += ["-DGAN_OPS_PAIR_BLOCKS=4"]  # of csrc/cuda/pair_distances.cu
FLAGS += ["-DGAN_OPS_FILTER_SHARED_BYTES=4096"]  # of csrc/cuda/filtered_lrelu.cu
FLAGS += [f"-I{HERE / 'include'}", "-iquote", str(CUDA)]  # the latter for files that lie elsewhere: in tests
# Of UndefinedBehaviorSanitizer, `bounds` and `object-size` watch shared memory, which AddressSanitizer does not.
SANITIZERS = ["-fsanitize=address,undefined,float-cast-overflow", "-fsanitize=bounds-strict"]
SANITIZERS += ["-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]


def compile_libraries(libraries: Iterable[Sequence[Path]]) -> list[Path]:
    """For the sources of each library, its shared object, which has the emulator too."""
    libraries = list(libraries)
    BUILD.mkdir(parents=True, exist_ok=True)
    sources = list({EMULATOR, *chain.from_iterable(libraries)})
    with ThreadPoolExecutor(max(2, len(os.sched_getaffinity(0)))) as pool:
        objects = dict(zip(sources, pool.map(_compile, sources), strict=True))
    return [_link([objects[source] for source in (*library, EMULATOR)]) for library in libraries]


def _compile(source: Path) -> Path:
    # The emulator switches stacks under the sanitizers' feet.
    arguments = [*FLAGS, *(SANITIZERS if source != EMULATOR else []), "-x", "c++", str(source)]
    everything = _gxx("-E", *arguments)  # the headers too
    return _made(f"{source.stem}.o", ["-c", *arguments], key=everything)


def _link(objects: Sequence[Path]) -> Path:
    # The names of the objects say what is in them.
    return _made("kernels.so", [*SANITIZERS, "-shared", "-Wl,-z,defs", *map(str, objects)], key="")


def _made(name: str, arguments: Sequence[str], key: str) -> Path:
    """What g++ makes of ``arguments``, under a name that says what it was made from."""
    text = "\n".join([_gxx("--version"), *arguments, key])
    path = BUILD / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}-{name}"
    if not path.exists():
        unfinished = path.with_suffix(f".{os.getpid()}")
        _gxx(*arguments, "-o", str(unfinished))
        unfinished.rename(path)
    return path


def _gxx(*arguments: str) -> str:
    done = subprocess.run(["g++", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"g++ {' '.join(arguments)} failed:\n{done.stderr}"
    return done.stdout


@cache
def sanitizer_libraries() -> str:
    """What must be loaded before all else in a process that is not sanitized itself."""
    # libstdc++ as well: AddressSanitizer looks its functions up when it starts, to see exceptions.
    paths = [_gxx(f"-print-file-name={name}").strip() for name in ("libasan.so", "libstdc++.so")]
    assert all(Path(path).is_absolute() for path in paths), f"g++ comes without its sanitizers' libraries: {paths}"
    return " ".join(paths)
