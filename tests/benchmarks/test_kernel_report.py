"""The report on the CUDA kernels: what ptxas says is read, occupancy is NVIDIA's, and defects are named."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import kernel_report
from benchmarks.kernel_report import (
    ARCHITECTURES,
    Kernel,
    accesses_table,
    blocks_that_fit,
    compile_file,
    parse_accesses,
    parse_bounds,
    parse_ptxas,
)

NVCC = kernel_report.find_nvcc()
NVDISASM = kernel_report.find_nvdisasm(NVCC) if NVCC else None
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


ASSEMBLY = """
//--------------------- .text._Z5firstPf --------------------------
	.section	.text._Z5firstPf,"ax",@progbits
_Z5firstPf:
.text._Z5firstPf:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/                   LDG.E.U16 R5, desc[UR4][R2.64] ;
        /*0020*/              @!P0 LDG.E.128.CONSTANT R4, desc[UR4][R2.64+0x80] ;
        /*0030*/               @P1 LDG.E.128 R8, desc[UR4][R2.64] ;
        /*0040*/                   LDG.E R5, desc[UR4][R2.64+0x8] ;
.L_x_1:
        /*0050*/                   LDS.U.64 R5, [R7+0x80] ;
        /*0060*/                   LDGSTS.E.BYPASS.128 [R5], desc[UR4][R2.64] ;
        /*0070*/                   STG.E.S8.SYS [R2], R5 ;
        /*0080*/                   STS [R2+0x40], R5 ;
        /*0090*/              @!P0 BRA `(.L_x_1) ;
.text._Z6secondPf:
        /*0000*/                   STG.E desc[UR4][R2.64], R5 ;
"""


def test_accesses_are_counted_by_their_width() -> None:
    first = {("LDG", 16): 1, ("LDG", 128): 2, ("LDG", 32): 1, ("LDS", 64): 1, ("LDGSTS", 128): 1, ("STG", 8): 1}
    assert parse_accesses(ASSEMBLY) == {"_Z5firstPf": {**first, ("STS", 32): 1}, "_Z6secondPf": {("STG", 32): 1}}


def test_accesses_are_a_line_a_kernel() -> None:
    accesses = Counter({("STG", 128): 1, ("LDG", 16): 8, ("LDG", 128): 2})
    kernels = [Kernel("f", "k", "10.0"), Kernel("f", "k", "9.0", accesses=accesses)]
    assert accesses_table(kernels, {"k": "kernel<float>"}).splitlines() == [
        " 9.0  f: kernel<float>: LDG 2×128 8×16, STG 1×128",
        "10.0  f: kernel<float>: none",
    ]


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


COPIES = """
__global__ void __launch_bounds__(64) by_vectors(const float4* x, float4* y) { y[threadIdx.x] = x[threadIdx.x]; }
__global__ void __launch_bounds__(64) by_halves(const short* x, short* y) { y[threadIdx.x] = x[threadIdx.x]; }
"""


@needs_nvcc
@pytest.mark.skipif(NVDISASM is None, reason="there is no nvdisasm beside nvcc, on PATH or in triton")
@pytest.mark.parametrize("architecture", ["7.5", "9.0"])
def test_accesses_of_machine_code_are_what_the_source_says(tmp_path: Path, architecture: str) -> None:
    source = tmp_path / "copies.cu"
    source.write_text(COPIES)
    kernels = compile_file(NVCC, source, architecture, NVDISASM)
    names = kernel_report.readable(kernel.name for kernel in kernels)
    found = {names[kernel.name]: kernel.accesses for kernel in kernels}
    assert found == {
        "by_vectors": {("LDG", 128): 1, ("STG", 128): 1},
        "by_halves": {("LDG", 16): 1, ("STG", 16): 1},
    }
