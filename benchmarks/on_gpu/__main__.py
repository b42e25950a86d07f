"""``python3 -m benchmarks.on_gpu first|second``: checks and measures everything on a GPU, in eight and three minutes.

*first* builds for the machine's GPU, runs the doctor and the tests that use the GPU, and at the same time every kernel
under memcheck. Then it measures single ops against their rivals op by op, the most important sizes first, until its
time is up. *second* builds if nothing is built yet, measures whole training steps, and then runs every kernel under
racecheck. Nothing is measured while a sanitizer runs.

Results are written at once: into the GPU's file in --results, and the output of each part into a log in the same
folder. A part that fails does not stop the others, unless there is no build. The exit code is 0 if nothing failed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.on_gpu import TABLE, jobs, sanitizing, testing
from benchmarks.on_gpu.jobs import ROOT, Job

SECONDS = {"first": 480.0, "second": 200.0}
"""Of each command, in all."""
BUILD, FACTS, DOCTOR = 170.0, 40.0, 90.0
"""Seconds that these may take at most."""
FOR_OPS, FOR_RACECHECK = 130.0, 80.0
"""Seconds at the end that no earlier part may use."""
TO_END = 8.0
"""Seconds before the end at which the last part is interrupted."""
TO_KEEP = 10.0
"""Seconds before a benchmark's processes are interrupted at which they begin nothing more."""
OPS = "benchmarks/ops -k op_by_op"
STEPS = "benchmarks/test_training_step.py -k 'op_by_op and (bf16-4 or bf16-32)'"
SHOWN = 11_000
"""Characters of the summary at most: the machine that is lent shows the last 12 000."""


@dataclass
class Run:
    """One of the two commands under way.

    Args:
        name: "first" or "second".
        folder: where results and logs go.
        end: the Unix time at which it has to be over.
        device: "cuda", or "cpu" in a rehearsal.
        python: what runs Python programs.
        verdicts: of each part a line, whether that is good, and its seconds.
    """

    name: str
    folder: Path
    end: float
    device: str = "cuda"
    python: str = sys.executable
    start: float = field(default_factory=time.time)
    verdicts: dict[str, tuple[str, bool, float]] = field(default_factory=dict)
    checks: dict[str, Any] = field(default_factory=dict)
    details: list[str] = field(default_factory=list)
    facts: dict[str, Any] | None = None

    def log(self, part: str) -> Path:
        return self.folder / f"{part}.log"

    def decide(self, part: str, verdict: str, good: bool, seconds: float = 0.0) -> None:
        """Keeps a part's result and says it."""
        self.verdicts[part] = (verdict, good, seconds)
        print(f"{time.time() - self.start:4.0f} s  {part}: {verdict}", flush=True)
        self.keep()

    def keep(self) -> None:
        """Writes the checks into the machine's file, beside its benchmarks."""
        if self.facts is None:
            return
        from benchmarks import results  # wants NumPy

        name = self.facts["name"]
        content = results.load(name, self.folder) or results.load(name)
        content = content or results.merged(None, name, self.facts["hardware"], {}, [])
        about = {
            "commit": os.environ.get("COMMIT") or self.facts["commit"],
            "date": datetime.date.today().isoformat(),
            "versions": self.facts["versions"],
        }
        old = content.get("checks", {})
        results.save({**content, "checks": results.joined_checks(old, {**about, **self.checks})}, self.folder)

    def build(self) -> bool:
        """Whether there is a build to go on with; a failed one may be another's that still fits."""
        command = [self.python, "setup.py", "--quiet", "build_ext", "--inplace"]
        # For the GPU that is there, whatever others the environment names.
        wish = {"GAN_OPS_CUDA": "1" if self.device == "cuda" else "0", "TORCH_CUDA_ARCH_LIST": ""}
        build = Job("build", [command], min(self.end, time.time() + BUILD), self.log("build"), wish)
        sees = f"import torch; raise SystemExit(not torch.{self.device}.is_available())"
        gpu = Job("gpu", [[self.python, "-c", sees]], min(self.end, time.time() + FACTS), self.log("gpu"))

        def ended(job: Job) -> None:
            if job is gpu and job.code:
                self.decide("gpu", "torch sees none", False, job.seconds)
                build.until = 0.0

        jobs.run([build, gpu], ended)
        gpu.log.unlink()
        good = build.code == 0
        if not good:
            lines = build.text().splitlines()
            errors = [line for line in lines if re.search(r"\berror\b[: ]|FAILED:", line)]  # tracebacks follow them
            self.details += ["The build's errors:", *errors[:12], "and its last lines:", *lines[-13:]]
        self.decide("build", _ending(build), good, build.seconds)

        command = [self.python, "-m", "benchmarks.on_gpu.facts"]
        facts = Job("facts", [command], min(self.end, time.time() + FACTS), self.log("facts"))
        jobs.run([facts])
        lines = [line for line in facts.text().splitlines() if line.startswith("{")]
        if facts.code != 0 or not lines:
            self.details += ["What was built does not load:", *facts.text().splitlines()[-8:]]
            self.decide("facts", _ending(facts), False, facts.seconds)
            return False
        facts.log.unlink()
        if "gpu" in self.verdicts:
            return False
        self.facts = json.loads(lines[-1])
        self.checks["build"] = f"{self.verdicts['build'][0]}, {build.seconds:.0f} s"
        self.keep()
        return True

    def check(self, until: float, arguments: list[str]) -> None:
        """The doctor, the tests and memcheck, side by side."""
        report = self.folder / "tests.jsonl"
        doctor = Job(
            "doctor", [[self.python, "-m", "gan_ops.doctor"]], min(until, time.time() + DOCTOR), self.log("doctor")
        )
        tests = testing.job(self.python, self.device, until, self.log("tests"), report, arguments)
        beside = [doctor, tests, *self.sanitizer("memcheck", until)]

        def ended(job: Job) -> None:
            if job is doctor:
                wrong = [line for line in job.text().splitlines() if " is off by " in line or " fails: " in line]
                self.details += wrong
                self.checks["doctor"] = _ending(job, "agrees", f"{len(wrong)} disagree" if wrong else "failed")
                self.decide("doctor", self.checks["doctor"], job.code == 0, job.seconds)
            elif job is tests:
                outcome = testing.read(report)
                self.details += outcome.failures
                self.details += [f"skipped {count}: {reason}" for reason, count in outcome.reasons.most_common(10)]
                self.details += [f"slow: {seconds:.1f} s {test}" for seconds, test in outcome.slowest]
                if not outcome.collected:
                    self.details += job.text().splitlines()[-15:]
                self.checks |= {**outcome.counts, "unended": outcome.missing}
                self.decide("tests", testing.verdict(outcome, job), testing.good(outcome, job), job.seconds)
            else:
                self.sanitized(job)

        jobs.run(beside, ended)

    def sanitizer(self, tool: str, until: float) -> list[Job]:
        """Its job, if it is installed and has time."""
        job = sanitizing.job(self.python, tool, self.device, until, self.log(tool))
        if job is None:
            self.checks.setdefault("sanitizer", {})[tool] = sanitizing.NOT_INSTALLED
            self.decide(tool, sanitizing.NOT_INSTALLED, True)
        return [job] if job else []

    def sanitized(self, job: Job) -> None:
        found = sanitizing.verdict(job.text(), job.code)
        good = sanitizing.good(found)
        if not good:
            self.details += [f"{job.name}'s complaints:", *sanitizing.complaints(job.text())]
        self.checks.setdefault("sanitizer", {})[job.name] = found
        self.decide(job.name, found, good, job.seconds)

    def measure(self, part: str, until: float, arguments: list[str]) -> None:
        """Benchmarks, which keep their own results; their table is the end of what they print."""
        command = [self.python, "-m", "benchmarks", "--until", str(until - TO_KEEP), "--results", str(self.folder)]
        job = Job(part, [[*command, "-q", *arguments]], until, self.log(part))
        if until - time.time() < 2 * TO_KEEP:
            self.decide(part, "not run, no time was left", True)
            return
        jobs.run([job])
        text = job.text()
        # pytest's code 5: there was time for none.
        verdict = "all measured that there was time for" if job.code in (0, 5) else _ending(job)
        if job.code not in (0, 5):
            self.details += [f"The last lines of {part}:", *text.splitlines()[-15:]]
        self.decide(part, verdict, job.code in (0, 5), job.seconds)
        self.details += text.partition(TABLE)[2].splitlines()

    def summary(self) -> str:
        """The verdicts and, as far as there is room, what they are about."""
        good = all(good for _, good, _ in self.verdicts.values())
        lines = [f"{self.name}: {time.time() - self.start:.0f} s; {'nothing failed' if good else 'FAILED'}", ""]
        for part, (verdict, good, seconds) in self.verdicts.items():
            lines.append(f"{part:<10} {'ok  ' if good else 'BAD '} {seconds:4.0f} s  {verdict}")
        return "\n".join([*lines, "", *_within(self.details, SHOWN - sum(map(len, lines)))])


def _ending(job: Job, good: str = "done", bad: str = "failed") -> str:
    if job.code is None:
        return "ended at its time"
    return good if job.code == 0 else f"{bad}, exit code {job.code}"


def _within(lines: Sequence[str], characters: int) -> list[str]:
    """The lines, none of them endless; too many, the first and the last of them."""
    lines = [line[:220] for line in lines]
    if sum(len(line) + 1 for line in lines) <= characters:
        return lines
    first, last = [], []
    for kept, source, share in ((last, reversed(lines), 0.65), (first, iter(lines), 0.3)):
        left = share * characters
        for line in source:
            left -= len(line) + 1
            if left < 0:
                break
            kept.append(line)
    return [*first, "[…]", *reversed(last)]


def main(arguments: Sequence[str] | None = None, run: type[Run] = Run) -> int:
    # A shell's background has it ignored, and so would the parts, which are to end by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(
        prog="python3 -m benchmarks.on_gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("command", choices=list(SECONDS))
    parser.add_argument(
        "--results", metavar="FOLDER", type=Path, default=ROOT / "build" / "on_gpu", help="folder for results and logs"
    )
    parser.add_argument("--commit", metavar="SHA", help="the tested commit, if there is no git")
    parser.add_argument("--seconds", metavar="N", type=float, help="time limit (default: first 480, second 200)")
    parser.add_argument("--tests", metavar="ARGS", default="", help="pytest arguments that choose the tests")
    parser.add_argument("--ops", metavar="ARGS", default=OPS, help="pytest arguments that choose the benchmarks of ops")
    parser.add_argument(
        "--steps", metavar="ARGS", default=STEPS, help="pytest arguments that choose the benchmarks of steps"
    )
    parser.add_argument("--rehearse", action="store_true", help="do the same on the CPU, without a GPU")
    options = parser.parse_args(arguments)
    if options.commit:
        os.environ["COMMIT"] = options.commit
    folder = options.results.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    start = time.time()
    this = run(
        options.command,
        folder,
        start + (options.seconds or SECONDS[options.command]),
        "cpu" if options.rehearse else "cuda",
        start=start,
    )
    try:
        if this.build():
            (first if options.command == "first" else second)(this, options)
    finally:
        text = this.summary()
        (folder / f"{this.name}.txt").write_text(text + "\n")
        print(text, flush=True)
    return int(not all(good for _, good, _ in this.verdicts.values()))


def first(this: Run, options: argparse.Namespace) -> None:
    last = this.end - TO_END
    this.check(last - min(FOR_OPS, (last - time.time()) / 2), shlex.split(options.tests))
    this.measure("ops", last, shlex.split(options.ops))


def second(this: Run, options: argparse.Namespace) -> None:
    last = this.end - TO_END
    this.measure("steps", last - min(FOR_RACECHECK, (last - time.time()) / 2), shlex.split(options.steps))
    jobs.run(found := this.sanitizer("racecheck", last))
    for job in found:
        this.sanitized(job)


if __name__ == "__main__":
    sys.exit(main())
