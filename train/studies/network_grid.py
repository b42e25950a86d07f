"""R3GAN without its parts on the grid of 25 Gaussians, for the study of networks."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from train.data.gaussians import MIXTURES, Quality
from train.measure.pictures import save_picture
from train.measure.points import strip
from train.mixture import MixtureConfig, describe, train_run
from train.studies.mode_collapse import STEPS
from train.studies.network_rows import GRID
from train.studies.processes import in_processes
from train.studies.study import flags, opened

DATA = "grid"
SEEDS = range(3)


class Task(NamedTuple):
    """One training."""

    row: str
    options: str
    """As one would type them: with others it is another training."""
    steps: int
    seed: int

    def __str__(self) -> str:
        return f"{DATA}, {self.row}, seed {self.seed}"


def study(folder: Path, names: Sequence[str], steps: int, jobs: int) -> tuple[int, dict[Task, Quality]]:
    """What came of those of the rows that are named; first an exit code, as :meth:`Study.complete` gives."""
    steps = steps or STEPS[DATA]
    tasks = [Task(name, shlex.join(flags(GRID[name])), steps, seed) for seed in SEEDS for name in GRID if name in names]
    if not tasks:
        return 0, {}
    with opened(folder, {"data": DATA}, Task, Quality) as results:
        code = results.complete(
            tasks,
            lambda missing: in_processes(jobs, perform, [(task, folder) for task in missing]),
            lambda task, quality: describe(MIXTURES[DATA](), quality),
            lambda task: picture_of(folder, task).exists(),
        )
        return code, results.found(tasks)


def perform(task: Task, folder: Path) -> Quality:
    """Trains, and leaves a picture in the folder."""
    outcome = train_run(MixtureConfig(data=DATA, steps=task.steps, **GRID[task.row]), task.seed)
    save_picture(picture_of(folder, task), strip(MIXTURES[DATA](), outcome.samples[-1:]))
    return outcome.quality[-1]


def picture_of(folder: Path, task: Task) -> Path:
    """Of the samples at the end."""
    return folder / f"{list(GRID).index(task.row)}-{task.seed}-{task.steps}.png"
