from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


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
