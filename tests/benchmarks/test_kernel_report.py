"""The report on the CUDA kernels: what ptxas says is read, occupancy is NVIDIA's, and defects are named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import kernel_report
from benchmarks.kernel_report import ARCHITECTURES, Kernel, blocks_that_fit, compile_file, parse_bounds, parse_ptxas

NVCC = kernel_report.find_nvcc()
needs_nvcc = pytest.mark.skipif(NVCC is None, reason="there is no nvcc on PATH or in CUDA_HOME")

SAID = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z5firstPf' for 'sm_75'
ptxas info    : Function properties for _Z5firstPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 38 registers, used 1 barriers, 4096 bytes smem, 440 bytes cmem[0]
ptxas info    : Compile time = 51.778 ms
ptxas info    : Compiling entry function '_Z6secondPf' for 'sm_100'
ptxas warning : Local memory used for function '_Z6secondPf', size of stack frame: 16 bytes
ptxas info    : Function properties for _Z6secondPf
    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 128 registers, used 0 barriers, 16 bytes cumulative stack size
"""

PTX = """
.visible .entry _Z5firstPf(
    .param .u64 .ptr .align 1 _Z5firstPf_param_0
)
.maxntid 16, 16, 1
.minnctapersm 2
{
    ret;
}
.visible .entry _Z6secondPf(
    .param .u64 .ptr .align 1 _Z6secondPf_param_0
)
{
    ret;
}
"""


def test_ptxas_is_read() -> None:
    first, second = parse_ptxas("some", SAID)
    assert first == Kernel("some", "_Z5firstPf", "7.5", registers=38, shared=4096)
    assert second == Kernel("some", "_Z6secondPf", "10.0", registers=128, stack=16, spills=20)


def test_launch_bounds_are_read_from_ptx() -> None:
    assert parse_bounds(PTX) == {"_Z5firstPf": (256, 2)}


# (registers, threads, static shared bytes) → blocks a multiprocessor, computed with the toolkit's own cuda_occupancy.h.
BLOCKS = {
    (32, 256, 0): (4, 8, 6, 8, 8, 6),
    (40, 256, 1024): (4, 6, 6, 6, 6, 6),
    (64, 256, 8192): (4, 4, 4, 4, 4, 4),
    (98, 256, 24576): (2, 2, 2, 2, 2, 2),
    (255, 256, 0): (1, 1, 1, 1, 1, 1),
    (32, 128, 48000): (1, 3, 2, 4, 4, 2),
    (40, 1024, 0): (1, 1, 1, 1, 1, 1),
    (72, 192, 100): (4, 4, 4, 4, 4, 4),
    (16, 32, 0): (16, 32, 16, 32, 32, 24),
}


@pytest.mark.parametrize(("registers", "threads", "shared"), BLOCKS)
def test_occupancy_is_what_nvidias_calculation_gives(registers: int, threads: int, shared: int) -> None:
    found = tuple(blocks_that_fit(a, threads, registers, shared) for a in ARCHITECTURES)
    assert found == BLOCKS[registers, threads, shared]


def test_occupancy_is_a_share_of_the_warps() -> None:
    kernel = Kernel("some", "some", "8.6", registers=64, threads=256)
    assert kernel.occupancy() == pytest.approx(4 * 8 / 48)


@pytest.mark.parametrize(
    ("kernel", "defect"),
    [
        (Kernel("f", "k", "9.0", registers=40, threads=256, spills=8, stack=8), "spills 8 bytes of registers"),
        (Kernel("f", "k", "9.0", registers=40, threads=256, stack=64), "has 64 bytes in local memory"),
        (Kernel("f", "k", "9.0", registers=40), "has no __launch_bounds__"),
        (
            Kernel("f", "k", "9.0", registers=140, threads=256, least_blocks=2),
            "has 140 registers, too many for 2 × 256 threads",
        ),
    ],
)
def test_a_defect_is_named(kernel: Kernel, defect: str) -> None:
    assert kernel.defects() == [defect]
    assert Kernel("f", "k", "9.0", registers=40, threads=256).defects() == []


def test_shared_memory_may_allow_fewer_blocks_than_the_launch_bounds() -> None:
    kernel = Kernel("f", "k", "7.5", registers=80, shared=40_000, threads=256, least_blocks=2)
    assert kernel.blocks() == 1
    assert kernel.defects() == []


@pytest.mark.parametrize(
    ("signature", "name"),
    [
        (
            "void gan_ops::(anonymous namespace)::forward<4, __nv_bfloat16, float>(__nv_bfloat16 const*, float*)",
            "forward<4, bfloat16, float>",
        ),
        (
            "void gan_ops::cuda::distant<(bool)1, gan_ops::Activated<gan_ops::Norm<double> > >(gan_ops::Norm<double>)",
            "distant<1, Activated<Norm<double>>>",
        ),
        ("gan_ops::(anonymous namespace)::sum_all(double const*, long)", "sum_all"),
        ("void gan_ops::walk<(gan_ops::Pass)2, float>(gan_ops::Problem<float>, long)", "walk<2, float>"),
    ],
)
def test_names_are_short(signature: str, name: str) -> None:
    assert kernel_report.shortened(signature) == name


PLANTED = """
__global__ void __launch_bounds__(64) sound(float* x) { x[threadIdx.x] *= 2; }
__global__ void without_bounds(float* x) { x[threadIdx.x] *= 2; }
__global__ void __launch_bounds__(64) local_array(const int* at, float* x) {
  float values[32] = {};
  for (int i = 0; i < 32; ++i) values[at[i]] += x[i];
  x[threadIdx.x] = values[at[threadIdx.x]];
}
__global__ void __launch_bounds__(1024) spilling(float* x, int times) {
  float values[96];
#pragma unroll
  for (int i = 0; i < 96; ++i) values[i] = x[i * 1024 + threadIdx.x];
  for (int time = 0; time < times; ++time)
#pragma unroll
    for (int i = 0; i < 96; ++i) values[i] += values[(i + 1) % 96] * values[(i + 48) % 96];
#pragma unroll
  for (int i = 0; i < 96; ++i) x[i * 1024 + threadIdx.x] = values[i];
}
"""


@needs_nvcc
def test_planted_defects_are_found(tmp_path: Path) -> None:
    source = tmp_path / "planted.cu"
    source.write_text(PLANTED)
    expected = {
        "sound": "",
        "without_bounds": "has no __launch_bounds__",
        "local_array": "bytes in local memory",
        "spilling": "bytes of registers",
    }
    for architecture in ("7.5", "10.0"):
        kernels = compile_file(NVCC, source, architecture)
        names = kernel_report.readable(kernel.name for kernel in kernels)
        assert {names[kernel.name] for kernel in kernels} == set(expected)
        for kernel in kernels:
            defects, defect = " ".join(kernel.defects()), expected[names[kernel.name]]
            assert kernel.architecture == architecture
            assert defect in defects and bool(defect) == bool(defects), (names[kernel.name], defects)


@needs_nvcc
def test_the_command_fails_and_names_the_kernel(tmp_path: Path) -> None:
    source = tmp_path / "planted.cu"
    source.write_text(PLANTED)
    command = [sys.executable, "-m", "benchmarks.kernel_report", "--quiet", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=kernel_report.ROOT)
    assert done.returncode == 1
    assert "planted: spilling spills" in done.stdout and "planted: sound" not in done.stdout
