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
    files = sorted((FOLDER / "studies").glob("*.py"))
    studies = {f"studies.{path.stem}": "" for path in files if "\nPROG = " in path.read_text()}
    programs = [*systems, *TOOLS, *studies]
    if not args or args[0] in ("-h", "--help"):
        width = max(map(len, programs)) + 2
        print("python -m train.NAME --help says what a program does.")
        for title, lines in (("Systems to train", systems), ("With what was trained", TOOLS), ("Studies", studies)):
            print(f"\n{title}:")
            print("\n".join(f"  {name:{width}}{line}".rstrip() for name, line in lines.items()))
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
