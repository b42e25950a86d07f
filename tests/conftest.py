from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

if importlib.util.find_spec("hypothesis") is None:
    sys.path.append(str(Path(__file__).parent / "without_hypothesis"))

TESTS = Path(__file__).parent
NEEDS = ("PIL", "tqdm", "tyro")
MISSING = [name for name in NEEDS if importlib.util.find_spec(name) is None]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(scope="session", autouse=True)
def _exact_convolutions() -> Iterator[None]:
    """On a GPU they and matrix products are float32 proper, and cuDNN's the same at every call."""
    if not torch.cuda.is_available():
        yield
        return
    from gan_ops.doctor import float32_proper

    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False), float32_proper():
        yield


class WithoutPackages(pytest.Collector):
    """tests/train where the packages that programs need are not installed: nothing there can even be imported."""

    def collect(self) -> list[pytest.Item]:
        pytest.skip(f"not installed: {', '.join(MISSING)}")


@pytest.hookimpl(tryfirst=True)
def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    return WithoutPackages.from_parent(parent, name=path.name) if MISSING and path == TESTS / "train" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each kind of device here; what a test makes lies there unless it says otherwise."""
    if request.param == "cpu":
        yield "cpu"
        return
    with torch.device(request.param):
        yield request.param


@pytest.fixture(scope="session")
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """``run_python("-c", code, cwd=…, GAN_OPS_CPU="avx2")``: a fresh interpreter, with settings of its own alone."""
    ours = ("GAN_OPS_", "PYTHONPATH", "OMP_", "MKL_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    root = Path(__file__).parent.parent

    def run(*arguments: str | Path, cwd: Path = root, **settings: str | Path) -> subprocess.CompletedProcess[str]:
        environment = clean | {name: str(value) for name, value in settings.items()}
        return subprocess.run(
            [sys.executable, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True
        )

    return run


@pytest.fixture
def without_code_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are traced and differentiated as ever, but run by torch's own ops: what takes long is left out."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))


@pytest.fixture
def no_compiled_code() -> Iterator[None]:
    """Each test compiles for itself, and counts what it compiles alone."""
    from torch._dynamo.utils import counters

    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()
