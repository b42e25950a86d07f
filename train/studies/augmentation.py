"""``python -m train.studies.augmentation``: GANs that learn from 500 glyphs, with and without augmentation before D.

Each training is a program in a process and a folder of its own, which resumes. It is measured against glyphs that it
has not seen, and D's scores of such glyphs are logged beside those of the ones that it learns from.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.base.errors import UsageError, run_program
from train.base.files import write_atomically
from train.base.values import Runs
from train.measure.pictures import save_picture
from train.run.options import parse_options
from train.run.record import Run, read_run
from train.studies.augmentation_page import draw, page, summary
from train.studies.sheet import sheet
from train.studies.study import chosen, command_of, flags, opened, page_file
from train.studies.trainings import METRICS, Planned, Scores, Task, train_all

PROG = "python -m train.studies.augmentation"
LEARNT, HELD_OUT = 500, 500
COMMON = (
    *("--data", "glyphs", "--resolution", "32", "--data-size", str(LEARNT + HELD_OUT), "--held-out", str(HELD_OUT)),
    *("--no-tensorboard", "--checkpoint-kimg", "20", "--keep", "1", "--log-kimg", "2"),
    *("--image-kimg", "0", "--grid", "2x24"),
)
"""Options of every training, before those of its row."""
MEASUREMENTS = 6
"""Of each training, evenly over it."""


@dataclass(frozen=True)
class Row:
    """A training.

    Attributes:
        options: of the program, beside COMMON.
        kimg: thousands of images.
        beside: the row without augmentation that it is compared with; "" for such a row.
    """

    name: str
    system: str
    options: dict[str, Any]
    kimg: float
    beside: str = ""


# ADA's 500 kimg for p to go from 0 to 1 are meant for runs of 25 000; categories of R3GAN's are its authors'.
ROWS = (
    Row("DCGAN", "dcgan", {}, 300.0),
    Row("DCGAN, ADA by the sign", "dcgan", {"augment": "bgc", "augment_kimg": 100.0}, 300.0, "DCGAN"),
    Row("R3GAN", "r3gan", {}, 100.0),
    Row("R3GAN, ADA at 0.3", "r3gan", {"augment": "bgc(color=0.5,cutout=1)", "augment_p": "0.3"}, 100.0, "R3GAN"),
)


@dataclass(frozen=True)
class Options:
    """Trains DCGAN and R3GAN on 500 glyphs at 32x32, with and without augmentation, about an hour of a core in all.

    If it is stopped, the same command continues.
    """

    out: Path = Path("runs/augmentation")
    """Folder of the trainings and, without --page, of the table."""
    seeds: Runs = 1
    """Trainings of each row, with seeds 1, 2, …"""
    only: str = ""
    """Rows to train, separated by semicolons (default: all)."""
    share: float = 1.0
    """Length of the trainings as a share of what the study has."""
    images: Runs = 5000
    """Number of samples, and of glyphs that were not learnt from, for each score."""
    jobs: Runs = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
    """Trainings to run at once, each on one CPU thread."""
    page: Path | None = None
    """Markdown file to write; its pictures go into the same folder (default: augmentation.md in --out)."""


def main(args: Sequence[str] | None = None) -> int:
    options = parse_options(Options, sys.argv[1:] if args is None else args, prog=PROG)
    if not 0 < options.share <= 100:
        raise UsageError(f"share={options.share:g} is not a positive number up to 100")
    text = page_file(options.page, options.out / "augmentation.md")
    rows = {row.name: row for row in ROWS}
    rows = {name: rows[name] for name in chosen(options.only, rows)}
    tasks = [task_of(row, seed, options) for seed in range(1, options.seeds + 1) for row in rows.values()]
    with opened(options.out, {"images": options.images, "common": list(COMMON)}, Task, Scores) as study:
        code = study.complete(
            tasks,
            lambda missing: train_all([planned(rows, task, options) for task in missing], options.jobs, study.lock),
            lambda task, scores: "fid " + ("not finite" if scores.distance is None else f"{scores.distance:.2f}"),
            lambda task: task.folder(options.out).exists(),
        )
        if not code and (found := study.found(tasks)):
            _write(text, found, rows, options)
    return code


def task_of(row: Row, seed: int, options: Options) -> Task:
    return Task(row.name, shlex.join(["train." + row.system, *flags(row.options)]), row.kimg * options.share, seed)


def planned(rows: Mapping[str, Row], task: Task, options: Options) -> Planned:
    """The training of a task. What it is measured against are glyphs with seed 0."""
    row, folder, every = rows[task.row], task.folder(options.out), task.kimg / MEASUREMENTS
    measured = ["--metrics", ",".join(reversed(METRICS)), "--metrics-every", f"{every:g}"]
    own = ["--kimg", f"{task.kimg:g}", "--seed", str(task.seed), "--out", str(folder)]
    images = ["--metrics-images", str(options.images)]
    return Planned(row.system, folder, [*COMMON, *measured, *images, *own, *flags(row.options)])


def _write(text: Path, found: Mapping[Task, Scores], rows: Mapping[str, Row], options: Options) -> None:
    text.parent.mkdir(parents=True, exist_ok=True)
    runs: dict[str, Run] = {task.row: read_run(task.folder(options.out)) for task in found if task.seed == 1}
    beside = {row.name: row.beside for row in rows.values()}
    curves, samples = text.with_suffix(".png"), text.with_name(f"{text.stem}-samples.png")
    draw(curves, runs, beside)
    save_picture(samples, sheet([(name, run.grids[-1]) for name, run in runs.items()]))
    lines = summary([(task.row, task.kimg, task.options, scores) for task, scores in found.items()], beside)
    command = shlex.join(command_of(PROG, options, "seeds", "share", "images"))
    markdown = page(lines, command, shlex.join(COMMON), (curves.name, samples.name), next(iter(found.values())))
    write_atomically(text, lambda file: file.write(markdown.encode()))
    print(lines, flush=True)
    print(f"{text}, {curves} and {samples}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run_program(main))
