"""``python -m train.studies.objectives``: every objective and energy trains networks of one size on glyphs at 16x16.

Each training is a program in a process and a folder of its own, which resumes, and measures its samples when it is
done. All have one seed; those that come out best are trained again with others.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from train.base.errors import UsageError, run_program
from train.base.files import write_atomically
from train.base.values import Runs
from train.measure.pictures import save_picture
from train.run.options import parse_options
from train.run.record import read_run
from train.studies.objective_rows import COMMON, ROWS, Row
from train.studies.sheet import sheet
from train.studies.study import chosen, command_of, flags, opened, page_file, spread, table
from train.studies.trainings import METRICS, Planned, Scores, Task, train_all

PROG = "python -m train.studies.objectives"


@dataclass(frozen=True)
class Options:
    """Trains networks of one size with every objective on glyphs at 16x16, about two minutes of a core each.

    If it is stopped, the same command continues.
    """

    out: Path = Path("runs/objectives")
    """Folder of the trainings and, without --page, of the table."""
    seeds: Runs = 3
    """Trainings of each of the best objectives, with seeds 1, 2, …; the others have one."""
    best: Runs = 10
    """How many objectives are the best, by fid."""
    only: str = ""
    """Rows to train, separated by semicolons (default: all)."""
    share: float = 1.0
    """Length of the trainings as a share of what the table has."""
    images: Runs = 5000
    """Number of samples, and of real images, for each score."""
    jobs: Runs = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
    """Trainings to run at once, each on one CPU thread."""
    page: Path | None = None
    """Markdown file to write; its picture goes into the same folder (default: objectives.md in --out)."""


def main(args: Sequence[str] | None = None) -> int:
    options = parse_options(Options, sys.argv[1:] if args is None else args, prog=PROG)
    if not 0 < options.share <= 100:
        raise UsageError(f"share={options.share:g} is not a positive number up to 100")
    text = page_file(options.page, options.out / "objectives.md")
    rows = {row.name: row for row in ROWS}
    rows = {name: rows[name] for name in chosen(options.only, rows)}
    shared = {"images": options.images, "common": list(COMMON)}
    first = [task_of(row, 1, options) for row in rows.values()]
    with opened(options.out, shared, Task, Scores) as study:

        def complete(tasks: Sequence[Task]) -> int:
            return study.complete(
                tasks,
                lambda missing: train_all([planned(rows, task, options) for task in missing], options.jobs, study.lock),
                lambda task, scores: f"fid {_number(scores.distance)}, is {_number(scores.score)}",
                lambda task: task.folder(options.out).exists(),
            )

        code = complete(first)
        again = [
            task_of(rows[task.row], seed, options)
            for seed in range(2, options.seeds + 1)
            for task in ranked(study.found(first))[: options.best]
        ]
        code = code or (complete(again) if again else 0)
        if not code and (found := study.found([*first, *again])):
            _write(text, found, rows, options)
    return code


def task_of(row: Row, seed: int, options: Options) -> Task:
    return Task(row.name, shlex.join(["train." + row.system, *flags(row.options)]), row.kimg * options.share, seed)


def planned(rows: Mapping[str, Row], task: Task, options: Options) -> Planned:
    """The training of a task."""
    row, folder = rows[task.row], task.folder(options.out)
    measured = ["--metrics", ",".join(METRICS), "--metrics-every", "0", "--metrics-images", str(options.images)]
    own = ["--kimg", f"{task.kimg:g}", "--seed", str(task.seed), "--out", str(folder)]
    return Planned(row.system, folder, [*COMMON, *measured, *own, *flags(row.options)])


def ranked(found: Mapping[Task, Scores]) -> list[Task]:
    """By distance, the best first; those without a finite one last."""
    return sorted(found, key=lambda task: (found[task].distance is None, found[task].distance or 0.0))


def summary(found: Mapping[Task, Scores], rows: Mapping[str, Row]) -> str:
    """The table, the best first: means ± deviations over the seeds."""
    score, distance = next(iter(found.values())).names()
    lines = [["objective", f"`{distance}`", f"`{score}`", "seeds", "kimg", "training", "settings"]]
    of_rows: dict[str, list[Task]] = {}
    for task in ranked(found):
        of_rows.setdefault(task.row, []).append(task)

    def distances(tasks: Sequence[Task]) -> list[float]:
        return [value for task in tasks if (value := found[task].distance) is not None]

    for tasks in sorted(of_rows.values(), key=lambda tasks: fmean(distances(tasks) or [1e9])):
        scores = [value for task in tasks if (value := found[task].score) is not None]
        task, cells = tasks[0], [spread(distances(tasks), 2), spread(scores, 2), str(len(tasks))]
        settings = rows[task.row].settings
        lines.append([task.row, *cells, f"{task.kimg:g}", f"`{task.options}`", settings])
    return table(lines)


def _write(text: Path, found: Mapping[Task, Scores], rows: Mapping[str, Row], options: Options) -> None:
    picture = text.with_suffix(".png")
    shown = [task for task in ranked(found) if task.seed == 1]
    text.parent.mkdir(parents=True, exist_ok=True)
    save_picture(picture, sheet([(task.row, read_run(task.folder(options.out)).grids[-1]) for task in shown]))
    markdown = page(summary(found, rows), picture.name, next(iter(found.values())), options)
    write_atomically(text, lambda file: file.write(markdown.encode()))
    print(summary(found, rows), flush=True)
    print(f"{text} and {picture}", file=sys.stderr)


def page(rows: str, picture: str, scores: Scores, options: Options) -> str:
    """The whole page in Markdown."""
    command = command_of(PROG, options, "seeds", "best", "share", "images")
    return f"""# Every objective on glyphs

Each objective trains networks of one size on glyphs at 16×16, for about two minutes of one core. This page is written
by this command:

```sh
{shlex.join(command)}
```

{rows}

`fid` (lower is better) and `is` (higher is better) are of {scores.generated} samples of the averaged generator, beside
{scores.real} real images, with {scores.features} (weights {scores.weights}). So compare rows with each other, not with
published numbers. Where a row has several seeds, the values are means ± standard deviations over them.

All trainings have these options, before their own: `{shlex.join(COMMON)}`. "Settings" says which of a row's own options
are its paper's and which were tuned. A training that takes more time for an image sees fewer of them (kimg).

![Samples of each objective, the best first]({picture})

The samples are of seed 1.
"""


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    sys.exit(run_program(main))
