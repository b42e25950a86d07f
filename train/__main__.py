"""``python -m train``: lists every system; ``python -m train pggan …`` is ``python -m train.pggan …``."""

from __future__ import annotations

import difflib
import runpy
import sys
from collections.abc import Sequence

from train.base.errors import UsageError, run_program
from train.run.system import FOLDER, catalogue

TOOLS = {
    "generate": "draws images, grids and interpolations from a run",
    "evaluate": "measures a run, or a folder of images",
    "report": "makes a page of a run: curves, samples, metrics",
    "export": "writes a run's generator for other programs",
}


def main(args: Sequence[str] | None = None) -> int:
    args = sys.argv[1:] if args is None else list(args)
    systems = catalogue()
    studies = sorted(path.stem for path in (FOLDER / "studies").glob("*.py") if "\nPROG = " in path.read_text())
    programs = {**{entry.name: entry.line for entry in systems}, **TOOLS, **{f"studies.{name}": "" for name in studies}}
    if not args or args[0] in ("-h", "--help"):
        width = max(map(len, programs)) + 2
        print("python -m train.NAME --help says what a program does.\n\nSystems to train:")
        print("\n".join(f"  {entry.name:{width}}{entry.line}" for entry in systems))
        print("\nWith what was trained:")
        print("\n".join(f"  {name:{width}}{line}" for name, line in TOOLS.items()))
        print("\nStudies:")
        print("\n".join(f"  studies.{name}" for name in studies))
        return 0
    if args[0] not in programs:
        close = difflib.get_close_matches(args[0], programs, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else "python -m train lists them all"
        raise UsageError(f"there is no system {args[0]!r} ({hint})")
    sys.argv[1:] = args[1:]
    runpy.run_module(f"train.{args[0]}", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
