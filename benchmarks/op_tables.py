"""The tables of single ops (benchmarks/ops) in benchmarks/README.md, and how many of the targets are met."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.markdown import markdown, three_digits
from benchmarks.ops.in_graphs import stays_a_kernel
from benchmarks.results import Row

PREFIX = "ops/"
NEAR_LIMIT = 1.2
"""A target counts as met within this of the limit, whatever the rivals do: the machine cannot be much faster."""
LARGE, SMALL = 1e6, 64e3
"""Bytes of a call's inputs: targets apply from LARGE on; the overhead of calls is compared below SMALL."""
CALL = 2e-6
"""Seconds that a small call may take beyond one ATen op."""
DISTANCES = "pair_distances"
ONE_ATEN_OP = {"interpolate", "historical_update_"}
LINEAR = {"interpolate", "fade_in", "bias_act", "historical_update_"}
"""Linear or piecewise linear: their second derivatives take hardly any work, so they have no target."""


@dataclass(frozen=True)
class Target:
    """One column of the targets: a mode against the fastest of some kinds of rivals."""

    mode: str
    kinds: tuple[str, ...]
    rivals: str
    each: float
    mean: float
    discrimination: float
    distances: float = 1.5

    def ratio(self, entry: Row) -> float | None:
        """The fastest such rival's time over ours; None where there is none."""
        found = fastest(entry, self.kinds)
        return found and entry["ratios"][found]["of_medians"]

    def applies(self, entry: Row) -> bool:
        return (
            entry["params"]["mode"] == self.mode
            and not (self.mode == "double backward" and is_linear(entry))
            and fastest(entry, self.kinds) is not None
        )


TARGETS = (
    Target("forward", ("eager", "compiled"), "the fastest", each=1.1, mean=1.3, discrimination=4),
    Target("forward+backward", ("eager", "compiled"), "the fastest", each=1.2, mean=1.5, discrimination=5),
    Target("double backward", ("eager",), "the fastest op by op", each=3, mean=4, discrimination=10),
    Target(
        "double backward", ("compiled",), "one compiled graph", each=0.8, mean=0.95, discrimination=10, distances=0.8
    ),
)


def is_op(entry: Row) -> bool:
    return entry["name"].startswith(PREFIX)


def family(entry: Row) -> str:
    return entry["name"].removeprefix(PREFIX)


def is_linear(entry: Row) -> bool:
    return family(entry) in LINEAR


def fastest(entry: Row, kinds: Iterable[str]) -> str | None:
    """The fastest rival of these kinds."""
    names = [name for name, kind in entry["roles"].items() if kind in kinds]
    return min(names, key=lambda name: entry["seconds"][name]["median"], default=None)


def times_limit(entry: Row) -> float:
    """Our time over the limit's, the largest of those measured."""
    limits = [entry["seconds"][name]["median"] for name, kind in entry["roles"].items() if kind == "limit"]
    return entry["seconds"]["ours"]["median"] / max(limits)


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


def summary(entries: Sequence[Row]) -> list[str]:
    """Each target, what was measured, and every case that misses its target."""
    pairs = [entry for entry in entries if _is_discrimination(entry)]
    distances = [entry for entry in entries if family(entry) == DISTANCES]
    others = [entry for entry in entries if entry not in pairs and entry not in distances]
    large = [entry for entry in others if entry["params"]["bytes"] >= LARGE]
    pairs = [entry for entry in pairs if _samples(entry) >= 128]
    header = ["mode", "against", "target for each", "reached", "only near the limit", "missed"]
    lines, short = [], []
    if large:
        body = []
        for target in TARGETS:
            of_target = [entry for entry in large if target.applies(entry)]
            mean = geometric_mean([target.ratio(entry) for entry in of_target])
            body.append([*_counts(target, target.each, of_target), f"{target.mean:g}", f"**{mean:.2f}**"])
            body[-1].append(yes(mean >= target.mean))
            short += _shortfalls(target, target.each, of_target)
        lines += [f"All families but those of pairs, inputs of {LARGE / 1e6:g} MB and more.", ""]
        lines += markdown([*header, "target for the geometric mean", "mean", "reached"], body, words=2)
    if pairs:
        body = []
        for target in TARGETS:
            of_target = [entry for entry in pairs if target.applies(entry)]
            body.append(_counts(target, target.discrimination, of_target))
            short += _shortfalls(target, target.discrimination, of_target)
        lines += [""] if lines else []
        lines += ["Minibatch discrimination of 128 samples and more.", "", *markdown(header, body, words=2)]
    if distances:
        body = []
        for target in TARGETS:
            of_target = [entry for entry in distances if target.applies(entry)]
            body.append(_counts(target, target.distances, of_target))
            short += _shortfalls(target, target.distances, of_target)
        lines += [""] if lines else []
        lines += ["Distances of pairs.", "", *markdown(header, body, words=2)]
    if not lines:
        return []
    for entry in (*large, *pairs, *distances):
        if fastest(entry, ("eager", "compiled")) is None:
            params = entry["params"]
            short.append(
                f"- {family(entry)}, {params['mode']}, {params['size']}: no rival's intermediates fit in memory; "
                f"{times_limit(entry):.2f} times the limit"
            )
    return [*lines, "", *(["Cases that miss their target:", "", *short] if short else ["No case misses its target."])]


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


def _met(target: Target, asked: float, entry: Row) -> bool:
    return target.ratio(entry) >= asked or times_limit(entry) <= NEAR_LIMIT


def _counts(target: Target, asked: float, entries: Sequence[Row]) -> list[str]:
    """The cells that a line of the summary begins with."""
    reached = sum(target.ratio(entry) >= asked for entry in entries)
    met = sum(_met(target, asked, entry) for entry in entries)
    return [
        target.mode,
        target.rivals,
        f"{asked:g}",
        f"{reached} of {len(entries)}",
        str(met - reached),
        str(len(entries) - met),
    ]


def _shortfalls(target: Target, asked: float, entries: Sequence[Row]) -> list[str]:
    return [
        f"- {family(entry)}, {target.mode}, {entry['params']['size']}: {target.ratio(entry):.2f} (target {asked:g}) "
        f"against {target.rivals}, {times_limit(entry):.2f} times the limit"
        for entry in entries
        if not _met(target, asked, entry)
    ]


def _is_discrimination(entry: Row) -> bool:
    return family(entry) == "minibatch_discrimination"


def _samples(entry: Row) -> int:
    """N of a size that reads "128x100x5"."""
    return int(entry["params"]["size"].partition("x")[0])


def named_ratio(entry: Row, kind: str, winner: str | None) -> str:
    """The fastest rival of a kind: its time over ours, bold if it is the fastest of all, and its name."""
    name = fastest(entry, (kind,))
    if name is None:
        return ""
    ratio = f"{entry['ratios'][name]['of_medians']:.2f}"
    return f"{f'**{ratio}**' if name == winner else ratio} {name}"


def _megabytes(entry: Row, name: str | None) -> str:
    return three_digits(entry["memory"][name] / 1e6) if name in entry["memory"] else ""


def geometric_mean(ratios: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else math.nan


def yes(met: bool) -> str:
    return "yes" if met else "**no**"
