from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
sys.path[:0] = [str(TESTS / "cuda_on_cpu"), str(TESTS / "ops")]  # the modules here, and families.py

from compiling import GLUE, KERNELS, compile_libraries  # noqa: E402
from emulated import Executor  # noqa: E402


@pytest.fixture(scope="session")
def executor() -> Iterator[Executor]:
    """All kernels of csrc/cuda/."""
    [library] = compile_libraries([[*KERNELS, *(GLUE / f"{path.stem}.cpp" for path in KERNELS)]])
    executor = Executor(library)
    yield executor
    executor.close()
