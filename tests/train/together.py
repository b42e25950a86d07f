"""Programs in two processes, as ``torchrun -m tests.train.together FILE`` runs them one after another.

FILE is JSON: a list of calls, each a program of ``train`` and the arguments of either process. What came of them is
written beside it: exit codes, and what each process printed.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch.distributed as dist

from train.base.errors import run_program


class Call(NamedTuple):
    """A program and its arguments in the first and in the second process."""

    program: str
    first: Sequence[str]
    second: Sequence[str]


class Result(NamedTuple):
    """Of a call, by process."""

    codes: list[int]
    outputs: list[str]
    errors: list[str]


def launch(*args: str, count: int = 2, cwd: Path | None = None) -> subprocess.Popen:
    """Starts torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}", "--standalone", *args]
    here = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": here}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True, cwd=cwd)


def together(calls: Mapping[str, Call], folder: Path) -> dict[str, Result]:
    """Runs all calls in two processes, which are started once."""
    path = folder / "calls.json"
    path.write_text(json.dumps(list(calls.values())))
    job = launch("-m", "tests.train.together", str(path))
    _, errors = job.communicate(timeout=900)
    assert job.returncode == 0, errors
    parts = [json.loads(path.with_suffix(f".{rank}").read_text()) for rank in range(2)]
    return {
        name: Result(*map(list, zip(*both, strict=True)))
        for name, both in zip(calls, zip(*parts, strict=True), strict=True)
    }


def main(path: Path) -> None:
    rank, port = int(os.environ["RANK"]), int(os.environ["MASTER_PORT"])
    del os.environ["TORCHELASTIC_USE_AGENT_STORE"]  # each call has a store of its own
    results = []
    for i, call in enumerate(json.loads(path.read_text())):
        program, *arguments = call
        os.environ["MASTER_PORT"] = str(port + 1 + i)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main = importlib.import_module(f"train.{program}").main
            code = run_program(partial(main, arguments[rank]))
        if dist.is_initialized():
            dist.destroy_process_group()
        results.append((code, out.getvalue(), err.getvalue()))
    path.with_suffix(f".{rank}").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
