"""``python -m benchmarks``: measures, writes benchmarks/results/ and remakes the tables in benchmarks/README.md.

Other arguments go to pytest: ``python -m benchmarks -k growing`` measures only that and keeps the other results.
If there is a GPU, the measurements run on it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from benchmarks import gpu_tables, machine, results, tables, timing
from benchmarks.keeping import Keeper
from benchmarks.on_gpu import TABLE


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--machine", metavar="NAME", help="name of the result file (default: that of the processor or GPU)"
    )
    parser.add_argument("--tables", action="store_true", help="only remake the tables from the result files")
    parser.add_argument(
        "--take", metavar="FILE", type=Path, help="only add a result file that another machine has written"
    )
    parser.add_argument(
        "--results", metavar="FOLDER", type=Path, help="folder for the result file (the tables are not remade)"
    )
    parser.add_argument("--until", metavar="TIME", type=float, help="start no benchmark after this Unix time")
    options, pytest_arguments = parser.parse_known_args()
    if options.take:
        new = json.loads(options.take.read_text())
        print(results.save(results.taken(results.load(new["machine"]), new)))
    elif not options.tables:
        facts = machine.hardware()
        name = options.machine or machine.default_name(facts)
        if not re.fullmatch(r"[\w.-]+", name):
            parser.error(f"--machine {name!r} is not made of letters, digits, dots and dashes")
        run = {
            "commit": machine.commit(),
            "date": datetime.date.today().isoformat(),
            "command": shlex.join(["python", "-m", "benchmarks", *pytest_arguments]),
            "versions": machine.versions(),
            "copy_bandwidth": timing.copy_bandwidth(),
        }
        folder = options.results or results.FOLDER
        before = results.load(name, folder) or results.load(name)

        def keep(rows: list[results.Row]) -> None:
            results.save(results.merged(before, name, facts, run, rows), folder)

        keeper = Keeper(keep, options.until)
        code = measure(pytest_arguments, keeper)
        report(keeper, run, folder / f"{name}.json")
        if code or options.results:
            return code
    tables.README.write_text(tables.rewritten(tables.README.read_text(), tables.render(results.load_all())))
    print(tables.README)
    return 0


def measure(arguments: list[str], keeper: Keeper) -> int:
    """pytest's exit code."""
    fixed = ["--override-ini=testpaths=benchmarks", "--benchmark-only"]
    if machine.DEVICE.type == "cuda":
        fixed.append("--benchmark-quiet")  # its table is of turns by the host's clock
    return int(pytest.main([*fixed, *arguments], plugins=[keeper]))


def report(keeper: Keeper, run: results.Row, path: Path) -> None:
    """Prints what a terminal can hold of a run on a GPU, and what there was no time for."""
    if machine.DEVICE.type == "cuda" and keeper.rows:
        print(TABLE + "\n".join(gpu_tables.short(keeper.rows, run)))
    if keeper.left_out:
        print(f"no time was left for {len(keeper.left_out)}: {', '.join(keeper.left_out)}"[:600])
    if keeper.rows:
        print(path)


if __name__ == "__main__":
    sys.exit(main())
