"""The two commands for a machine with a GPU, rehearsed against a Python and a compute-sanitizer that are told what to
do (fake_python.py, fake_sanitizer.py), in seconds instead of minutes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.on_gpu import __main__ as commands
from benchmarks.on_gpu import jobs, sanitizing, testing
from benchmarks.on_gpu.jobs import Job

HERE = Path(__file__).parent
OUTPUT = 12_000
"""Characters of its output that the machine that is lent shows."""
FILES = 8
"""Files of a folder that it brings back."""


class Rehearsal:
    """One command with its machine made up; afterwards what came of it.

    Args:
        wishes: for a part what becomes of it, of fake_python.py.
        seconds: the command's time; what parts are given at most is shortened alike.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.folder, self.monkeypatch, self.tmp_path = folder, monkeypatch, tmp_path
        self.calls_file = tmp_path / "calls"
        tools = tmp_path / "tools"
        tools.mkdir()
        self.python = tools / "python3"
        for fake, tool in (("fake_python.py", "python3"), ("fake_sanitizer.py", sanitizing.SANITIZER)):
            (tools / tool).write_text(f"#!{sys.executable}\n{(HERE / fake).read_text()}")
            (tools / tool).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("FAKE_CALLS", str(self.calls_file))
        monkeypatch.setattr(jobs, "GRACE", 0.2)
        monkeypatch.setattr(testing, "workers", lambda: 2)
        monkeypatch.setattr(sanitizing, "TO_REPORT", 0.0)
        monkeypatch.setattr(commands, "TO_END", 0.0)
        monkeypatch.setattr(commands, "TO_KEEP", 0.1)

    def __call__(
        self, command: str, wishes: dict[str, str] | None = None, seconds: float = 60.0, **limits: float
    ) -> int:
        self.monkeypatch.setenv("FAKE", json.dumps(wishes or {}))
        for name, limit in limits.items():
            self.monkeypatch.setattr(commands, name, limit)
        self.calls_file.write_text("")
        python = str(self.python)

        class Run(commands.Run):
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **options, python=python)

        start = time.time()
        code = commands.main([command, "--results", str(self.folder), "--seconds", str(seconds)], Run)
        self.seconds = time.time() - start
        return code

    @property
    def result(self) -> dict[str, Any]:
        return json.loads((self.folder / "h200.json").read_text())

    @property
    def checks(self) -> dict[str, Any]:
        return self.result["checks"]

    def calls(self) -> dict[str, dict[str, Any]]:
        """Of each part the first call: its arguments, when it began and, if it came to its end, ended."""
        found: dict[str, dict[str, Any]] = {}
        for line in self.calls_file.read_text().splitlines():
            call = json.loads(line)
            found[call["part"]] = {**call, **found.get(call["part"], {})}
        return found

    def living(self) -> list[int]:
        """Processes that should have ended."""
        pids = [call["pid"] for call in map(json.loads, self.calls_file.read_text().splitlines()) if "pid" in call]
        return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.fixture(params=["xdist", "no xdist"])
def with_xdist(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    found = request.param == "xdist"
    monkeypatch.setattr(testing.importlib.util, "find_spec", lambda name: found)
    return found


@pytest.fixture
def rehearse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Rehearsal:
    monkeypatch.delenv("COMMIT", raising=False)
    return Rehearsal(tmp_path / "results", monkeypatch, tmp_path)


def test_the_first_command_does_all_that_it_should(rehearse: Rehearsal, with_xdist: bool, capsys) -> None:
    assert rehearse("first") == 0
    shares = 1 if with_xdist else 2
    expected = {"passed": 2 * shares, "failed": 0, "skipped": shares, "unended": 0, "commit": "abc"}
    assert expected.items() <= rehearse.checks.items()
    assert rehearse.checks["doctor"] == "agrees" and rehearse.checks["build"].startswith("done")
    assert rehearse.checks["sanitizer"] == {"memcheck": "clean, all 290 cases"}
    assert [row["name"] for row in rehearse.result["benchmarks"]] == ["ops/x"]
    output = capsys.readouterr().out
    assert "nothing failed" in output and output.rstrip().endswith("| pixel_norm | 91% |")


def test_the_second_command_does_all_that_it_should(rehearse: Rehearsal, capsys) -> None:
    assert rehearse("second") == 0
    assert rehearse.checks["sanitizer"] == {"racecheck": "clean, all 290 cases"}
    assert set(rehearse.calls()) == {"build", "gpu", "facts", "steps", "racecheck", "every_kernel"}
    assert "| pixel_norm | 91% |" in capsys.readouterr().out


def test_both_results_are_in_one_file_and_the_second_keeps_what_the_first_found(rehearse: Rehearsal) -> None:
    rehearse("first")
    rehearse("second")
    assert set(rehearse.checks["sanitizer"]) == {"memcheck", "racecheck"}
    assert "passed" in rehearse.checks and len(rehearse.result["benchmarks"]) == 2


def test_only_tests_of_the_gpu_run(rehearse: Rehearsal) -> None:
    rehearse("first")
    arguments = rehearse.calls()["tests"]["arguments"]
    assert "--on=cuda" in arguments and [a for a in arguments if a.startswith("tests/")] == testing.ROOMS


@pytest.mark.parametrize("memcheck", ["good", "hangs"])
def test_nothing_is_measured_beside_a_sanitizer_and_nothing_lives_on(rehearse: Rehearsal, memcheck: str) -> None:
    rehearse("first", {"memcheck": memcheck}, seconds=8, FOR_OPS=4.0)
    calls = rehearse.calls()
    assert calls["memcheck"]["began"] < calls["tests"]["ended"], "beside the tests"
    if memcheck == "good":
        assert calls["memcheck"]["ended"] <= calls["ops"]["began"]
    else:
        assert calls["ops"]["began"] - calls["memcheck"]["began"] > 2
    assert rehearse.living() == []
    rehearse("second")
    assert rehearse.calls()["steps"]["ended"] <= rehearse.calls()["racecheck"]["began"]


def test_what_comes_home_is_few_files_and_a_short_output(
    rehearse: Rehearsal, with_xdist: bool, capsys, monkeypatch
) -> None:
    many = [f"FAILED tests/ops/test_{i}.py: {'long ' * 90}" for i in range(300)]
    read = testing.read
    monkeypatch.setattr(testing, "read", lambda report: (found := read(report), found.failures.extend(many))[0])
    for command in ("first", "second"):
        shutil.rmtree(rehearse.folder, ignore_errors=True)
        rehearse(command, {"doctor": "bad", "tests": "bad", "memcheck": "bad", "racecheck": "bad", "steps": "bad"})
        names = {path.name for path in rehearse.folder.iterdir()}
        assert {"h200.json", f"{command}.txt", "build.log"} < names and len(names) <= FILES
        output = capsys.readouterr().out
        assert len(output) < OUTPUT and output.rstrip().endswith("| pixel_norm | 91% |") == (command == "first")


BROKEN = [
    ("first", "doctor", "bad", {"doctor": "1 disagree"}),
    ("first", "doctor", "crashes", {"doctor": "failed, exit code 139"}),
    ("first", "tests", "bad", {"failed": 1}),
    ("first", "tests", "crashes", {"unended": 2}),
    ("first", "memcheck", "bad", {"sanitizer": {"memcheck": "2 errors, all 290 cases"}}),
    ("first", "ops", "bad", {}),
    ("first", "ops", "crashes", {}),
    ("second", "steps", "bad", {}),
    ("second", "steps", "crashes", {}),
    ("second", "racecheck", "bad", {"sanitizer": {"racecheck": "1 hazard displayed, all 290 cases"}}),
]


@pytest.mark.parametrize(("command", "part", "wish", "found"), BROKEN)
def test_what_fails_is_told_and_keeps_nothing_from_running(
    rehearse: Rehearsal, command: str, part: str, wish: str, found: dict[str, Any], capsys, monkeypatch
) -> None:
    monkeypatch.setattr(testing.importlib.util, "find_spec", lambda name: True)
    assert rehearse(command, {part: wish}) == 1
    checks = rehearse.checks
    assert all(str(checks[key]).startswith(str(value)) for key, value in found.items())
    assert {"first": "ops", "second": "racecheck"}[command] in rehearse.calls()
    assert "BAD" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "part", "limits"),
    [
        ("first", "build", {"BUILD": 1.0}),
        ("first", "facts", {"FACTS": 1.0}),
        ("first", "doctor", {"DOCTOR": 1.0}),
        ("first", "tests", {"FOR_OPS": 4.0}),
        ("first", "memcheck", {"FOR_OPS": 4.0}),
        ("first", "ops", {"FOR_OPS": 4.0}),
        ("second", "steps", {"FOR_RACECHECK": 4.0}),
        ("second", "racecheck", {"FOR_RACECHECK": 2.0}),
    ],
)
def test_what_hangs_is_ended_at_its_own_limit(rehearse: Rehearsal, command: str, part: str, limits, capsys) -> None:
    code = rehearse(command, {part: "hangs"}, seconds=8, **limits)
    assert rehearse.seconds < 30 and rehearse.living() == []  # what hangs would sleep for a minute
    output = capsys.readouterr().out
    if part == "facts":
        assert code == 1 and set(rehearse.calls()) == {"build", "gpu", "facts"}
        return
    last = {"first": "ops", "second": "racecheck"}[command]
    assert last in rehearse.calls(), "the rest has run"
    if part in ("memcheck", "racecheck"):
        assert rehearse.checks["sanitizer"][part] == "no complaint, and its time was up, all 290 cases"
    else:
        assert code == 1 and f"{part}: " in output and "ended at its time" in output
    if part == "tests":
        assert rehearse.checks["passed"] == 4 or rehearse.checks["passed"] == 2, "what has been found stays"
        assert rehearse.checks["unended"] > 0


def test_what_there_is_no_time_for_is_left_out(rehearse: Rehearsal, capsys) -> None:
    rehearse("first", seconds=1.5, TO_KEEP=5.0)
    assert "ops: not run, no time was left" in capsys.readouterr().out and "ops" not in rehearse.calls()


def test_without_a_build_nothing_else_runs_and_its_errors_come_last(rehearse: Rehearsal, capsys) -> None:
    assert rehearse("first", {"build": "bad", "facts": "bad"}) == 1
    assert set(rehearse.calls()) == {"build", "gpu", "facts"}
    assert "kernel.cu(7): error: no such thing" in capsys.readouterr().out


def test_after_a_failed_build_one_that_fits_is_used(rehearse: Rehearsal) -> None:
    assert rehearse("first", {"build": "bad"}) == 1
    assert {"tests", "ops"} < set(rehearse.calls())


def test_without_a_gpu_nothing_is_built(rehearse: Rehearsal, capsys) -> None:
    assert rehearse("first", {"gpu": "bad", "build": "hangs"}) == 1
    assert rehearse.seconds < 5 and "gpu: torch sees none" in capsys.readouterr().out
    assert "tests" not in rehearse.calls()


@pytest.mark.parametrize("command", ["first", "second"])
def test_a_sanitizer_that_is_missing_or_unsupported_is_said_and_no_failure(
    rehearse: Rehearsal, command: str, monkeypatch
) -> None:
    tool = {"first": "memcheck", "second": "racecheck"}[command]
    assert rehearse(command, {tool: "crashes"}) == 0
    assert rehearse.checks["sanitizer"] == {tool: sanitizing.NOT_SUPPORTED}
    monkeypatch.setattr(sanitizing, "find", lambda: None)
    assert rehearse(command) == 0
    assert rehearse.checks["sanitizer"] == {tool: sanitizing.NOT_INSTALLED}


def test_the_commit_is_the_one_given(rehearse: Rehearsal, monkeypatch) -> None:
    monkeypatch.setenv("COMMIT", "given")
    rehearse("second")
    assert rehearse.checks["commit"] == "given"


def test_the_commands_need_python_alone() -> None:
    """Neither torch nor NumPy nor what is to be built is imported before the build."""
    code = "import sys, benchmarks.on_gpu.__main__; print(*{'torch', 'numpy', 'gan_ops', 'pytest'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], cwd=jobs.ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


# ---- The parts by themselves ----


def test_a_job_that_takes_too_long_ends_with_all_that_it_started(tmp_path: Path) -> None:
    program = f"echo begun; (sleep 2; touch {tmp_path}/later) & wait"
    job = Job("it", [["sh", "-c", program]], time.time() + 0.5, tmp_path / "log")
    jobs.run([job])
    assert (job.code, job.text()) == (None, "begun\n")
    time.sleep(2)
    assert not (tmp_path / "later").exists()


def test_jobs_run_side_by_side_and_are_told_of_as_they_end(tmp_path: Path) -> None:
    order = []
    slow, quick = (
        Job(name, [["sleep", seconds]], time.time() + 9, tmp_path / name)
        for name, seconds in (("slow", "0.6"), ("quick", "0.1"))
    )
    jobs.run([slow, quick], lambda job: order.append(job.name))
    assert order == ["quick", "slow"] and slow.seconds < 2


def test_a_job_of_several_has_the_code_of_the_one_that_fails(tmp_path: Path) -> None:
    job = Job("it", [["true"], ["sh", "-c", "exit 3"]], time.time() + 9, tmp_path / "log")
    jobs.run([job])
    assert job.code == 3


def test_an_endless_log_keeps_its_beginning_and_its_end(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(jobs, "MOST", 100)
    job = Job("it", [["sh", "-c", "echo begin; seq 1000; echo end"]], time.time() + 9, tmp_path / "log")
    jobs.run([job])
    assert job.text().startswith("begin") and job.text().endswith("end\n") and len(job.text()) < 120


@pytest.mark.parametrize(
    ("code", "output", "verdict"),
    [
        (0, "all 9 cases\n========= ERROR SUMMARY: 0 errors\n", "clean, all 9 cases"),
        (0, "4 of 9 cases\n========= ERROR SUMMARY: 0 errors\n", "clean, 4 of 9 cases"),
        (None, "case 3: x\n========= ERROR SUMMARY: 0 errors\n", "no complaint, and its time was up"),
        (
            None,
            "case 3: x\n========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n",
            "no complaint, and its time was up",
        ),
        (1, "========= Error: Device not supported\n========= ERROR SUMMARY: 0 errors\n", sanitizing.NOT_SUPPORTED),
        (
            1,
            "========= Target application returned an error\n========= ERROR SUMMARY: 0 errors\n",
            "failed with exit code 1",
        ),
        (9, "========= Invalid __global__ read\n========= ERROR SUMMARY: 3 errors\n", "3 errors"),
        (9, "========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)\n", "1 hazard displayed"),
        (1, "Device not supported", "not run, compute-sanitizer does not support"),
        (1, "========= Error: Device not supported", "not run, compute-sanitizer does not support"),
        (1, "Unknown option", "failed with exit code 1"),
        (None, "", "not run, no time"),
        (None, "case 3: pixel_norm\n", "no complaint, and its time was up"),
        (None, "========= Invalid __global__ read of size 4", "errors, then its time was up"),
        (139, "case 3: pixel_norm\n", "failed with exit code 139"),
    ],
)
def test_the_verdict_is_the_tool_s(code: int | None, output: str, verdict: str) -> None:
    found = sanitizing.verdict(output, code)
    assert found.startswith(verdict)
    assert sanitizing.good(found) == (verdict.split(",")[0] in ("clean", "not run", "no complaint"))


@pytest.fixture
def some_tests(tmp_path: Path) -> Path:
    """A room with tests of two devices."""
    path = tmp_path / "test_some.py"
    path.write_text(
        """
import pytest

@pytest.fixture(params=["cpu", "cuda"])
def device(request):
    return request.param

@pytest.mark.usefixtures("device")
def test_by_fixture(): pass

@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("i", range(4))
def test_by_parameter(device, i):
    if i == 3: pytest.skip("three is skipped")
    assert i != 2, "two is wrong"

@pytest.mark.gpu
def test_of_a_gpu(): pass

def test_of_neither(): assert False
"""
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
    return path


def of_tests(room: Path, tmp_path: Path) -> tuple[Job, testing.Outcome]:
    report = tmp_path / "tests.jsonl"
    job = testing.job(sys.executable, "cuda", time.time() + 100, tmp_path / "log", report, [str(room)])
    jobs.run([job])
    return job, testing.read(report)


def test_the_tests_of_one_device_are_counted_and_failures_named(
    some_tests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In shares; xdist need not be installed here.
    monkeypatch.setattr(testing.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(testing, "workers", lambda: 2)
    job, found = of_tests(some_tests, tmp_path)
    assert found.counts == {"passed": 4, "failed": 1, "skipped": 1} and found.collected == 6 and not found.missing
    (failure,) = found.failures
    assert "test_by_parameter[2-cuda]: AssertionError: two is wrong" in failure
    assert found.reasons == {"three is skipped": 1} and len(found.slowest) == 5
    assert not testing.good(found, job) and testing.verdict(found, job) == "4 passed, 1 failed, 1 skipped"


def test_a_share_without_tests_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(testing, "workers", lambda: 2)
    (tmp_path / "test_one.py").write_text("import pytest\n@pytest.mark.gpu\ndef test_one(): pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
    job, found = of_tests(tmp_path / "test_one.py", tmp_path)
    assert testing.good(found, job) and found.counts["passed"] == 1


def test_tests_that_hang_leave_what_came_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(testing, "workers", lambda: 1)
    (tmp_path / "test_hang.py").write_text(
        "import pytest, time\n@pytest.mark.parametrize('device', ['cuda'])\n@pytest.mark.parametrize('i', range(3))\n"
        "def test_it(device, i): time.sleep(60 if i == 1 else 0)\n"
    )
    report = tmp_path / "tests.jsonl"
    job = testing.job(sys.executable, "cuda", time.time() + 100, tmp_path / "log", report, [str(tmp_path)])

    def until_the_first_has_passed() -> None:
        while not testing.read(report).counts["passed"] and time.time() < job.until:
            time.sleep(0.1)
        job.until = time.time() + 1

    thread = threading.Thread(target=until_the_first_has_passed)
    thread.start()
    jobs.run([job])
    thread.join()
    found = testing.read(report)
    assert job.code is None and found.counts["passed"] == 1 and found.missing == 2
    assert "ended at its time" in testing.verdict(found, job) and not testing.good(found, job)


def test_tests_that_cannot_be_collected_are_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(testing, "workers", lambda: 1)
    (tmp_path / "test_broken.py").write_text("import nonesuch\n")
    job, found = of_tests(tmp_path / "test_broken.py", tmp_path)
    assert found.counts["failed"] == 1 and "No module named 'nonesuch'" in found.failures[0]
    assert not testing.good(found, job)


def test_a_report_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "report"
    path.write_text('{"collected": 3}\n{"id": "a", "outcome": "passed", "seconds": 1}\n{"id": "b", "outc')
    found = testing.read(path)
    assert found.counts["passed"] == 1 and found.missing == 2
