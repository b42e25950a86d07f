"""``python tests/on_gpu.py``: the whole test suite on a machine with a GPU, then the kernels under compute-sanitizer.

Tests run in several processes at once, each with a share of them; other arguments go to pytest. What the result is goes
into the machine's file in benchmarks/results/, what the processes printed into build/gpu-test.log (with --results: both
into that folder). Exit code 0 if nothing failed.
"""

from __future__ import annotations

import argparse
import contextlib
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
TOOLS = ("memcheck", "racecheck", "synccheck")
FOR_TOOLS = 150.0
"""Seconds that the tests leave to them."""
NOT_INSTALLED = "not run, compute-sanitizer is not installed"
NOT_SUPPORTED = "not run, compute-sanitizer does not support this machine"
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
    sanitizer = {}
    for i, tool in enumerate(TOOLS):
        left = options.until - time.time()
        sanitizer[tool] = sanitize(tool, time.time() + left / (len(TOOLS) - i))
    path = keep({**counts, "sanitizer": sanitizer}, options.results or results.FOLDER)

    print("\n".join(failures[:40]))
    for what, count in counts.items():
        print(f"{what:<10} {count}")
    print(f"{'seconds':<10} {seconds:.0f}")
    for tool, verdict in sanitizer.items():
        print(f"{tool:<10} {verdict}")
    print(path)
    good = ("clean", NOT_INSTALLED, NOT_SUPPORTED, NO_TIME)
    return int(bool(failures) or any(verdict not in good for verdict in sanitizer.values()))


def run_tests(arguments: list[str], until: float, log: Path) -> tuple[dict[str, int], list[str]]:
    """How many passed, failed and were skipped, and a line for each failure; what was printed goes to ``log``."""
    shares = max(1, machine.usable_cores() // THREADS)
    # The build is for the GPU that is there, whatever others the environment names.
    settings = {"OMP_NUM_THREADS": str(THREADS), "GAN_OPS_CUDA": "1", "TORCH_CUDA_ARCH_LIST": ""}
    settings["TORCHINDUCTOR_COMPILE_THREADS"] = str(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        running = []
        for i in range(shares):
            report, output = Path(folder, f"{i}.xml"), Path(folder, f"{i}.log")
            command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"]
            command += [f"--share={i}/{shares}", f"--junitxml={report}", f"--basetemp={folder}/{i}", *arguments]
            with output.open("w") as file:
                process = subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env=os.environ | settings,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            running.append((process, report, output))
        counts, failures, reasons = Counter(passed=0, failed=0, skipped=0), [], Counter()
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")
        late = end_all([process for process, _, _ in running], until)
        for process, report, output in running:
            ended = process not in late
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


def end_all(processes: list[subprocess.Popen], until: float) -> list[subprocess.Popen]:
    """Waits for all; those that it had to interrupt. Interrupted, pytest still reports what it has done."""
    wait_for(processes, until)
    late = [process for process in processes if process.poll() is None]
    for process in late:
        process.send_signal(signal.SIGINT)
    wait_for(late, time.time() + 10.0)
    for process in late:
        kill(process)
    return late


def wait_for(processes: list[subprocess.Popen], until: float) -> None:
    """Until all have ended, or that time."""
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(None if until == float("inf") else max(0.0, until - time.time()))


def kill(process: subprocess.Popen) -> None:
    """With all that it started, which would go on using the GPU."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


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
    if tool == "memcheck":
        command += ["--report-api-errors", "no"]  # torch tries calls that may fail
    # Each tensor in an allocation of its own, or what is read beyond its end would belong to another.
    environment = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    # Only our own kernels: torch's are many, and slow under the tool. Versions spell the option differently.
    for only_ours in (["--kernel-name", "kns=gan_ops"], ["--kernel-regex", "kns=gan_ops"], []):
        program = [sys.executable, "tests/ops/every_kernel.py"]
        code, output = run([*command, *only_ours, *program], environment, until)
        summary = re.search(r"(ERROR|RACECHECK) SUMMARY: (.+)", output)
        if summary or code is None:
            break
    if code == 0 and summary:
        return "clean"
    if code is None and not re.search(r"========= .*(Invalid|Error|error|Race|hazard|Barrier)", output):
        return NO_TIME
    print(output[-4000:])
    if code is None:
        return "errors, then no time was left"
    if summary is None and "not supported" in output:
        return NOT_SUPPORTED
    return summary[2] if summary else f"failed with exit code {code}"


def run(command: list[str], environment: dict[str, str], until: float) -> tuple[int | None, str]:
    """A command's exit code, None if its time was up, and what it printed."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        wait_for([process], until)
        code = process.poll()
        kill(process)
        output.seek(0)
        return code, output.read()


def keep(checks: results.Row, folder: Path) -> Path:
    """Writes the result into the machine's file, beside its benchmarks."""
    facts = machine.hardware()
    name = machine.default_name(facts)
    content = results.load(name, folder) or results.load(name) or results.merged(None, name, facts, {}, [])
    about = {"commit": machine.commit(), "date": datetime.date.today().isoformat(), "versions": machine.versions()}
    return results.save({**content, "checks": {**about, **checks}}, folder)


if __name__ == "__main__":
    sys.exit(main())
