"""The tables in benchmarks/README.md, made from the result files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import gpu_tables, op_tables
from benchmarks.markdown import markdown, three_digits
from benchmarks.op_rows import is_op
from benchmarks.results import Row

README = Path(__file__).parent / "README.md"
BEGIN = "<!-- Made by `python -m benchmarks --tables` from results/*.json. -->"
END = "<!-- End of the tables. -->"


def rewritten(text: str, tables: str) -> str:
    """``text`` with what lies between the two marks replaced.

    Raises:
        ValueError: if a mark is missing.
    """
    for mark in (BEGIN, END):
        if mark not in text:
            raise ValueError(f"the README lacks the line {mark}")
    return f"{text.partition(BEGIN)[0]}{BEGIN}\n\n{tables}\n{END}{text.partition(END)[2]}"


def render(machines: Iterable[Row]) -> str:
    """All tables, a section for each machine."""
    return "\n".join(section(machine) for machine in machines)


def section(machine: Row) -> str:
    """One machine: what it is, then a table for each benchmark and set of alternatives, then those of single ops."""
    hardware = machine["hardware"]
    where = f"{hardware['processor']}, {hardware['cores']} cores, {hardware['instruction_set']}"
    gpu = "" if hardware["gpu"] == "none" else f", {hardware['gpu']}"
    lines = [f"## {machine['machine']}", "", f"{where}{gpu}; torch uses {hardware['threads']} threads.", ""]
    for run in machine["runs"]:
        software = ", ".join(f"{name} {version}" for name, version in run["versions"].items() if name != "os")
        copy = f"; a large copy moves {run['copy_bandwidth'] / 1e9:.0f} GB/s" if "copy_bandwidth" in run else ""
        lines.append(
            f"- {run['date']}, commit {run['commit']}: `{run['command']}` on {run['versions']['os']}; {software}{copy}"
        )
    if "checks" in machine:
        lines += ["", _checks(machine["checks"])]
    groups: dict[tuple[str, ...], list[Row]] = {}
    ops = []
    for entry in machine["benchmarks"]:
        if is_op(entry):
            ops.append(entry)
        else:
            groups.setdefault((entry["name"], *entry["seconds"]), []).append(entry)
    for (name, *_), entries in groups.items():
        lines += ["", f"### {name}", "", *table(entries)]
    lines += (op_tables if hardware["gpu"] == "none" else gpu_tables).render(ops)
    return "\n".join(lines) + "\n"


def _checks(checks: Row) -> str:
    """One sentence about the tests that were run on the machine."""
    counts = ", ".join(f"{checks[what]} {what}" for what in ("passed", "skipped", "failed") if what in checks)
    if checks.get("unended"):
        counts += f", {checks['unended']} not ended"
    found = {"doctor": checks.get("doctor"), **checks.get("sanitizer", {})}
    others = [f"{name}: {verdict}" for name, verdict in found.items() if verdict]
    return f"Tests on {checks['date']}, commit {checks['commit']}: {'; '.join(filter(None, [counts, *others]))}."


def table(entries: Sequence[Row]) -> list[str]:
    """Lines of one table: benchmarks with the same alternatives, one a row, above it the parameters that all share."""
    first = entries[0]
    varying = [key for key in first["params"] if len({str(entry["params"].get(key)) for entry in entries}) > 1]
    shared = [f"{key} {value}" for key, value in first["params"].items() if key not in varying]
    unit = next(iter(first["units"]), None)
    what = f"{unit} per second" if unit else "milliseconds"
    subject, memory = first["subject"], list(first["memory"])
    header = [
        *varying,
        *first["seconds"],
        *(f"{subject} vs. {rival}" for rival in first["ratios"]),
        *(f"MB, {alternative}" for alternative in memory),
    ]
    body = []
    for entry in entries:
        body.append(
            [
                *(str(entry["params"].get(key)) for key in varying),
                *(_speed(entry, alternative, unit) for alternative in first["seconds"]),
                *(_ratio(entry["ratios"][rival]) for rival in first["ratios"]),
                *(
                    f"{entry['memory'][alternative] / 1e6:.0f}" if alternative in entry["memory"] else ""
                    for alternative in memory
                ),
            ]
        )
    caption = "; ".join(filter(None, [", ".join(shared), what]))
    return [f"{caption[0].upper()}{caption[1:]}.", "", *markdown(header, body)]


def _speed(entry: Row, alternative: str, unit: str | None) -> str:
    if unit is None:
        return three_digits(1000 * entry["seconds"][alternative]["median"])
    return three_digits(entry["rates"][alternative][unit])


def _ratio(ratio: dict[str, float]) -> str:
    return f"**{ratio['of_medians']:.2f}** ({ratio['q1']:.2f}–{ratio['q3']:.2f})"
