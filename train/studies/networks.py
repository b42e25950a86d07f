"""``python -m train.studies.networks``: every family of networks on glyphs at 32x32, each for the same time.

Each training has the preset ``glyphs`` of its system and is a program in a process and a folder of its own, which
resumes and measures its samples on the way. R3GAN is also taken apart, here and on the grid of 25 Gaussians.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

from train.base.errors import UsageError, run_program
from train.base.values import Range, Runs
from train.run.options import parse_options
from train.run.record import read_run
from train.studies import network_grid
from train.studies.network_rows import ABLATION, COMMON, NETWORKS, Row
from train.studies.network_scores import Measured, Trained, curve, measured_of
from train.studies.networks_page import write_page
from train.studies.study import chosen, command_of, flags, opened, page_file
from train.studies.timed import train_for
from train.studies.trainings import Course, Planned, folder_of, follow

PROG = "python -m train.studies.networks"
METRICS = ("fid", "is", "pr")
OF_CLASSES = ("intra-fid", "accuracy")
"""Of rows whose generator is given classes."""


@dataclass(frozen=True)
class Options:
    """Trains every family of networks on glyphs at 32x32, each for the same time, and R3GAN without its parts.

    If it is stopped, the same command continues.
    """

    out: Path = Path("runs/networks")
    """Folder of the trainings and, without --page, of the page."""
    minutes: float = 16.0
    """Minutes that each training lasts, without its measurements."""
    jobs: Runs = 2
    """Trainings to run at once, each on one CPU thread."""
    only: str = ""
    """Rows to train, separated by semicolons (default: all)."""
    images: Runs = 5000
    """Number of samples, and of real images, for each measurement."""
    points: Annotated[int, Range(1, 1000)] = 8
    """Measurements of each training, evenly over it."""
    steps: Annotated[int, Range(0)] = 0
    """Updates of G on the grid of 25 Gaussians (0: as in the study of mode collapse)."""
    page: Path | None = None
    """Markdown file to write; its pictures and numbers go into the same folder (default: networks.md in --out)."""


class Task(NamedTuple):
    """One training."""

    row: str
    options: str
    """As one would type them: with others it is another training."""
    minutes: float
    seed: int

    def __str__(self) -> str:
        return f"{self.row}, seed {self.seed}"

    def folder(self, out: Path) -> Path:
        return folder_of(out, self.row, self.seed, self.options, self.minutes)


def main(args: Sequence[str] | None = None) -> int:
    options = parse_options(Options, sys.argv[1:] if args is None else args, prog=PROG)
    if not 0 < options.minutes <= 100_000:
        raise UsageError(f"minutes={options.minutes:g} is not a positive number up to 100000")
    text = page_file(options.page, options.out / "networks.md")
    rows = {row.name: row for row in (*NETWORKS, *ABLATION)}
    names = chosen(options.only, rows)
    # Seed by seed: one that is interrupted has all rows first.
    most = max(rows[name].seeds for name in names)
    tasks = {
        task_of(rows[name], seed, options): rows[name]
        for seed in range(1, most + 1)
        for name in names
        if seed <= rows[name].seeds
    }
    shared = {"images": options.images, "common": list(COMMON), "points": options.points}
    with opened(options.out, shared, Task, Measured) as study:
        code = study.complete(
            list(tasks),
            lambda missing: follow([train(task, tasks[task], options) for task in missing], options.jobs, study.lock),
            lambda task, found: f"fid {found.shown('fid')} after {found.kimg:.0f} kimg in {found.seconds / 60:.1f} min",
            lambda task: task.folder(options.out).exists(),
        )
        found = study.found(tasks)
        grid_folder, grid = options.out / "grid", {}
        if not code:
            code, grid = network_grid.study(grid_folder, names, options.steps, options.jobs)
        if not code and found:
            trained = [shown(task, tasks[task], measured, options.out) for task, measured in found.items()]
            command = command_of(PROG, options, "minutes", "jobs", "images", "points", "steps")
            command += ["--only", options.only] if options.only else []
            print(write_page(text, trained, grid, grid_folder, shlex.join(command)), flush=True)
            print(f"{text} and its pictures", file=sys.stderr)
    return code


def task_of(row: Row, seed: int, options: Options) -> Task:
    return Task(row.name, shlex.join([f"train.{row.system}", *flags(row.options)]), options.minutes, seed)


def train(task: Task, row: Row, options: Options) -> Course[Measured]:
    """What a training measures at its end."""
    folder = task.folder(options.out)
    metrics = ",".join([*METRICS, *(OF_CLASSES if row.labels else ())])
    run = yield from train_for(
        task.minutes,
        Planned(row.system, folder, [*COMMON, "--seed", str(task.seed), *flags(row.options)]),
        metrics=["--metrics", metrics, "--metrics-images", str(options.images)],
        points=options.points,
    )
    return measured_of(run, folder)


def shown(task: Task, row: Row, measured: Measured, out: Path) -> Trained:
    """A training as the page shows it."""
    run = read_run(task.folder(out))
    return Trained(row, task.seed, measured, curve(run), run.grids[-1])


if __name__ == "__main__":
    sys.exit(run_program(main))
