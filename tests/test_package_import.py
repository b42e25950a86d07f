"""What importing gan_ops brings, and how the environment chooses what the ops run."""

from __future__ import annotations

import os
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import gan_ops
from gan_ops import _dispatch, _extension

ROOT = Path(__file__).parent.parent
REGISTERED = sorted(name for name in torch._C._dispatch_get_all_op_names() if name.startswith("gan_ops::"))


# ---- Importing ----


def test_importing_brings_nothing_but_gan_ops_on_top_of_torch(run_python) -> None:
    """That keeps it far below its 0.1 s: torch's compiler or torchvision alone would take several times as long."""
    code = "import sys, torch; before = set(sys.modules); import gan_ops; print(*(set(sys.modules) - before))"
    new = set(run_python("-c", code).stdout.split())
    foreign = {name for name in new if name.partition(".")[0] not in {"gan_ops", *sys.stdlib_module_names}}
    assert "gan_ops._C" in new and not foreign


def test_layers_and_objectives_bring_no_heavy_modules(run_python) -> None:
    code = "import sys, gan_ops.nn, gan_ops.objectives; print(*sys.modules)"
    heavy = {"torch._dynamo", "torch._inductor", "torchvision", "matplotlib", "PIL", "scipy", "sklearn", "tensorboard"}
    assert not heavy & set(run_python("-c", code).stdout.split())


# ---- GAN_OPS_REFERENCE and use_reference ----


@pytest.fixture(scope="module")
def unbuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gan_ops without a ``_C`` or any other file of a build."""
    folder = tmp_path_factory.mktemp("unbuilt")
    shutil.copytree(ROOT / "gan_ops", folder / "gan_ops", ignore=shutil.ignore_patterns("_C.*", "__pycache__"))
    return folder


UNINSTALLED = "import importlib.metadata as m; m.distributions = lambda **_: []; "


def test_without_kernels_importing_is_an_error(unbuilt: Path, run_python) -> None:
    result = run_python("-c", UNINSTALLED + "import gan_ops", cwd=unbuilt)
    *_, last = result.stderr.splitlines()
    assert result.returncode == 1 and "is not installed; in the checkout, run: pip install" in last


def test_reference_needs_no_kernels(unbuilt: Path, run_python) -> None:
    code = "import gan_ops, torch; print(gan_ops.minibatch_stddev(gan_ops.pixel_norm(torch.ones(4, 3))).shape)"
    result = run_python("-c", UNINSTALLED + code, cwd=unbuilt, GAN_OPS_REFERENCE="1")
    assert result.stdout == "torch.Size([4, 4])\n"


def test_reference_set_to_zero_runs_kernels(run_python) -> None:
    code = "import gan_ops._dispatch as d; print(d.kernels_run())"
    assert run_python("-c", code, GAN_OPS_REFERENCE="0").stdout == "True\n"
    assert run_python("-c", code, GAN_OPS_REFERENCE="1").stdout == "False\n"


def test_use_reference_nests() -> None:
    with gan_ops.use_reference():
        with gan_ops.use_reference():
            assert not _dispatch.kernels_run()
        assert not _dispatch.kernels_run()
    assert _dispatch.kernels_run()


def test_use_reference_ends_with_an_exception() -> None:
    with pytest.raises(KeyError), gan_ops.use_reference():
        raise KeyError
    assert _dispatch.kernels_run()


def test_use_reference_holds_until_the_last_of_several_threads_has_left_it() -> None:
    first, second = gan_ops.use_reference(), gan_ops.use_reference()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not _dispatch.kernels_run()
    second.__exit__(None, None, None)
    assert _dispatch.kernels_run()


# ---- Instruction sets and threads ----

DERIVATIVES = """
import sys, torch, gan_ops
results = []
for op, shape in (
    (gan_ops.pixel_norm, (4, 37, 5, 13)),
    (gan_ops.minibatch_stddev, (8, 6, 5, 13)),
    (gan_ops.bias_act, (4, 37, 5, 13)),
):
    for dtype in (torch.float32, torch.bfloat16):
        for layout in (torch.contiguous_format, torch.channels_last):
            generator = torch.Generator().manual_seed(0)
            x = torch.randn(shape, generator=generator).to(dtype).contiguous(memory_format=layout).requires_grad_()
            y = op(x.square())
            (d_x,) = torch.autograd.grad(y, x, y.detach().cos(), create_graph=True)
            (d_xx,) = torch.autograd.grad(d_x, x, x.detach().sin())
            results += [t.detach() for t in (y, d_x, d_xx)]
torch.save(results, sys.argv[1])
print(gan_ops._extension.load().instruction_set)
"""


@pytest.fixture(scope="module")
def best(run_python, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[torch.Tensor]]:
    """The instruction set that is chosen here, and results with it."""
    path = tmp_path_factory.mktemp("best") / "results.pt"
    name = run_python("-c", DERIVATIVES, path).stdout.strip()
    return name, torch.load(path)


@pytest.mark.parametrize("wanted", ["baseline", "avx2"])
def test_instruction_sets_agree_to_rounding(wanted: str, best, run_python, tmp_path: Path) -> None:
    chosen, expected = best
    if wanted == "avx2" and chosen == "baseline":
        pytest.skip("this processor has no AVX2")
    result = run_python("-c", DERIVATIVES, tmp_path / "results.pt", GAN_OPS_CPU=wanted)
    assert result.stdout.strip() == wanted, result.stderr
    for actual, other in zip(torch.load(tmp_path / "results.pt"), expected, strict=True):
        rounding = 2 * torch.finfo(actual.dtype).eps if actual.dtype == torch.bfloat16 else 1e-5
        torch.testing.assert_close(actual, other, rtol=rounding, atol=rounding * other.abs().max().item())


THREADS = """
import os, sys, torch, gan_ops
torch.set_num_threads(int(sys.argv[1]))
op = getattr(gan_ops, sys.argv[2])
x = torch.empty(64, 64, 32, 32)  # not filled, since filling may start threads
before = len(os.listdir("/proc/self/task"))
op(x)
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
@pytest.mark.parametrize("op", ["pixel_norm", "minibatch_stddev", "bias_act"])
@pytest.mark.parametrize("threads", [1, 4])
def test_kernels_run_in_as_many_threads_as_torch_is_set_to(op: str, threads: int, run_python) -> None:
    """Without -fopenmp at::parallel_for would silently use one; with an OpenMP library of its own, too many."""
    assert run_python("-c", THREADS, str(threads), op).stdout == f"{threads - 1}\n"


# ---- CUDA, as built: nothing runs ----

with_cuda = pytest.mark.skipif(
    os.environ.get("GAN_OPS_CUDA") != "1", reason="only where the environment asks for CUDA kernels: GAN_OPS_CUDA=1"
)


def cubins(library: bytes) -> Iterator[int]:
    """The architectures of the machine code in a library, as 10·major + minor: from the headers that nvcc writes."""
    start = library.find(b"\x50\xed\x55\xba")  # the magic number of a fat binary
    while start >= 0:
        version, header, size = struct.unpack_from("<HHQ", library, start + 4)
        entry, end = start + header, start + header + size
        while (version, header) == (1, 16) and entry < end <= len(library):
            (kind,) = struct.unpack_from("<H", library, entry)
            length = sum(struct.unpack_from("<IQ", library, entry + 4))
            if kind == 2:  # machine code; 1 is PTX
                yield struct.unpack_from("<I", library, entry + 28)[0]
            entry += length
        start = library.find(b"\x50\xed\x55\xba", start + 4)


@with_cuda
def test_kernels_are_built_for_the_architectures_asked_for() -> None:
    asked = os.environ.get("TORCH_CUDA_ARCH_LIST") or _extension.load().cuda_architectures
    numbers = [name.removesuffix("+PTX").rstrip("a").rstrip("f") for name in asked.replace(" ", ";").split(";")]
    assert {int(number.replace(".", "")) for number in numbers} == set(cubins(_extension.find().read_bytes()))


@with_cuda
def test_build_says_which_cuda_it_has() -> None:
    assert _extension.load().cuda_version // 1000 == int(torch.version.cuda.split(".")[0])


ON_THE_CPU_ALONE = ("gan_ops::laplacian_patches", "gan_ops::projected_wasserstein")
"""On CUDA their Python functions run the definition, which is made of torch's matrix products and sort."""


@pytest.mark.parametrize("key", ["CPU", "CUDA", "Autograd", "Meta"])
@pytest.mark.parametrize("op", REGISTERED)
def test_every_op_is_registered_for_every_key(op: str, key: str) -> None:
    expected = key != "CUDA" or op not in ON_THE_CPU_ALONE
    assert torch._C._dispatch_has_kernel_for_dispatch_key(op, key) == expected


MADE_OF_OTHERS = {
    *("affine_grid", "demodulation", "modulated_conv2d", "resample_conv2d"),
    *("downsample2d", "filter2d", "setup_filter", "upsample2d"),
}
"""Functions without a kernel of their own."""


def test_all_families_are_registered() -> None:
    """So that the test above looks at something."""
    assert {f"gan_ops::{name}" for name in gan_ops.ops.__all__ if name not in MADE_OF_OTHERS} <= set(REGISTERED)
