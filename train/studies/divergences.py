"""``python -m train.studies.divergences``: whether objectives measure what they claim, where that is known.

A critic is brought to its optimum on pairs of distributions on a line. What its loss says then stands beside the value
by quadrature. The same on normals that move apart gives the picture.
"""

from __future__ import annotations

import math
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from train.base.errors import UsageError, run_program
from train.base.files import write_atomically
from train.base.values import Runs
from train.run.options import parse_options
from train.studies import optimal_critics, trained_critics
from train.studies.divergence_methods import BY_NAME, METHODS, ratio_error
from train.studies.divergences_page import page
from train.studies.divergences_picture import MARKED, draw
from train.studies.divergences_table import Found, deviation, is_large, missed, summary
from train.studies.normals import PAIRS, SHIFTS, shifted
from train.studies.processes import in_processes
from train.studies.study import opened, page_file

PROG = "python -m train.studies.divergences"
ALL_PAIRS = {**PAIRS, **{pair.name: pair for pair in map(shifted, SHIFTS)}}
SHARED = {
    "width": optimal_critics.WIDTH,
    "points": trained_critics.POINTS,
    "paired": trained_critics.PAIRED,
    "quantiles": trained_critics.QUANTILES,
    "compared": trained_critics.COMPARED,
}
"""What all results depend on."""


@dataclass(frozen=True)
class Options:
    """Trains critics on known pairs of distributions, and compares what they measure with the values by quadrature.

    The exit status is 1 if a value is off by more than its tolerance. If it is stopped, the same command continues.
    """

    out: Path = Path("runs/divergences")
    """Folder of the results, and without --page of the table and the picture made from them."""
    only: str = ""
    """Rows to compute: those that have one of these words in their names; commas between words (default: all)."""
    jobs: Runs = 1
    """Critics to train at once, each on one core."""
    page: Path | None = None
    """Markdown file to write; its picture goes into the same folder (default: divergences.md in --out)."""


class Task(NamedTuple):
    """A row on a pair."""

    method: str
    pair: str

    def __str__(self) -> str:
        return f"{self.method}, {self.pair}"


class Result(NamedTuple):
    """What a critic measured."""

    value: float
    """By quadrature."""
    measured: float
    ratio_error: float | None
    """Of the best D, for likelihood ratios."""
    seconds: float
    """Of one core."""


def main(args: Sequence[str] | None = None) -> int:
    options = parse_options(Options, sys.argv[1:] if args is None else args, prog=PROG)
    text = page_file(options.page, options.out / "divergences.md")
    names = chosen(options.only)
    tasks = [Task(name, pair) for pair in PAIRS for name in names]
    tasks += [Task(name, shifted(by).name) for by in SHIFTS for name in names if name in MARKED]
    with opened(options.out, SHARED, Task, Result) as study:
        code = study.complete(
            tasks, lambda missing: in_processes(options.jobs, perform, [(task,) for task in missing]), told
        )
        found = {(task.method, task.pair): Found(*result) for task, result in study.found(tasks).items()}
    if code:
        return code
    print(summary(found))
    if not options.only:
        text.parent.mkdir(parents=True, exist_ok=True)
        picture = text.with_suffix(".png")
        draw(picture, found)
        markdown = page(found, command_of(options), picture.name)
        write_atomically(text, lambda file: file.write(markdown.encode()))
        print(f"{text} and {picture}", file=sys.stderr)
    misses = missed(found)
    print("\n".join(["", "off by more than the tolerance:", *misses] if misses else ["", "all within tolerance"]))
    return 1 if misses else 0


def chosen(only: str) -> list[str]:
    """The names of the rows asked for, in the table's order; UsageError for a word that no name has."""
    words = [word.strip() for word in only.split(",") if word.strip()]
    for word in words:
        if not any(word in method.name for method in METHODS):
            raise UsageError(f"only: {word!r} is not in any of {'; '.join(method.name for method in METHODS)}")
    return [method.name for method in METHODS if not words or any(word in method.name for word in words)]


def perform(task: Task) -> Result:
    """Trains a critic."""
    start, threads = time.process_time(), torch.get_num_threads()
    torch.set_num_threads(1)  # layers of 128 units are too small for more
    try:
        method, pair = BY_NAME[task.method], ALL_PAIRS[task.pair]
        value = method.value(pair)
        trained = method.way(method.objective(), pair, is_large(value))
        error = ratio_error(method, pair, trained)
        return Result(value, method.read(trained), error, round(time.process_time() - start, 1))
    finally:
        torch.set_num_threads(threads)


def told(task: Task, result: Result) -> str:
    off = deviation(Found(*result))
    return f"{result.measured:.5g} of {result.value:.5g}, {off:+.2%}" if math.isfinite(off) else "not a number"


def command_of(options: Options) -> str:
    """What gives these results, wherever they are kept."""
    return shlex.join([*PROG.split(), *(["--page", str(options.page)] if options.page else [])])


if __name__ == "__main__":
    sys.exit(run_program(main))
