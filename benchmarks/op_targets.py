"""What is asked of each op on a CPU, and how much of it is reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.markdown import markdown, yes
from benchmarks.op_rows import family, fastest, geometric_mean, is_linear, times_limit
from benchmarks.results import Row

NEAR_LIMIT = 1.2
"""A target counts as met within this of the limit, whatever the rivals do: the machine cannot be much faster."""
LARGE = 1e6
"""Bytes of a call's inputs from which on most targets apply: below it the overhead of calls counts as well."""
ANY = ("eager", "compiled")


@dataclass(frozen=True)
class Target:
    """A mode against the fastest of some kinds of rivals: the ratio asked of each size, and of the geometric mean."""

    mode: str
    kinds: tuple[str, ...]
    rivals: str
    each: float | None
    mean: float | None

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

    def is_met(self, entry: Row) -> bool:
        return self.each is None or self.ratio(entry) >= self.each or times_limit(entry) <= NEAR_LIMIT


PLACES = (
    ("forward", ANY, "the fastest"),
    ("forward+backward", ANY, "the fastest"),
    ("double backward", ("eager",), "the fastest op by op"),
    ("double backward", ("compiled",), "one compiled graph"),
)


class Group:
    """Results with the same targets.

    Args:
        caption: what they are.
        each: the ratio asked of each size, and
        mean: of their geometric mean, in the order of PLACES.
        counts: which results of the family have a target.
        memory: the most peak memory, as a share of the fastest rival's.
    """

    def __init__(
        self,
        caption: str,
        *,
        each: Sequence[float] | None = None,
        mean: Sequence[float] | None = None,
        counts: Callable[[Row], bool] = lambda entry: True,
        memory: float | None = None,
    ) -> None:
        none = (None,) * len(PLACES)
        self.caption, self.counts, self.memory = caption, counts, memory
        self.targets = [
            Target(*place, *asked) for place, *asked in zip(PLACES, each or none, mean or none, strict=True)
        ]

    def table(self, entries: Sequence[Row]) -> list[str]:
        """A line for each target."""
        header = ["mode", "against"]
        if any(target.each for target in self.targets):
            header += ["target for each", "reached", "only near the limit", "missed"]
        if any(target.mean for target in self.targets):
            header += ["target for the geometric mean", "mean", "reached"]
        body = [_line(target, entries) for target in self.targets]
        return [self.caption, "", *markdown(header, body, words=2), *self._memory(entries)]

    def _memory(self, entries: Sequence[Row]) -> list[str]:
        shares = [_memory_share(entry) for entry in entries]
        if self.memory is None or not any(shares):
            return []
        most = max(filter(None, shares))
        target = f"target: at most {self.memory:g}; reached: {yes(most <= self.memory)}"
        return ["", f"Peak memory, as a share of the fastest rival's: at most {most:.2f} ({target})."]


OWN = {
    "minibatch_discrimination": Group(
        "Minibatch discrimination of 128 samples and more.",
        each=(4, 5, 10, 10),
        counts=lambda entry: int(entry["params"]["size"].partition("x")[0]) >= 128,  # such as 128x100x5
    ),
    "pair_distances": Group("Distances of pairs.", each=(1.5, 1.5, 1.5, 0.8)),
    "conv2d": Group("Convolutions, which are torch's own.", each=(0.95, 0.95, 1, 0.8)),
    "upfirdn2d": Group("Resampling by filters.", mean=(4, 4, 4, 4)),
    "filtered_lrelu": Group("Filtered leaky ReLU.", each=(3, 3, 3, 3), memory=0.4),
    "grid_sample": Group("Sampling at the points of a grid.", each=(1, 1.2, 5, 5)),
    "attention": Group("Attention.", each=(0.9, 0.9, 0.91, 0.91)),
    "scale_bias_act": Group(
        "Scale, noise, bias and activation, inputs of 1 MB and more.",
        each=(1.5, 2, 4, 4),
        counts=lambda entry: entry["params"]["bytes"] >= LARGE,
    ),
}
"""Families with targets of their own."""

OTHERS = Group(
    f"Families without targets of their own, inputs of {LARGE / 1e6:g} MB and more.",
    each=(1.1, 1.2, 3, 0.8),
    mean=(1.3, 1.5, 4, 0.95),
    counts=lambda entry: entry["params"]["bytes"] >= LARGE,
)


def summary(entries: Sequence[Row]) -> list[str]:
    """Each target, what was measured, and every case that misses its target."""
    lines, short = [], []
    for name, group in {"": OTHERS, **OWN}.items():
        of_group = [
            entry
            for entry in entries
            if (family(entry) if family(entry) in OWN else "") == name and group.counts(entry)
        ]
        if of_group:
            lines += [*([""] if lines else []), *group.table(of_group)]
            short += [line for target in group.targets for line in _shortfalls(target, of_group)]
            short += _without_rivals(of_group)
    if not lines:
        return []
    return [*lines, "", *(["Cases that miss their target:", "", *short] if short else ["No case misses its target."])]


def _line(target: Target, entries: Sequence[Row]) -> list[str]:
    entries = [entry for entry in entries if target.applies(entry)]
    cells = [target.mode, target.rivals]
    if target.each is not None:
        reached = sum(target.ratio(entry) >= target.each for entry in entries)
        met = sum(target.is_met(entry) for entry in entries)
        cells += [f"{target.each:g}", f"{reached} of {len(entries)}", str(met - reached), str(len(entries) - met)]
    if target.mean is not None:
        mean = geometric_mean([target.ratio(entry) for entry in entries])
        cells += [f"{target.mean:g}", f"**{mean:.2f}**", yes(mean >= target.mean)]
    return cells


def _memory_share(entry: Row) -> float | None:
    memory, rival = entry["memory"], fastest(entry, ANY)
    return memory["ours"] / memory[rival] if "ours" in memory and memory.get(rival) else None


def _shortfalls(target: Target, entries: Sequence[Row]) -> list[str]:
    return [
        f"- {family(entry)}, {target.mode}, {entry['params']['size']}: {target.ratio(entry):.2f} "
        f"(target {target.each:g}) against {target.rivals}, {times_limit(entry):.2f} times the limit"
        for entry in entries
        if target.applies(entry) and not target.is_met(entry)
    ]


def _without_rivals(entries: Sequence[Row]) -> list[str]:
    return [
        f"- {family(entry)}, {entry['params']['mode']}, {entry['params']['size']}: no rival's intermediates fit in "
        f"memory; {times_limit(entry):.2f} times the limit"
        for entry in entries
        if fastest(entry, ANY) is None
    ]
