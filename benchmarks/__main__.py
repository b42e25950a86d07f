"""``python -m benchmarks``: measures, keeps the results in benchmarks/results/, remakes the tables in the README there.

Other arguments go to pytest: ``python -m benchmarks -k growing`` measures that alone and leaves the other results.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import shlex
import sys
import tempfile
from pathlib import Path

import pytest

from benchmarks import machine, results, tables


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, allow_abbrev=False)
    parser.add_argument("--machine", metavar="NAME", help="name of the result file (default: after the processor)")
    parser.add_argument("--tables", action="store_true", help="only remake the tables from the result files")
    options, pytest_arguments = parser.parse_known_args()
    if not options.tables:
        facts = machine.hardware()
        name = options.machine or machine.default_name(facts)
        if not re.fullmatch(r"[\w.-]+", name):
            parser.error(f"--machine {name!r} is not made of letters, digits, dots and dashes")
        run = {
            "commit": machine.commit(),
            "date": datetime.date.today().isoformat(),
            "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
            "versions": machine.versions(),
        }
        code, rows = measure(pytest_arguments)
        if rows:
            print(results.save(results.merged(results.load(name), name, facts, run, rows)))
        if code:
            return code
    tables.README.write_text(tables.rewritten(tables.README.read_text(), tables.render(results.load_all())))
    print(tables.README)
    return 0


def measure(arguments: list[str]) -> tuple[int, list[results.Row]]:
    """pytest's exit code, and the results of the benchmarks that passed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        fixed = ["--override-ini=testpaths=benchmarks", "--benchmark-only", f"--benchmark-json={report}"]
        code = pytest.main([*fixed, *arguments])
        content = report.read_text() if report.exists() else ""
        return int(code), results.rows_of(json.loads(content)) if content else []


if __name__ == "__main__":
    sys.exit(main())
