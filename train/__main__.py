"""``python -m train``: lists every system; ``python -m train pggan …`` is ``python -m train.pggan …``."""

from __future__ import annotations

import difflib
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from train.base.errors import UsageError, run_program
from train.run.system import FOLDER, catalogue, first_line

HOW = "``python -m train."
"""Tools and studies say first how they are started."""


def others(folder: Path) -> dict[str, str]:
    """The programs of a folder that are no systems, with a line each; nothing is imported."""
    lines = [first_line(path) for path in sorted(folder.glob("*.py"))]
    started = [line.removeprefix(HOW).partition("``: ") for line in lines if line.startswith(HOW)]
    return {name: line for name, _, line in started}


def programs() -> dict[str, dict[str, str]]:
    """All that can be started: headings, and below each the names with a line."""
    return {
        "Systems to train": catalogue(),
        "With what was trained": others(FOLDER),
        "Studies, which train many": others(FOLDER / "studies"),
    }


def main(args: Sequence[str] | None = None) -> int:
    args = sys.argv[1:] if args is None else list(args)
    known = programs()
    names = {name: line for some in known.values() for name, line in some.items()}
    if not args or args[0] in ("-h", "--help"):
        width = max(map(len, names)) + 2
        print("python -m train NAME --help says what a program does.")
        for heading, some in known.items():
            print(f"\n{heading}:", *(f"  {name:{width}}{line}" for name, line in some.items()), sep="\n")
        return 0
    if args[0] not in names:
        close = difflib.get_close_matches(args[0], names, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else "python -m train lists them all"
        raise UsageError(f"there is no program {args[0]!r} ({hint})")
    sys.argv[1:] = args[1:]
    runpy.run_module(f"train.{args[0]}", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
