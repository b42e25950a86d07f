"""One program at a time writes to a run's folder."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest

from train import dcgan, generate, pggan, report
from train.base.errors import UsageError, run_program
from train.base.lock import LOCK, locked

HOLD = """
import pathlib, sys, train.base.lock
with train.base.lock.locked(pathlib.Path(sys.argv[1]), "training"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of ``tmp_path``."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], **pipes) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def holding(process_id: int) -> str:
    return f"process {process_id} on {socket.gethostname()}"


def test_a_second_process_is_refused_with_the_folder_and_the_first_ones_number(holder, tmp_path):
    expected = f"another training is already running in {tmp_path}: {holding(holder.pid)}, or one that it started"
    for _ in range(2):  # who was refused has not erased who holds it
        with pytest.raises(UsageError, match=f"^{re.escape(expected)}$"), locked(tmp_path, "training"):
            pass


def test_the_lock_of_a_killed_process_is_taken_over(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert holding(holder.pid) in (tmp_path / LOCK).read_text()
    with locked(tmp_path, "training"):
        assert (tmp_path / LOCK).read_text() == f"{holding(os.getpid())}\n"


def test_what_a_reboot_leaves_is_no_lock(tmp_path):
    (tmp_path / LOCK).write_text("process 1 on this very machine, which lives\n")
    with locked(tmp_path, "training"):
        pass


def test_the_lock_is_free_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path, "training"):
        raise ZeroDivisionError
    with locked(tmp_path, "training"):
        pass


def test_without_locks_in_the_file_system_a_warning_says_so(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("train.base.lock.fcntl.flock", refuse)
    with locked(tmp_path, "training"):
        pass
    assert f"warning: {tmp_path} is on a file system without locks" in capsys.readouterr().err


@pytest.mark.parametrize("program", [pggan, dcgan])
@pytest.mark.parametrize("option", ["--resume", "--out"])
def test_training_where_another_trains_is_one_line_and_changes_nothing(
    program, option, holder, tmp_path, tiny_options, capsys
):
    (tmp_path / "config.json").write_text(json.dumps({"program": program.SYSTEM.program}))
    if option == "--out":
        (tmp_path / "config.json").unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    small = tiny_options() if program is pggan else ["--resolution", "16", "--data-size", "40", "--device", "cpu"]
    assert run_program(lambda: program.main([*(small if option == "--out" else []), option, str(tmp_path)])) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"another training is already running in {tmp_path}: {holding(holder.pid)}" in line
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_run_is_locked_while_it_trains_and_can_be_read_meanwhile(tiny_options, tmp_path, monkeypatch):
    run, said = tmp_path / "run", []

    def look(folder, *_, **__):
        """In the middle of training, from a thread so that no signal handler is in the way."""

        def others():
            said.append(run_program(lambda: pggan.main(["--resume", str(run)])))
            said.append(run_program(lambda: generate.main([str(run), "--out", str(tmp_path / "grid.png")])))
            said.append(run_program(lambda: report.main([str(run), "--out", str(tmp_path / "report.html")])))

        thread = threading.Thread(target=others)
        thread.start()
        thread.join()

    prune = "train.run.checkpoint.prune"
    monkeypatch.setattr(prune, look)  # called when a checkpoint is there
    assert pggan.main(tiny_options(out=run, checkpoint_kimg=0)) == 0
    assert said == [2, 0, 0]
    monkeypatch.undo()
    assert pggan.main(["--resume", str(run)]) == 0
