"""The tables of single ops (benchmarks/ops) in benchmarks/README.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.markdown import markdown, three_digits, yes
from benchmarks.op_rows import family, fastest, geometric_mean, times_limit
from benchmarks.op_targets import summary
from benchmarks.ops.in_graphs import stays_a_kernel
from benchmarks.results import Row

SMALL = 64e3
"""Bytes of a call's inputs below which the overhead of calls is compared."""
CALL = 2e-6
"""Seconds that a small call may take beyond one ATen op."""
ONE_ATEN_OP = {"interpolate", "historical_update_"}


def render(entries: Sequence[Row]) -> list[str]:
    """All tables of ops that have measurements."""
    return sections(entries, summary(entries), family_table)


def sections(entries: Sequence[Row], targets: list[str], of_family: Callable[[Sequence[Row]], list[str]]) -> list[str]:
    """Tables under their headings, those without lines left out: what a machine's kind says of the targets, what all
    kinds have, and a table for each family."""
    families: dict[str, list[Row]] = {}
    for entry in entries:
        families.setdefault(family(entry), []).append(entry)
    found = {
        "Single ops: the targets": targets,
        "Single ops: small tensors": small_calls(entries),
        "Single ops in compiled graphs": compiled_graphs(entries),
        **{name: of_family(members) for name, members in families.items()},
    }
    return [line for title, lines in found.items() if lines for line in ("", f"### {title}", "", *lines)]


def family_table(entries: Sequence[Row]) -> list[str]:
    """A line for each size and mode."""
    header = ["mode", "size", "ours, ms", "vs. op by op", "vs. compiled", "times the limit"]
    header += ["MB, ours", "MB, fastest rival"]
    body = []
    for entry in entries:
        winner = fastest(entry, ("eager", "compiled"))
        body.append(
            [
                entry["params"]["mode"],
                entry["params"]["size"],
                three_digits(1000 * entry["seconds"]["ours"]["median"]),
                named_ratio(entry, "eager", winner),
                named_ratio(entry, "compiled", winner),
                f"{times_limit(entry):.2f}",
                _megabytes(entry, "ours"),
                _megabytes(entry, winner),
            ]
        )
    return markdown(header, body, words=2)


def small_calls(entries: Sequence[Row]) -> list[str]:
    """The overhead of calls, measured with tensors so small that little else counts."""
    small = [entry for entry in entries if entry["params"]["bytes"] < SMALL and fastest(entry, ("eager",))]
    body = []
    for entry in small:
        rival = fastest(entry, ("eager",))
        own, other = (entry["seconds"][name]["median"] for name in ("ours", rival))
        met = own <= other + (CALL if family(entry) in ONE_ATEN_OP else 0)
        body.append(
            [
                family(entry),
                entry["params"]["mode"],
                entry["params"]["size"],
                *(f"{1e6 * t:.1f}" for t in (own, other)),
                rival,
                yes(met),
            ]
        )
    caption = (
        f"Microseconds of a call under {SMALL / 1e3:.0f} kB. The target is to be faster than the fastest way op by "
        f"op, or at most {1e6 * CALL:.0f} µs slower where that is one ATen op ({', '.join(sorted(ONE_ATEN_OP))})."
    )
    header = ["family", "mode", "size", "ours", "op by op", "rival", "reached"]
    return body and [caption, "", *markdown(header, body, words=3)]


def compiled_graphs(entries: Sequence[Row]) -> list[str]:
    """Kernel against definition inside compiled functions, and which of the two the op uses there."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for entry in entries:
        if "compiled" in entry["seconds"] and "compiled kernel" in entry["seconds"]:
            groups.setdefault((family(entry), entry["params"]["mode"]), []).append(entry)
    body = []
    for (name, mode), of_group in groups.items():
        ratios = [e["seconds"]["compiled"]["median"] / e["seconds"]["compiled kernel"]["median"] for e in of_group]
        spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
        choice = "kernel" if stays_a_kernel(name) else "definition"
        body.append([name, mode, f"**{geometric_mean(ratios):.2f}**", spread, choice])
    caption = "The definition's time over the kernel's inside a compiled function: above 1 the kernel is faster."
    return body and [
        caption,
        "",
        *markdown(["family", "mode", "mean", "range over sizes", "compiled graphs use the"], body, words=2),
    ]


def named_ratio(entry: Row, kind: str, winner: str | None) -> str:
    """The fastest rival of a kind: its time over ours, bold if it is the fastest of all, and its name."""
    name = fastest(entry, (kind,))
    if name is None:
        return ""
    ratio = f"{entry['ratios'][name]['of_medians']:.2f}"
    return f"{f'**{ratio}**' if name == winner else ratio} {name}"


def _megabytes(entry: Row, name: str | None) -> str:
    return three_digits(entry["memory"][name] / 1e6) if name in entry["memory"] else ""
