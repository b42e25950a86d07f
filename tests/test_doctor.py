"""``python -m gan_ops.doctor`` says what is installed, and exits with 1 when something is wrong with it."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import FunctionType

import pytest
import torch

import gan_ops
from gan_ops import _extension, doctor

ROOT = Path(__file__).parent.parent
AGREES = "agrees with its definition"


@pytest.fixture(params=["one device", "two"])
def devices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports are as long where there is a GPU, for which the CPU stands in here."""
    if request.param == "two":
        monkeypatch.setattr(doctor, "devices", lambda: ["cpu", "cpu"])


def ops() -> int:
    return len(doctor.cases()) + len(doctor.measures())


def test_healthy_installation_passes(devices, capsys) -> None:
    assert doctor.main() == 0
    report = capsys.readouterr().out
    assert report.count(AGREES) == ops() * len(doctor.devices())


def test_measure_that_disagrees_is_named(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gan_ops.ops, "projected_wasserstein", lambda a, b, rays, channels: (rays @ a.T).mean(1))
    assert doctor.main() == 1
    assert "float32 is off by" in capsys.readouterr().out


def test_report_says_torch_cuda_compiler_and_architectures(capsys) -> None:
    doctor.main()
    report = capsys.readouterr().out
    build = _extension.load()
    cuda = build.cuda_architectures if build.cuda_version else "no CUDA kernels"
    for fact in (torch.__version__, str(torch.version.cuda or "none"), build.compiler, build.instruction_set, cuda):
        assert fact in report


def test_cotangents_are_drawn_in_float64_whatever_the_device() -> None:
    x = torch.ones(4, 5, dtype=torch.float64, requires_grad=True)
    _, gradient, _ = doctor.derivatives(lambda x: x.square() / 2, [x])
    assert torch.equal(gradient.flatten(), torch.cos(torch.arange(20, dtype=torch.float64)))


def test_nothing_is_compared_in_tf32() -> None:
    settings = (torch.backends.cudnn, torch.backends.cuda.matmul)
    seen = []

    def op(x: torch.Tensor) -> torch.Tensor:
        seen.append([setting.allow_tf32 for setting in settings])
        return x.square()

    before = [setting.allow_tf32 for setting in settings]
    try:
        for setting in settings:
            setting.allow_tf32 = True
        assert doctor.complaints(op, op, [[3]], "cpu") == []
        assert seen == [[False, False]] * 2 * len(doctor.TOLERANCES)
        assert [setting.allow_tf32 for setting in settings] == [True, True]
    finally:
        for setting, allowed in zip(settings, before, strict=True):
            setting.allow_tf32 = allowed


def test_every_op_is_examined() -> None:
    functions = {name for name, op in vars(gan_ops.ops).items() if isinstance(op, FunctionType)}
    kernels = {name for name in gan_ops.ops.__all__ if hasattr(torch.ops.gan_ops, name)}  # others are made of these
    assert kernels <= {name for name, *_ in doctor.cases()} <= set(gan_ops.ops.__all__)
    assert {name for name, *_ in doctor.measures()} == functions - set(gan_ops.ops.__all__)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (lambda x, eps=1e-8: gan_ops.reference.pixel_norm(x, eps) * 1.001, "float64 is off by 1"),
        (lambda x, eps=1e-8: gan_ops.reference.pixel_norm(x, eps) * float("nan"), "float32 is off by inf"),
        (lambda x, eps=1e-8: x / gan_ops.reference.pixel_norm(x, eps).detach(), "float64 is off by"),
    ],
    ids=["value", "nan", "derivative"],
)
def test_op_that_disagrees_is_named(wrong, complaint: str, devices, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gan_ops, "pixel_norm", wrong)
    assert doctor.main() == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if " pixel_norm " in line]
    assert len(lines) == len(doctor.devices())
    assert all(complaint in line and AGREES not in line for line in lines)


def test_op_that_does_not_run_is_named(devices, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(x: torch.Tensor, eps: float = 1e-8) -> torch.Tensor:
        raise RuntimeError("no kernel image is available\nfor execution on the device")

    monkeypatch.setattr(gan_ops, "pixel_norm", fail)
    assert doctor.main() == 1
    report = capsys.readouterr().out
    others = (ops() - 1) * len(doctor.devices())
    assert "float16 fails: no kernel image is available;" in report and report.count(AGREES) == others


@pytest.mark.parametrize("options", [[], ["-W", "default"]], ids=" ".join)
def test_missing_kernels_are_reported_with_all_else(options: list[str], tmp_path: Path, run_python) -> None:
    package = tmp_path / "gan_ops"
    shutil.copytree(ROOT / "gan_ops", package, ignore=shutil.ignore_patterns("_C.*", "__pycache__"))
    (package / _extension.find().name).write_text("not a library")
    result = run_python(*options, "-m", "gan_ops.doctor", cwd=tmp_path)
    assert result.returncode == 1, result.stderr
    assert torch.__version__ in result.stdout and "run: pip install --no-build-isolation" in result.stdout
    assert "Traceback" not in result.stderr


def test_forced_reference_is_not_taken_for_agreement(run_python) -> None:
    result = run_python("-m", "gan_ops.doctor", GAN_OPS_REFERENCE="1")
    assert result.returncode == 0 and "because of GAN_OPS_REFERENCE" in result.stdout
    assert AGREES not in result.stdout
