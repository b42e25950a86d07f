"""``python -m train.studies.mode_collapse``: which technique cures mode collapse, on both mixtures, over seeds."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch

from train.base.errors import run_program
from train.base.files import write_atomically
from train.base.values import Range, Runs, Seed
from train.data.gaussians import MIXTURES, Mixture, Quality
from train.measure.pictures import save_picture
from train.measure.points import strip
from train.mixture import SAMPLES, MixtureConfig, describe, moments, train_run
from train.run.options import parse_options
from train.studies.mixture_rows import TECHNIQUES
from train.studies.processes import in_processes
from train.studies.sheet import sheet
from train.studies.study import chosen, flags, opened, spread, table

PROG = "python -m train.studies.mode_collapse"

STEPS = {"ring": 3000, "grid": 5000}
"""Updates of G on each mixture: what a core manages in about 25 and 60 seconds."""


@dataclass(frozen=True)
class Options:
    """Trains small networks with every technique and objective on both mixtures; runs in the folder are reused."""

    out: Path = Path("runs/mixture")
    """Folder of the results, and of the table and the pictures made from them."""
    seed: Seed = 0
    """Seed of the first run of each technique."""
    seeds: Runs = 3
    """Runs of each technique; each has the next seed."""
    jobs: Runs = 2
    """Runs to train at once, each on one core."""
    steps: Annotated[int, Range(0)] = 0
    """Updates of G (0: 3000 on the ring, 5000 on the grid)."""
    only: str = ""
    """Techniques to train, separated by semicolons (default: all)."""


class Task(NamedTuple):
    """One run."""

    data: str
    technique: str
    options: str
    """Those of the technique, as one would type them: with others it is another run."""
    seed: int

    def __str__(self) -> str:
        return f"{self.data}, {self.technique}, seed {self.seed}"


def main(args: Sequence[str] | None = None) -> int:
    options = parse_options(Options, sys.argv[1:] if args is None else args, prog=PROG)
    names = chosen(options.only, TECHNIQUES)
    seeds = range(options.seed, options.seed + options.seeds)
    typed = {name: shlex.join(flags(TECHNIQUES[name])) for name in names}
    # Seed by seed: one that is interrupted has all techniques with fewer seeds.
    tasks = [Task(data, name, typed[name], seed) for seed in seeds for data in MIXTURES for name in names]
    for task in tasks:
        config_of(task, options.steps).check()
    with opened(options.out, shared(options.steps), Task, Quality) as study:
        code = study.complete(
            tasks,
            lambda missing: in_processes(options.jobs, perform, [(t, options.steps, options.out) for t in missing]),
            lambda task, quality: describe(MIXTURES[task.data](), quality),
            lambda task: strip_file(options.out, task).exists(),
        )
        found = study.found(tasks)
        if not code and found:
            show(found, options, seeds)
    return code


def shared(steps: int) -> dict[str, Any]:
    """What all results depend on."""
    lengths = {"steps": {data: steps or STEPS[data] for data in MIXTURES}}
    return {**{name: value for name, value in vars(MixtureConfig()).items() if name != "data"}, **lengths}


def perform(task: Task, steps: int, out: Path) -> Quality:
    """Trains, and leaves a picture in the study's folder."""
    outcome = train_run(config_of(task, steps), task.seed)
    (out / "strips").mkdir(exist_ok=True)
    save_picture(strip_file(out, task), strip(MIXTURES[task.data](), outcome.samples))
    return outcome.quality[-1]


def config_of(task: Task, steps: int) -> MixtureConfig:
    """The options of a run."""
    lengths = {"data": task.data, "steps": steps or STEPS[task.data]}
    return MixtureConfig(**{**lengths, **TECHNIQUES[task.technique]})


def show(found: Mapping[Task, Quality], options: Options, seeds: Sequence[int]) -> None:
    """Prints the table, and writes it and the pictures of the first seed into the folder."""
    of_first = [task for task in found if task.seed == options.seed]
    for data in MIXTURES:
        if strips := [(task.technique, strip_file(options.out, task)) for task in of_first if task.data == data]:
            steps = [f"step {step}" for step in moments(options.steps or STEPS[data])]
            save_picture(options.out / f"{data}.png", sheet(strips, steps))
    text = summary(found, seeds)
    write_atomically(options.out / "table.md", lambda out: out.write(f"{text}\n".encode()))
    print(text)


def strip_file(folder: Path, task: Task) -> Path:
    """Where the picture of a run is."""
    name = re.sub(r"\W+", "-", task.technique)
    return folder / "strips" / f"{task.data}-{name}-{task.seed}.png"


def summary(found: Mapping[Task, Quality], seeds: Sequence[int]) -> str:
    """The table: what to compare with and a row for each technique, means ± deviations over the seeds."""
    mixtures = {data: make() for data, make in MIXTURES.items()}
    rows = [["technique", "options"]]
    for data, mixture in mixtures.items():
        rows[0] += [f"{data}: modes of {len(mixture.centres)}", "good %", "divergence"]
    for name, draw in {"the data itself": Mixture.sample, "uniform points": Mixture.uniform}.items():
        rows.append([name, ""])
        for mixture in mixtures.values():
            drawn = (draw(mixture, SAMPLES, torch.Generator().manual_seed(seed)) for seed in seeds)
            rows[-1] += cells([mixture.judge(points) for points in drawn])
    for name, typed in dict.fromkeys((task.technique, task.options) for task in found):
        rows.append([name, f"`{typed}`" if typed else ""])
        for data in mixtures:
            rows[-1] += cells([found[task] for task in found if (task.technique, task.data) == (name, data)])
    return table(rows, names=2)


def cells(qualities: Sequence[Quality]) -> list[str]:
    """Modes, % of good samples and divergence."""
    modes, percent = [q.modes for q in qualities], [100 * q.good for q in qualities]
    return [spread(modes, 1), spread(percent, 1), spread([q.divergence for q in qualities], 3)]


if __name__ == "__main__":
    sys.exit(run_program(main))
