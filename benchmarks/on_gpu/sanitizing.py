"""Every kernel of ours (tests/ops/every_kernel.py) under one of compute-sanitizer's tools."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from benchmarks.on_gpu.jobs import Job

SANITIZER = "compute-sanitizer"
PROGRAM = "tests/ops/every_kernel.py"
NOT_INSTALLED = "not run, compute-sanitizer is not installed"
NOT_SUPPORTED = "not run, compute-sanitizer does not support this machine"
NO_TIME = "not run, no time was left"
TO_REPORT = 10.0
"""Seconds before its time is up at which the program begins no further case, so that the tool sums up what it saw."""
COMPLAINT = re.compile(
    r"^========= (?!.*(SUMMARY|process didn't terminate|[Tt]arget application))"
    r".*(Invalid|[Ee]rror|Race|hazard|Barrier)",
    re.MULTILINE,
)
"""A line of the tool that objects: not its summing up, nor what it says of how the program ended."""


def job(python: str, tool: str, device: str, until: float, log: Path) -> Job | None:
    """None where the tool is not installed."""
    program = find()
    if program is None:
        return None
    command = [program, "--tool", tool, "--error-exitcode", "9", *only_ours(program)]
    if tool == "memcheck":
        command += ["--report-api-errors", "no"]  # torch tries calls that may fail
    command += [python, PROGRAM, "--device", device, "--until", str(until - TO_REPORT)]
    # Each tensor in an allocation of its own, or what is read beyond its end would belong to another.
    return Job(tool, [command], until, log, {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"})


def find() -> str | None:
    """Where the tool is: on PATH, or in the toolkit that setup.py finds."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    folders = [os.environ.get("PATH", ""), *(str(Path(home, "bin")) for home in homes if home)]
    return shutil.which(SANITIZER, path=os.pathsep.join(folders))


def only_ours(program: str) -> list[str]:
    """The option that leaves out torch's kernels, many and slow under the tool; versions spell it differently."""
    try:
        text = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    for option in ("--kernel-name", "--kernel-regex"):
        if re.search(rf"{option}\b(?!-)", text):
            return [option, "kns=gan_ops"]
    return []


def verdict(text: str, code: int | None) -> str:
    """What the tool said of all our kernels, in a few words, and how many cases it has seen."""
    summary = re.search(r"(?:ERROR|RACECHECK) SUMMARY: (.+)", text)
    seen = re.findall(r"^(all \d+ cases|\d+ of \d+ cases)$", text, re.MULTILINE)
    cases = f", {seen[-1]}" if seen else ""
    if code == 0 and summary:
        return f"clean{cases}"
    if code not in (0, 9, None) and "not supported" in text:
        return NOT_SUPPORTED
    if COMPLAINT.search(text) and (summary is None or code is None):
        return f"errors{cases}" + ("" if code is not None else ", then its time was up")
    if code is None:
        return f"no complaint, and its time was up{cases}" if re.search(r"^case \d", text, re.MULTILINE) else NO_TIME
    if summary and not summary[1].startswith("0 "):
        return f"{summary[1]}{cases}"
    return f"failed with exit code {code}{cases}"


def complaints(text: str) -> list[str]:
    """The first of the tool's lines, and the program's last, which say why it ended."""
    lines = text.splitlines()
    return [line for line in lines if line.startswith("=========")][:20] + [
        line for line in lines if line.strip() and not line.startswith("=========")
    ][-8:]


def good(verdict: str) -> bool:
    return verdict in (NOT_INSTALLED, NOT_SUPPORTED, NO_TIME) or verdict.startswith(("clean", "no complaint"))
