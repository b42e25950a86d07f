"""The tests that make their tensors on the GPU, in several processes at once, and what came of them."""

from __future__ import annotations

import importlib.util
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.on_gpu.jobs import Job

ROOMS = ["tests/steps", "tests/ops", "tests/nn"]
"""Tests of whole steps (first, since some take longest), of kernels and of layers; torch's own packages suffice."""
WORKERS = 12
"""Processes, of 16 cores: the doctor and a sanitizer run beside them."""


def workers() -> int:
    """As many as there are cores for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(WORKERS, cores * 3 // 4))


def job(python: str, device: str, until: float, log: Path, report: Path, arguments: list[str]) -> Job:
    """All tests of ``device``; each that has ended is a line in ``report``."""
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("")
    command = [python, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"]
    command += ["--continue-on-collection-errors"]
    command += ["-p", "benchmarks.on_gpu.plugin", f"--on={device}", f"--report={report.resolve()}"]
    command += arguments or ROOMS
    count = workers()
    if importlib.util.find_spec("xdist"):
        # One test after another: the first few take a minute each, the rest a second.
        commands = [[*command, "-n", str(count), "--maxschedchunk=1"]]
    else:
        commands = [[*command, f"--share={i}/{count}"] for i in range(count)]
    threads = {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    return Job("tests", commands, until, log, threads)


@dataclass
class Outcome:
    """What a report says."""

    collected: int = 0
    counts: Counter[str] = field(default_factory=lambda: Counter(passed=0, failed=0, skipped=0))
    failures: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    slowest: list[tuple[float, str]] = field(default_factory=list)

    @property
    def missing(self) -> int:
        """Tests that did not come to their end."""
        return max(0, self.collected - sum(self.counts.values()))


def read(report: Path) -> Outcome:
    """Adds up what is there; of a test that failed twice, in its call and afterwards, the first counts."""
    found, seen = Outcome(), set()
    for text in report.read_text().splitlines() if report.exists() else []:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:  # the last may be cut
            continue
        if "collected" in line:
            found.collected += line["collected"]
            continue
        if line["id"] in seen:
            continue
        seen.add(line["id"])
        found.counts[line["outcome"]] += 1
        found.slowest.append((line["seconds"], line["id"]))
        if line["outcome"] == "failed":
            found.failures.append(f"FAILED {line['id']}: {line.get('message', '')[:200]}")
        elif line["outcome"] == "skipped":
            found.reasons[line.get("message", "")] += 1
    found.slowest = sorted(found.slowest, reverse=True)[:5]
    return found


def verdict(outcome: Outcome, job: Job) -> str:
    """One line."""
    text = ", ".join(f"{count} {what}" for what, count in outcome.counts.items())
    if outcome.missing:
        text += f", {outcome.missing} of {outcome.collected} did not end"
    if job.code is None:
        text += "; ended at its time"
    elif job.code not in (0, 1, 5):
        text += f"; pytest ended with exit code {job.code}"
    return text


def good(outcome: Outcome, job: Job) -> bool:
    """Whether all have run and none has failed; pytest's code 5 is that of a share without tests."""
    return job.code in (0, 5) and not outcome.counts["failed"] and not outcome.missing and outcome.counts["passed"] > 0
