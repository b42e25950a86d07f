"""Programs that run side by side and end in time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
GRACE = 5.0
"""Seconds that an interrupted program has for its report."""
MOST = 4 << 20
"""Bytes that are kept of a log: its beginning and its end."""


@dataclass
class Job:
    """One part's programs: several run at once and share a log.

    Args:
        name: the part's.
        commands: the programs with their arguments.
        until: the Unix time at which they are interrupted.
        log: where to write what they print.
        environment: what theirs has beside this process's.
    """

    name: str
    commands: Sequence[Sequence[str]]
    until: float
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    code: int | None = None
    """The exit code, of several the first that is not 0; None where they had to be interrupted."""
    seconds: float = 0.0

    def text(self) -> str:
        """What has been printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def run(jobs: Sequence[Job], ended: Callable[[Job], None] = lambda job: None) -> None:
    """Runs jobs side by side until all have ended; tells of each when it has. None of their processes lives on."""
    start = time.time()
    running: dict[int, list[subprocess.Popen[bytes]]] = {}
    try:
        for i, job in enumerate(jobs):
            job.log.parent.mkdir(parents=True, exist_ok=True)
            job.log.write_text("")
            running[i] = []
            for command in job.commands:
                running[i].append(_started(command, job))
        while running:
            done = [i for i, processes in running.items() if all(process.poll() is not None for process in processes)]
            late = [i for i in running if i not in done and time.time() >= jobs[i].until]
            _interrupt([process for i in late for process in running[i]])
            for i in (*done, *late):
                processes = running.pop(i)
                for process in processes:
                    _kill(process)
                codes = [process.returncode for process in processes]
                jobs[i].code = None if i in late else next((code for code in codes if code), 0)
                jobs[i].seconds = time.time() - start
                _shorten(jobs[i].log)
                ended(jobs[i])
            time.sleep(0.05)
    finally:
        for processes in running.values():
            for process in processes:
                _kill(process)


def _started(command: Sequence[str], job: Job) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **job.environment}
    with job.log.open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _interrupt(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """As Ctrl-C does: pytest then still says what it has done."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    end = time.time() + GRACE
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, end - time.time()))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With all that it started, which would go on using the GPU."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _shorten(log: Path) -> None:
    text = log.read_bytes()
    if len(text) > MOST:
        log.write_bytes(text[: MOST // 2] + b"\n[...]\n" + text[-MOST // 2 :])
