"""What stands in for the processes of a study's trainings."""

from __future__ import annotations

import contextlib
import importlib
import io
import subprocess
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from train.base.errors import run_program


class Inside:
    """Trains at once, in this process."""

    started: list[list[str]]
    """The words of each training, after the program's name."""

    def __init__(self, words: Sequence[str], stderr: Any, **_: Any) -> None:
        program, errors = importlib.import_module(words[2]), io.StringIO()
        Inside.started.append(list(words[3:]))
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            self.returncode = run_program(lambda: program.main(list(words[3:])))
        stderr.write(errors.getvalue().encode())

    def poll(self) -> int:
        return self.returncode

    def wait(self) -> int:
        return self.returncode

    def terminate(self) -> None: ...


INSIDE = SimpleNamespace(Popen=Inside, DEVNULL=subprocess.DEVNULL)
"""In the place of the module: others, such as matplotlib, start programs too."""
