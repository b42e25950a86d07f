"""The result files: one a machine, the same few fields for every benchmark.

::

    {"machine": "cpu-2x-…",
     "hardware": {"processor": …, "cores": …, …},
     "runs": [{"commit": …, "date": …, "command": …, "versions": {…},
               "copy_bandwidth": …}],         bytes a second, read and written, in a large copy
     "benchmarks": [
       {"name": "training_step",
        "params": {"resolution": 32, …},     what is compared
        "run": 0,                            which of runs measured it
        "rounds": 40,
        "subject": "ours",                   the alternative that the others are compared with
        "seconds": {"ours": {"median": …, "q1": …, "q3": …}, "textbook": …},
        "ratios": {"textbook": {"of_medians": …, "q1": …, "q3": …}},
        "units": {"images": 16},             what a call deals with
        "rates": {"ours": {"images": …}},    units a second, by the median
        "memory": {"ours": …},               bytes
        "roles": {"compiled": "compiled"}}], what kind an alternative is, where there are kinds
     "checks": {"commit": …, "passed": …}}   what benchmarks/on_gpu found on a GPU

A ratio is the rival's time over the subject's: above 1 the subject is faster. It is that of the medians; its quartiles
are those of the ratios within rounds, each of which times all alternatives one after another.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "results"

Row = dict[str, Any]


def row(name: str, measured: Row) -> Row:
    """A benchmark's entry from what :func:`benchmarks.race.race` left; without "run"."""
    subject, seconds, units = measured["subject"], measured["seconds"], measured["units"]
    spreads = {alternative: _quartiles(values) for alternative, values in seconds.items()}
    ratios = {}
    for rival, values in seconds.items():
        if rival != subject:
            spread = _quartiles([theirs / own for theirs, own in zip(values, seconds[subject], strict=True)])
            of_medians = spreads[rival]["median"] / spreads[subject]["median"]
            ratios[rival] = {"of_medians": _short(of_medians), "q1": spread["q1"], "q3": spread["q3"]}
    return {
        "name": name,
        "params": measured["params"],
        "rounds": len(seconds[subject]),
        "subject": subject,
        "seconds": spreads,
        "ratios": ratios,
        "units": units,
        "rates": {
            alternative: {unit: _short(count / spread["median"]) for unit, count in units.items()}
            for alternative, spread in spreads.items()
        },
        "memory": measured["memory"],
        "roles": measured.get("roles", {}),
    }


def name_of(node: str) -> str:
    """``benchmarks/ops/test_pixel_norm.py::test_pixel_norm[…]`` → ``ops/pixel_norm``."""
    path, _, test = node.partition("[")[0].partition("::")
    folders = path.split("/")[1:-1]
    return "/".join([*folders, test.removeprefix("test_")])


def merged(old: Row | None, machine: str, hardware: Row, run: Row, rows: Sequence[Row]) -> Row:
    """The file's content with new rows in the place of those that compare the same; runs left without rows go."""
    runs = [*(old["runs"] if old else []), run]
    kept = {_identity(entry): entry for entry in (old["benchmarks"] if old else [])}
    kept |= {_identity(entry): {**entry, "run": len(runs) - 1} for entry in rows}
    used = sorted({entry["run"] for entry in kept.values()})
    return {
        "machine": machine,
        "hardware": hardware,
        "runs": [runs[i] for i in used],
        "benchmarks": [{**entry, "run": used.index(entry["run"])} for entry in kept.values()],
    } | ({"checks": old["checks"]} if old and "checks" in old else {})


def taken(old: Row | None, new: Row) -> Row:
    """``old`` with what it lacks of ``new``: a file that came back from another machine."""
    content = old or {**new, "runs": [], "benchmarks": []}
    for i, run in enumerate(new["runs"]):
        if run not in content["runs"]:
            rows = [entry for entry in new["benchmarks"] if entry["run"] == i]
            content = merged(content, new["machine"], new["hardware"], run, rows)
    if "checks" in new:
        content = {**content, "checks": joined_checks(content.get("checks", {}), new["checks"])}
    return content


def joined_checks(old: Row, new: Row) -> Row:
    """What both have found of the same commit, the newer where they disagree; of another the old says nothing."""
    if old.get("commit") != new.get("commit"):
        return new
    tools = {**old.get("sanitizer", {}), **new.get("sanitizer", {})}
    return {**old, **new, **({"sanitizer": tools} if tools else {})}


def load_all(folder: Path = FOLDER) -> list[Row]:
    """Every machine's results, by name."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def load(machine: str, folder: Path = FOLDER) -> Row | None:
    path = folder / f"{machine}.json"
    return json.loads(path.read_text()) if path.exists() else None


def save(content: Row, folder: Path = FOLDER) -> Path:
    """Writes a machine's file, a line for each run and benchmark, so that differences can be read."""
    path = folder / f"{content['machine']}.json"
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for key, value in content.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list):
            text = "[\n" + ",\n".join("    " + json.dumps(entry, ensure_ascii=False) for entry in value) + "\n  ]"
        parts.append(f"  {json.dumps(key)}: {text}")
    new = path.with_suffix(".new")  # whoever is ended while writing leaves the old file whole
    new.write_text("{\n" + ",\n".join(parts) + "\n}\n")
    new.replace(path)
    return path


def _identity(entry: Row) -> str:
    return json.dumps([entry["name"], entry["params"]], sort_keys=True)


def _quartiles(values: Sequence[float]) -> dict[str, float]:
    q1, median, q3 = np.quantile(values, [0.25, 0.5, 0.75])
    return {"median": _short(median), "q1": _short(q1), "q3": _short(q3)}


def _short(number: float) -> float:
    """Five significant digits: more than any timing has."""
    return float(f"{number:.5g}")
