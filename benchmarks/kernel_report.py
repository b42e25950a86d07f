"""``python -m benchmarks.kernel_report``: the GPU resources of every CUDA kernel, according to ptxas. No GPU is needed.

Compiles csrc/cuda/*.cu for all architectures that users have and prints registers per thread, static shared memory per
block and theoretical occupancy of each kernel. Fails and names the kernel if registers are spilled, an array lies in
local memory, registers exceed the launch bounds, or there are no launch bounds.

``--loads --architecture 9.0`` also prints how many instructions of each kernel read or write global and shared memory,
and how many bits each moves per thread. They are counted in the machine code, over all its branches together.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
ARCHITECTURES = ("7.5", "8.0", "8.6", "9.0", "10.0", "12.0")
"""As in setup.py's default, which tests/test_package_setup.py compares with this."""

FLAGS = ("-O3", "-std=c++20", "--extended-lambda", "-Xptxas", "-v,--warn-on-spills,--warn-on-local-memory-usage")


@dataclass(frozen=True)
class Multiprocessor:
    """Limits of an architecture's multiprocessor (CUDA C++ Programming Guide, technical specifications per compute
    capability) and how it allots shared memory (the toolkit's cuda_occupancy.h)."""

    warps: int
    blocks: int
    shared: int  # bytes
    shared_unit: int  # a block's share is a multiple of it
    shared_reserved: int  # of each block, by the system


REGISTERS = 65536  # of a multiprocessor of any of them
REGISTER_UNIT = 256  # a warp's share is a multiple of it
WARPS_PER_UNIT = 4  # a multiprocessor has four partitions with registers of their own
WARP = 32

MULTIPROCESSORS = {
    "7.5": Multiprocessor(warps=32, blocks=16, shared=64 << 10, shared_unit=256, shared_reserved=0),
    "8.0": Multiprocessor(warps=64, blocks=32, shared=164 << 10, shared_unit=128, shared_reserved=1024),
    "8.6": Multiprocessor(warps=48, blocks=16, shared=100 << 10, shared_unit=128, shared_reserved=1024),
    "9.0": Multiprocessor(warps=64, blocks=32, shared=228 << 10, shared_unit=128, shared_reserved=1024),
    "10.0": Multiprocessor(warps=64, blocks=32, shared=228 << 10, shared_unit=128, shared_reserved=1024),
    "12.0": Multiprocessor(warps=48, blocks=24, shared=100 << 10, shared_unit=128, shared_reserved=1024),
}


Accesses = Counter[tuple[str, int]]
"""How many instructions (LDG, STG: global memory, LDS, STS: shared, LDGSTS: from one to the other) of how many bits."""


@dataclass
class Kernel:
    """One kernel compiled for one architecture."""

    source: str
    name: str  # mangled
    architecture: str
    registers: int = 0
    shared: int = 0  # bytes
    stack: int = 0
    spills: int = 0
    threads: int | None = None  # of a block, from the launch bounds
    least_blocks: int = 1  # a multiprocessor, from there too
    accesses: Accesses = field(default_factory=Counter)  # if asked for

    def blocks(self) -> int:
        """How many blocks fit in a multiprocessor at once."""
        return blocks_that_fit(self.architecture, self.threads or WARP, self.registers, self.shared)

    def occupancy(self) -> float:
        """Warps that can be resident, as a share of those that a multiprocessor can have."""
        warps = -(-(self.threads or WARP) // WARP)
        return self.blocks() * warps / MULTIPROCESSORS[self.architecture].warps

    def defects(self) -> list[str]:
        found = []
        if self.spills:
            found.append(f"spills {self.spills} bytes of registers")
        elif self.stack:
            found.append(f"has {self.stack} bytes in local memory")
        if self.threads is None:
            found.append("has no __launch_bounds__")
        elif blocks_that_fit(self.architecture, self.threads, self.registers, shared=0) < self.least_blocks:
            found.append(f"has {self.registers} registers, too many for {self.least_blocks} × {self.threads} threads")
        return found


def blocks_that_fit(architecture: str, threads: int, registers: int, shared: int) -> int:
    """NVIDIA's occupancy calculation: blocks of ``threads`` with so many registers a thread and bytes a block."""
    limits = MULTIPROCESSORS[architecture]
    warps = -(-threads // WARP)
    of_warp = -(-registers * WARP // REGISTER_UNIT) * REGISTER_UNIT
    by_registers = REGISTERS // max(of_warp, 1) // WARPS_PER_UNIT * WARPS_PER_UNIT // warps
    of_block = -(-(shared + limits.shared_reserved) // limits.shared_unit) * limits.shared_unit
    by_shared = limits.shared // of_block if of_block else limits.blocks
    return min(limits.blocks, limits.warps // warps, by_registers, by_shared)


def parse_ptxas(source: str, text: str) -> list[Kernel]:
    """The kernels in what ``ptxas -v`` says of a file."""
    kernels: list[Kernel] = []
    for line in text.splitlines():
        if found := re.search(r"Compiling entry function '(\w+)' for 'sm_(\d+)(\d)a?'", line):
            kernels.append(Kernel(source, found[1], f"{found[2]}.{found[3]}"))
        elif found := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            # Of the kernel or of a function that it calls.
            kernels[-1].stack += int(found[1])
            kernels[-1].spills += int(found[2]) + int(found[3])
        elif found := re.search(r"Used (\d+) registers", line):
            kernels[-1].registers = int(found[1])
            shared = re.search(r"(\d+) bytes smem", line)
            kernels[-1].shared = int(shared[1]) if shared else 0
    return kernels


def parse_bounds(ptx: str) -> dict[str, tuple[int, int]]:
    """For each kernel of a PTX file that has launch bounds: the threads of a block, and the least blocks."""
    bounds = {}
    for name, head in re.findall(r"\.entry (\w+)\s*\((?:[^)]*)\)([^{]*)\{", ptx):
        threads = re.search(r"\.maxntid (\d+)(?:, (\d+), (\d+))?", head)
        blocks = re.search(r"\.minnctapersm (\d+)", head)
        if threads:
            x, y, z = (int(n or 1) for n in threads.groups())
            bounds[name] = (x * y * z, int(blocks[1]) if blocks else 1)
    return bounds


def parse_accesses(assembly: str) -> dict[str, Accesses]:
    """For each kernel of nvdisasm's text, its accesses to memory."""
    of_kernels: dict[str, Accesses] = {}
    for line in assembly.splitlines():
        if found := re.match(r"\.text\.(\w+):", line):
            accesses = of_kernels.setdefault(found[1], Counter())
        elif found := re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?\w+ )?\s*(LDGSTS|LDG|STG|LDS|STS)((?:\.\w+)*) ", line):
            bits = re.search(r"\.[US]?(8|16|64|128|256)(?![^.])", found[2])
            accesses[found[1], int(bits[1]) if bits else 32] += 1
    return of_kernels


class CompileError(Exception):
    """What nvcc said."""


def compile_file(nvcc: str, source: Path, architecture: str, nvdisasm: str | None = None) -> list[Kernel]:
    """The kernels of one file, compiled for one architecture; with their accesses if there is ``nvdisasm``."""
    number = architecture.replace(".", "")
    with tempfile.TemporaryDirectory() as folder:
        target = [f"-gencode=arch=compute_{number},code=sm_{number}", "--keep", "--keep-dir", folder]
        command = [nvcc, "-cubin", *FLAGS, *target, "-o", f"{folder}/kernels.cubin", str(source)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise CompileError(done.stdout + done.stderr)
        [ptx] = Path(folder).glob("*.ptx")
        bounds = parse_bounds(ptx.read_text())
        accesses = {}
        if nvdisasm is not None:
            command = [nvdisasm, "-c", f"{folder}/kernels.cubin"]
            accesses = parse_accesses(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    kernels = parse_ptxas(source.stem, done.stdout + done.stderr)
    for kernel in kernels:
        kernel.threads, kernel.least_blocks = bounds.get(kernel.name, (None, 1))
        kernel.accesses = accesses.get(kernel.name, Counter())
    return kernels


def find_nvcc() -> str | None:
    home = os.environ.get("CUDA_HOME")
    return str(Path(home, "bin", "nvcc")) if home else shutil.which("nvcc")


def find_nvdisasm(nvcc: str) -> str | None:
    """The toolkit's, or the one that comes with triton, which torch brings."""
    beside = shutil.which("nvdisasm", path=str(Path(nvcc).parent)) or shutil.which("nvdisasm")
    if beside is None and (triton := importlib.util.find_spec("triton")):
        beside = shutil.which("nvdisasm", path=str(Path(triton.origin).parent / "backends" / "nvidia" / "bin"))
    return beside


def readable(names: Iterable[str]) -> dict[str, str]:
    """Mangled names as one would write the kernel: without namespaces, arguments and return type."""
    names = sorted(set(names))
    if not names or not shutil.which("c++filt"):
        return {name: name for name in names}
    done = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    return dict(zip(names, map(shortened, done.stdout.splitlines()), strict=True))


def shortened(signature: str) -> str:
    text = signature.replace("(anonymous namespace)::", "")
    text = re.sub(r"\([\w:]+\)(?=\d)", "", text)  # casts of template arguments
    text = re.sub(r">\s+(?=>)", ">", re.sub(r"\b(gan_ops|cuda)::", "", text)).removeprefix("void ")
    text = text.replace("__nv_bfloat16", "bfloat16").replace("__half", "half")
    depth = 0
    for i, letter in enumerate(text):  # the arguments begin at the first bracket outside all < >
        depth += (letter == "<") - (letter == ">")
        if letter == "(" and depth == 0:
            return text[:i]
    return text


def table(kernels: Sequence[Kernel], names: dict[str, str]) -> str:
    """A line a kernel, a column an architecture: registers and occupancy."""
    architectures = sorted({k.architecture for k in kernels}, key=float)
    rows: dict[tuple[str, str], dict[str, Kernel]] = {}
    for kernel in kernels:
        rows.setdefault((kernel.source, names[kernel.name]), {})[kernel.architecture] = kernel
    lines = [f"{'threads':>7} {'shared':>6}  " + "  ".join(f"{a:>9}" for a in architectures) + "  kernel"]
    for (source, name), of in sorted(rows.items()):
        some = next(iter(of.values()))
        cells = [f"{of[a].registers:>4} {of[a].occupancy():>4.0%}" if a in of else "" for a in architectures]
        threads = "-" if some.threads is None else str(some.threads)
        shared = max(k.shared for k in of.values())
        lines.append(f"{threads:>7} {shared:>6}  " + "  ".join(f"{c:>9}" for c in cells) + f"  {source}: {name}")
    return "\n".join(lines)


def accesses_table(kernels: Sequence[Kernel], names: dict[str, str]) -> str:
    """A line a kernel and architecture: for each instruction, how many × bits."""
    lines = []
    for kernel in sorted(kernels, key=lambda k: (k.source, names[k.name], float(k.architecture))):
        of: dict[str, list[str]] = {}
        for (instruction, bits), count in sorted(kernel.accesses.items(), key=lambda a: (a[0][0], -a[0][1])):
            of.setdefault(instruction, []).append(f"{count}×{bits}")
        text = ", ".join(" ".join([instruction, *counts]) for instruction, counts in of.items())
        lines.append(f"{kernel.architecture:>4}  {kernel.source}: {names[kernel.name]}: {text or 'none'}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernel_report", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="CUDA files to compile (default: all of csrc/cuda)")
    parser.add_argument("--quiet", action="store_true", help="print no table")
    parser.add_argument("--loads", action="store_true", help="also print memory accesses (needs nvdisasm)")
    parser.add_argument(
        "--architecture",
        action="append",
        choices=ARCHITECTURES,
        help="compute capability (default: all); may be repeated",
    )
    options = parser.parse_args()
    architectures = options.architecture or ARCHITECTURES
    nvcc = find_nvcc()
    if nvcc is None:
        sys.exit("kernel_report needs nvcc: it is not on PATH, and CUDA_HOME is not set")
    nvdisasm = find_nvdisasm(nvcc) if options.loads else None
    if options.loads and nvdisasm is None:
        sys.exit("--loads needs nvdisasm: it is not in the folder of nvcc, on PATH or in triton")
    sources = options.files or sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
    try:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            tasks = [(nvcc, source, a, nvdisasm) for source in sources for a in architectures]
            of_files = list(pool.map(lambda task: compile_file(*task), tasks))
    except CompileError as error:
        sys.exit(str(error))
    kernels = [kernel for of_file in of_files for kernel in of_file]
    names = readable(kernel.name for kernel in kernels)
    if not options.quiet:
        print("Registers per thread and theoretical occupancy for each architecture; shared: bytes per block.")
        print(table(kernels, names))
    if options.loads:
        print("Instructions that read (LD) and write (ST) global (G) and shared (S) memory: how many × bits.")
        print(accesses_table(kernels, names))
    defects = [(kernel, defect) for kernel in kernels for defect in kernel.defects()]
    for kernel, defect in defects:
        print(f"{kernel.source}: {names[kernel.name]} {defect} on {kernel.architecture}")
    most = max(kernels, key=lambda kernel: kernel.registers)
    print(
        f"{len(kernels)} kernels for {len(architectures)} architectures, {len(defects)} defects; at most "
        f"{most.registers} registers ({most.source}: {names[most.name]} on {most.architecture})"
    )
    return 1 if defects else 0


if __name__ == "__main__":
    sys.exit(main())
