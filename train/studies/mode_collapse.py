"""``python -m train.studies.mode_collapse``: which technique cures mode collapse, on both mixtures, over seeds."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from train.base.errors import UsageError, run_program
from train.base.files import write_atomically
from train.base.values import Runs, Seed
from train.data.gaussians import MIXTURES, Mixture, Quality
from train.measure.pictures import save_picture
from train.measure.points import strip
from train.mixture import SAMPLES, MixtureConfig, describe, moments, train_run
from train.run.options import parse_options
from train.studies.processes import in_processes
from train.studies.sheet import sheet
from train.studies.study import flags, opened, spread, table

PROG = "python -m train.studies.mode_collapse"

# What each row changes of the baseline, which is MixtureConfig's defaults. Values are the papers' where they fit
# networks of this size; docs/mixture.md says where they do not.
TECHNIQUES: dict[str, dict[str, Any]] = {
    "baseline": {},
    "equal rates": {"ttur": 1.0},
    "D four times as fast": {"ttur": 4.0},
    "WGAN-GP": {"loss": "wgan-gp", "d_steps": 5, "ttur": 1.0},
    "feature matching": {"feature_matching": 4},
    "minibatch discrimination": {"minibatch_discrimination": 10},
    "historical averaging": {"historical_averaging": 0.1},
    "label smoothing": {"loss": "non-saturating(label_smoothing=0.1)"},
    "instance noise": {"instance_noise": 0.1},
    "virtual batch norm": {"g_norm": "virtual"},
    "spectral norm": {"d_norm": "spectral"},
    "together": {
        "ttur": 1.0,
        "minibatch_discrimination": 10,
        "loss": "non-saturating(label_smoothing=0.1)",
        "instance_noise": 0.1,
        "ema_kimg": 5.0,
    },
}


@dataclass(frozen=True)
class Options:
    """Trains the baseline and every technique on both mixtures; runs that are in the folder already are reused."""

    out: Path = Path("runs/mixture")
    """Folder of the results, and of the table and the pictures made from them."""
    seed: Seed = 0
    """Seed of the first run of each technique."""
    seeds: Runs = 10
    """Runs of each technique; each has the next seed."""
    jobs: Runs = 2
    """Runs to train at once, each on one core."""
    steps: int = MixtureConfig.steps
    """Updates of G."""
    only: str = ""
    """Techniques to train, separated by commas (default: all)."""


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
    names = chosen(options.only)
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
    return {name: value for name, value in vars(MixtureConfig(steps=steps)).items() if name != "data"}


def perform(task: Task, steps: int, out: Path) -> Quality:
    """Trains, and leaves a picture in the study's folder."""
    outcome = train_run(config_of(task, steps), task.seed)
    (out / "strips").mkdir(exist_ok=True)
    save_picture(strip_file(out, task), strip(MIXTURES[task.data](), outcome.samples))
    return outcome.quality[-1]


def config_of(task: Task, steps: int) -> MixtureConfig:
    """The options of a run."""
    return MixtureConfig(**{"data": task.data, "steps": steps, **TECHNIQUES[task.technique]})


def show(found: Mapping[Task, Quality], options: Options, seeds: Sequence[int]) -> None:
    """Prints the table, and writes it and the pictures of the first seed into the folder."""
    steps = [f"step {step}" for step in moments(options.steps)]
    of_first = [task for task in found if task.seed == options.seed]
    for data in MIXTURES:
        if strips := [(task.technique, strip_file(options.out, task)) for task in of_first if task.data == data]:
            save_picture(options.out / f"{data}.png", sheet(strips, steps))
    text = summary(found, seeds)
    write_atomically(options.out / "table.md", lambda out: out.write(f"{text}\n".encode()))
    print(text)


def chosen(only: str) -> list[str]:
    """The techniques asked for, in the table's order; UsageError for an unknown one."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    if unknown := [name for name in names if name not in TECHNIQUES]:
        raise UsageError(f"only: {unknown[0]!r} is not one of {', '.join(TECHNIQUES)}")
    return [name for name in TECHNIQUES if not names or name in names]


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
