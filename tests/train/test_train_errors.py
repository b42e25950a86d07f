"""How a program ends: errors that a user can mend are a line, and the exit code says whose they are."""

import errno

import pytest
import torch

from train.base.errors import LONGEST, TrainingError, UsageError, run_program
from train.data import DataError


def failing(error: BaseException):
    def main() -> int:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("lr=x\nis wrong"), 2, "error: lr=x is wrong"),
        (DataError("pictures: no such folder"), 2, "error: pictures: no such folder"),
        (TrainingError("training has diverged"), 1, "error: training has diverged"),
        (OSError(errno.ENOSPC, "No space left on device", "run/a.pt"), 1, "error: run/a.pt: No space left on device"),
        (OSError(errno.EACCES, "Permission denied", b"caf\xe9"), 2, r"error: caf\xe9: Permission denied"),
        (KeyboardInterrupt(), 130, "error: interrupted before training began"),
    ],
)
def test_an_error_is_a_line_and_a_code(capsys, error, code, line):
    assert run_program(failing(error)) == code
    assert capsys.readouterr().err == line + "\n"


@pytest.mark.parametrize(
    "main",
    [
        failing(MemoryError()),
        failing(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")),
        lambda: len(torch.empty(2**50)),
    ],
    ids=["python", "gpu", "cpu"],
)
def test_too_little_memory_is_said_with_what_helps(capsys, main):
    assert run_program(main) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: there is not enough memory: smaller sizes, such as that of --batch")


def test_what_is_a_bug_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="shapes differ"):
        run_program(failing(RuntimeError("shapes differ")))


def test_the_middle_of_a_long_message_is_left_out(capsys):
    assert run_program(failing(UsageError(f"begin {5000 * 'x'} end"))) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) <= LONGEST and line.startswith("error: begin x") and line.endswith("x end") and " … " in line
