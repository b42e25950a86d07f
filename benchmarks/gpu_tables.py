"""The tables of single ops on a GPU: what share of the memory's speed they reach, and the targets there."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.markdown import markdown, three_digits, yes
from benchmarks.op_rows import family, fastest, geometric_mean, is_op
from benchmarks.op_tables import named_ratio, sections
from benchmarks.op_targets import ANY, OWN, Target
from benchmarks.results import Row

LARGE = 256e6
"""Bytes of a call's inputs from which on targets apply."""
OF_COPY = 0.85
"""The target for forward and backward, as a share of the copy's speed."""
DISCRIMINATION = "minibatch_discrimination"
DISCRIMINATION_SIZE = "256x100x5"
"""In float32 and in bf16."""
MODES = ("forward", "forward+backward", "double backward")


TARGETS = (
    Target("forward+backward", ANY, "the fastest", each=None, mean=1.2),
    Target("double backward", ("eager",), "the fastest op by op", each=None, mean=4.0),
    Target("double backward", ("compiled",), "one compiled graph", each=None, mean=0.9),
)
DISCRIMINATION_TARGETS = tuple(Target(mode, ANY, "the fastest", each=None, mean=10.0) for mode in MODES)


def joined(entries: Sequence[Row]) -> list[Row]:
    """One entry for each family, mode and size, of races that were run for each kind of rivals apart.

    Rivals keep the ratio that they had to ours within their race; ours is that of the first.
    """
    found: dict[tuple[str, str, str], Row] = {}
    for entry in entries:
        key = (entry["name"], entry["params"]["mode"], entry["params"]["size"])
        if key not in found:
            found[key] = {**entry, **{part: dict(entry[part]) for part in ("seconds", "ratios", "memory", "roles")}}
            continue
        first = found[key]
        scale = first["seconds"]["ours"]["median"] / entry["seconds"]["ours"]["median"]
        for name in entry["seconds"].keys() - first["seconds"].keys():
            first["seconds"][name] = {which: scale * value for which, value in entry["seconds"][name].items()}
            for part in ("ratios", "memory", "roles"):
                if name in entry[part]:
                    first[part][name] = entry[part][name]
    return list(found.values())


def of_copy(entry: Row) -> float:
    """Our share of the speed at which a copy moves as many bytes, measured in turns with us."""
    return entry["seconds"]["copy"]["median"] / entry["seconds"]["ours"]["median"]


def gigabytes(entry: Row) -> float:
    """GB/s: the bytes that the op must read and write over the time that it took."""
    return entry["units"]["bytes"] / entry["seconds"]["ours"]["median"] / 1e9


def render(entries: Sequence[Row]) -> list[str]:
    """All tables of ops that have measurements."""
    entries = joined(entries)
    return sections(entries, summary(entries), family_table)


def family_table(entries: Sequence[Row]) -> list[str]:
    """A line for each size and mode."""
    header = ["mode", "size", *_HEADER, "MB, ours", "MB, fastest rival"]
    body = []
    for entry in entries:
        memory = entry["memory"]
        megabytes = [
            three_digits(memory[name] / 1e6) if name in memory else "" for name in ("ours", fastest(entry, ANY))
        ]
        body.append([entry["params"]["mode"], entry["params"]["size"], *_cells(entry), *megabytes])
    return markdown(header, body, words=2)


def short(rows: Sequence[Row], run: Row) -> list[str]:
    """The largest of what a run has measured, for a terminal: a line for each family and size, whose modes are side by
    side, and that in 8000 characters."""
    ops = joined([row for row in rows if is_op(row)])
    lines = [f"commit {run['commit']}; a large copy moves {run['copy_bandwidth'] / 1e9:.0f} GB/s", ""]
    for entry in rows:
        if not is_op(entry):
            unit, *_ = entry["units"]
            rates = (f"{name} {three_digits(rate[unit])}" for name, rate in entry["rates"].items())
            params = ", ".join(f"{key} {value}" for key, value in entry["params"].items())
            lines.append(f"{entry['name']}, {params}: {', '.join(rates)} {unit}/s")
    groups: dict[tuple[str, str], dict[str, Row]] = {}
    for entry in sorted(ops, key=family):
        if entry["params"]["bytes"] >= LARGE or _counts_for_discrimination(entry):
            groups.setdefault((family(entry), entry["params"]["size"]), {})[entry["params"]["mode"]] = entry
    body = [
        [
            *names,
            *(" / ".join(show(modes[mode]) if mode in modes else "–" for mode in MODES) for show in _SHORT.values()),
        ]
        for names, modes in groups.items()
    ]
    if body:
        caption = f"In each cell {', '.join(MODES)}; rivals are the fastest of each kind."
        lines += [caption, *markdown(["family", "size", *_SHORT], body, words=2), ""]
    return [*lines, *summary(ops, most=12)]


def summary(entries: Sequence[Row], most: int | None = None) -> list[str]:
    """Each target and what was measured; at most ``most`` of the cases that miss the share of the copy's speed."""
    large = [entry for entry in entries if entry["params"]["bytes"] >= LARGE and family(entry) not in OWN]
    pairs = [entry for entry in entries if _counts_for_discrimination(entry)]
    lines = _shares([entry for entry in large if entry["params"]["mode"] in ("forward", "forward+backward")], most)
    body = _means(f"{LARGE / 1e6:.0f} MB and more", large, TARGETS)
    body += _means(f"minibatch discrimination, {DISCRIMINATION_SIZE}", pairs, DISCRIMINATION_TARGETS)
    if body:
        header = ["what", "mode", "against", "target for the mean", "cases", "geometric mean", "reached"]
        lines += markdown(header, body, words=3)
    return lines


def _shares(entries: Sequence[Row], most: int | None) -> list[str]:
    """How many reach their share of a copy's speed, and which do not."""
    if not entries:
        return []
    slow = sorted((entry for entry in entries if of_copy(entry) < OF_COPY), key=of_copy if most else lambda entry: 0)
    caption = (
        f"Inputs of {LARGE / 1e6:.0f} MB and more, families without targets of their own: "
        f"{len(entries) - len(slow)} of {len(entries)} forward and forward+backward passes reach {OF_COPY:.0%} of the "
        "copy's speed."
    )
    listed = [f"- {family(e)}, {e['params']['mode']}, {e['params']['size']}: {of_copy(e):.0%}" for e in slow[:most]]
    if most is not None and len(slow) > most:
        listed.append(f"- and {len(slow) - most} more")
    return [caption, "", *listed, *([""] if listed else [])]


def _means(what: str, entries: Sequence[Row], targets: Sequence[Target]) -> list[list[str]]:
    """A line for each target that some entries are for."""
    body = []
    for target in targets:
        ratios = [target.ratio(entry) for entry in entries if target.applies(entry)]
        if ratios:
            mean = geometric_mean(ratios)
            body.append([what, target.mode, target.rivals, f"{target.mean:g}", str(len(ratios)), f"**{mean:.2f}**"])
            body[-1].append(yes(mean >= target.mean))
    return body


_HEADER = ["ours, ms", "GB/s", "of copy", "vs. op by op", "vs. compiled"]


def _cells(entry: Row) -> list[str]:
    winner = fastest(entry, ANY)
    return [
        three_digits(1000 * entry["seconds"]["ours"]["median"]),
        three_digits(gigabytes(entry)),
        f"{of_copy(entry):.0%}",
        named_ratio(entry, "eager", winner),
        named_ratio(entry, "compiled", winner),
    ]


def _rival(entry: Row, kind: str) -> str:
    name = fastest(entry, (kind,))
    return "–" if name is None else f"{entry['ratios'][name]['of_medians']:.2f}"


_SHORT = {
    "ms": lambda entry: three_digits(1000 * entry["seconds"]["ours"]["median"]),
    "of copy": lambda entry: f"{of_copy(entry):.0%}",
    "vs. op by op": lambda entry: _rival(entry, "eager"),
    "vs. compiled": lambda entry: _rival(entry, "compiled"),
}


def _counts_for_discrimination(entry: Row) -> bool:
    return family(entry) == DISCRIMINATION and entry["params"]["size"] in (
        DISCRIMINATION_SIZE,
        f"{DISCRIMINATION_SIZE}-bf16",
    )
