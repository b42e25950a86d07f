"""``python tests/on_gpu.py``: the whole test suite on a machine with a GPU, then the kernels under compute-sanitizer.

Tests run in several processes at once, each with a share of them; other arguments go to pytest. What the result is goes
into the machine's file in benchmarks/results/, what the processes printed into build/gpu-test.log (with --results: both
into that folder). Exit code 0 if nothing failed.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import machine, results  # noqa: E402

THREADS = 2
"""Of each process, which compute at the same time."""
TOOLS = ("memcheck", "racecheck")
FOR_TOOLS = 120.0
"""Seconds that the tests leave to them."""
NOT_INSTALLED = "not run, compute-sanitizer is not installed"
NO_TIME = "not run, no time was left"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/on_gpu.py", description=__doc__, allow_abbrev=False)
    parser.add_argument("--results", metavar="FOLDER", type=Path, help="where to write the result and the log")
    parser.add_argument("--until", metavar="TIME", type=float, default=float("inf"), help="end at this Unix time")
    options, pytest_arguments = parser.parse_known_args()
    if machine.DEVICE.type != "cuda":
        print("torch sees no GPU here", file=sys.stderr)
        return 2
    start = time.time()
    log = (options.results or ROOT / "build") / "gpu-test.log"
    counts, failures = run_tests(pytest_arguments, options.until - FOR_TOOLS, log)
    seconds = time.time() - start
    sanitizer = {tool: sanitize(tool, options.until) for tool in TOOLS}
    path = keep({**counts, "sanitizer": sanitizer}, options.results or results.FOLDER)

    print("\n".join(failures[:40]))
    for what, count in counts.items():
        print(f"{what:<10} {count}")
    print(f"{'seconds':<10} {seconds:.0f}")
    for tool, verdict in sanitizer.items():
        print(f"{tool:<10} {verdict}")
    print(path)
    return int(
        bool(failures) or any(verdict not in ("clean", NOT_INSTALLED, NO_TIME) for verdict in sanitizer.values())
    )


def run_tests(arguments: list[str], until: float, log: Path) -> tuple[dict[str, int], list[str]]:
    """How many passed, failed and were skipped, and a line for each failure; what was printed goes to ``log``."""
    shares = max(1, machine.usable_cores() // THREADS)
    # The build is for the GPU that is there, whatever others the environment names.
    settings = {"OMP_NUM_THREADS": str(THREADS), "GAN_OPS_CUDA": "1", "TORCH_CUDA_ARCH_LIST": ""}
    with tempfile.TemporaryDirectory() as folder:
        running = []
        for i in range(shares):
            report, output = Path(folder, f"{i}.xml"), Path(folder, f"{i}.log")
            command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"]
            command += [f"--share={i}/{shares}", f"--junitxml={report}", f"--basetemp={folder}/{i}", *arguments]
            with output.open("w") as file:
                process = subprocess.Popen(
                    command, cwd=ROOT, env=os.environ | settings, stdout=file, stderr=subprocess.STDOUT
                )
            running.append((process, report, output))
        counts, failures, reasons = Counter(passed=0, failed=0, skipped=0), [], Counter()
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")
        for process, report, output in running:
            ended = wait(process, until)
            if report.exists():
                read_report(ElementTree.parse(report).getroot(), counts, failures, reasons)
            if not ended or not report.exists():
                counts["failed"] += 1
                failures.append(f"A share of the tests did not end (exit code {process.returncode}):")
                failures += output.read_text().splitlines()[-15:]
            with log.open("a") as file:
                file.write(output.read_text())
    for reason, count in reasons.most_common():
        print(f"skipped {count}: {reason}")
    return dict(counts), failures


def wait(process: subprocess.Popen, until: float) -> bool:
    """Whether it ends by itself in time. Interrupted, pytest still reports what it has done."""
    try:
        process.wait(None if until == float("inf") else max(1.0, until - time.time()))
        return True
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(10.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return False


def read_report(root: ElementTree.Element, counts: Counter[str], failures: list[str], reasons: Counter[str]) -> None:
    """Adds up a JUnit report as pytest writes it."""
    for case in root.iter("testcase"):
        wrong = [part for part in case if part.tag in ("failure", "error")]
        skipped = case.find("skipped")
        if wrong:
            counts["failed"] += 1
            lines = wrong[0].get("message", "").strip().splitlines() or [""]
            failures.append(f"FAILED {case.get('classname')}::{case.get('name')}: {lines[0][:200]}")
        elif skipped is not None:
            counts["skipped"] += 1
            reasons[skipped.get("message", "").splitlines()[0]] += 1
        else:
            counts["passed"] += 1


def sanitize(tool: str, until: float) -> str:
    """What compute-sanitizer says of all our kernels, in a few words; what it printed, if it objects."""
    if shutil.which("compute-sanitizer") is None:
        return NOT_INSTALLED
    if until - time.time() < 20:
        return NO_TIME
    command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9"]
    # Each tensor in an allocation of its own, or what is read beyond its end would belong to another.
    environment = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    # Only our own kernels: torch's are many, and slow under the tool. Versions spell the option differently.
    for only_ours in (["--kernel-name", "kns=gan_ops"], ["--kernel-regex", "kns=gan_ops"], []):
        program = [sys.executable, "tests/ops/every_kernel.py"]
        try:
            limit = None if until == float("inf") else max(1.0, until - time.time())
            done = subprocess.run(
                [*command, *only_ours, *program],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                timeout=limit,
            )
        except subprocess.TimeoutExpired:
            return NO_TIME
        summary = re.search(r"(ERROR|RACECHECK) SUMMARY: (.+)", done.stdout)
        if summary:
            break
    if summary and done.returncode == 0:
        return "clean"
    print(f"{done.stdout[-3000:]}\n{done.stderr[-1000:]}")
    return summary[2] if summary else f"failed with exit code {done.returncode}"


def keep(checks: results.Row, folder: Path) -> Path:
    """Writes the result into the machine's file, beside its benchmarks."""
    facts = machine.hardware()
    name = machine.default_name(facts)
    content = results.load(name) or results.merged(None, name, facts, {}, [])
    about = {"commit": machine.commit(), "date": datetime.date.today().isoformat(), "versions": machine.versions()}
    return results.save({**content, "checks": {**about, **checks}}, folder)


if __name__ == "__main__":
    sys.exit(main())
