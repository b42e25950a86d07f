"""``python -m train.studies.mode_collapse``: which technique cures mode collapse, on both mixtures, over seeds."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from train.base.errors import UsageError, run_program
from train.base.files import write_atomically
from train.base.lock import locked
from train.base.values import Runs, Seed
from train.data.gaussians import MIXTURES, Mixture, Quality
from train.measure.pictures import read_picture, save_png
from train.mixture import as_dict, cells, columns, describe
from train.mixture_config import MixtureConfig, check_config
from train.run.options import parse_options
from train.studies.mixture_picture import page, strip
from train.studies.mixture_run import SAMPLES, Outcome, moments, train_all

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
    "label smoothing": {"label_smoothing": 0.1},
    "instance noise": {"instance_noise": 0.1},
    "virtual batch norm": {"g_norm": "virtual"},
    "spectral norm": {"d_norm": "spectral"},
    "together": {
        "ttur": 1.0,
        "minibatch_discrimination": 10,
        "label_smoothing": 0.1,
        "instance_noise": 0.1,
        "ema_kimg": 5.0,
    },
}


@dataclass(frozen=True)
class Options:
    """Trains the baseline and every technique on both mixtures; runs that are in the folder already are reused."""

    out: Path = Path("runs/mixture")
    """Folder of results (runs.jsonl), and of the table and the pictures made from them."""
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


class Run(NamedTuple):
    """One run of the comparison."""

    technique: str
    config: MixtureConfig
    seed: int

    @property
    def key(self) -> str:
        """What tells it from all other runs: a result is used again only for the very same options."""
        return json.dumps([dataclasses.asdict(self.config), self.seed], sort_keys=True)


def main(args: Sequence[str] | None = None) -> int:
    options = parse_options(Options, sys.argv[1:] if args is None else args, prog=PROG)
    names = chosen(options.only)
    seeds = range(options.seed, options.seed + options.seeds)
    # Seed by seed: one that is interrupted has all techniques with fewer seeds.
    runs = [
        Run(name, MixtureConfig(**{"data": data, "steps": options.steps, **TECHNIQUES[name]}), seed)
        for seed in seeds
        for data in MIXTURES
        for name in names
    ]
    for run in runs:
        check_config(run.config)
    options.out.mkdir(parents=True, exist_ok=True)
    with locked(options.out, "comparison"):
        return _complete(options, runs)


def _complete(options: Options, runs: Sequence[Run]) -> int:
    """Trains what is missing in the folder, and makes the table and the pictures."""
    file = options.out / "runs.jsonl"
    results = read_results(file)
    (options.out / "strips").mkdir(exist_ok=True)
    missing = [run for run in runs if run.key not in results or not strip_file(options.out, run).exists()]
    print(f"{len(runs) - len(missing)} of {len(runs)} runs are already done", file=sys.stderr, flush=True)
    try:
        for done, (index, outcome) in enumerate(train_all([(r.config, r.seed) for r in missing], options.jobs), 1):
            run = missing[index]
            save_png(strip_file(options.out, run), strip(MIXTURES[run.config.data](), outcome.samples))
            results[run.key] = keep(file, run, outcome)
            line = f"{run.config.data}, {run.technique}, seed {run.seed}: {describe(run.config, outcome.quality[-1])}"
            print(f"{done}/{len(missing)} {line}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print(f"interrupted: the same command continues from the runs in {options.out}", file=sys.stderr)
        return 130
    pages = {}
    for data in MIXTURES:
        first = [run for run in runs if run.config.data == data and run.seed == options.seed]
        strips = {run.technique: load(strip_file(options.out, run)) for run in first}
        pages[data] = page(strips, moments(options.steps))
    text = table(runs, results)
    write_atomically(options.out / "table.md", lambda out: out.write(text.encode()))
    for data, picture in pages.items():
        save_png(options.out / f"{data}.png", picture)
    print(text, end="")
    return 0


def chosen(only: str) -> list[str]:
    """The techniques asked for, in the table's order; UsageError for an unknown one."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    for name in names:
        if name not in TECHNIQUES:
            raise UsageError(f"only: {name!r} is not one of {', '.join(TECHNIQUES)}")
    return [name for name in TECHNIQUES if not names or name in names]


def read_results(file: Path) -> dict[str, dict[str, Any]]:
    """Results by the key of their run. Half a line at the end, from a run that was killed, is cut off.

    Raises:
        UsageError: if another line is no result.
    """
    if not file.exists():
        return {}
    whole, newline, _ = file.read_bytes().rpartition(b"\n")
    results = {}
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            result = json.loads(line)
            quality_of(result)
            results[json.dumps([result["options"], result["seed"]], sort_keys=True)] = result
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise UsageError(f"{file} is damaged in line {number}: {error!r}") from None
    write_atomically(file, lambda out: out.write(whole + newline))
    return results


def quality_of(result: Mapping[str, Any]) -> Quality:
    """That at the end of a run; KeyError, TypeError or ValueError if it is not there as numbers."""
    return Quality(int(result["modes"]), float(result["good"]), float(result["divergence"]))


def keep(file: Path, run: Run, outcome: Outcome) -> dict[str, Any]:
    """Appends a result to the file, and gives it."""
    result = {
        "technique": run.technique,
        "options": dataclasses.asdict(run.config),
        "seed": run.seed,
        **as_dict(outcome),
    }
    with open(file, "a") as out:
        out.write(json.dumps(result) + "\n")
    return result


def strip_file(folder: Path, run: Run) -> Path:
    """Where the picture of a run is; names say what people look for, and a hash of the key the rest of the options."""
    name = re.sub(r"\W+", "-", run.technique)
    short = hashlib.sha256(run.key.encode()).hexdigest()[:8]
    return folder / "strips" / f"{run.config.data}-{name}-{run.seed}-{short}.png"


def table(runs: Sequence[Run], results: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: what to compare with and a row for each technique, means ± deviations over the seeds."""
    heading = ["technique", "options"]
    for data, mixture in MIXTURES.items():
        modes, *others = columns(mixture())
        heading += [f"{data}: {modes}", *others]
    lines = [row(heading), row(["---", "---"] + ["---:"] * (len(heading) - 2))]
    seeds = list(dict.fromkeys(run.seed for run in runs))
    lines += [reference("the data itself", Mixture.sample, seeds), reference("uniform points", Mixture.uniform, seeds)]
    for name in dict.fromkeys(run.technique for run in runs):
        line = [name, flags(TECHNIQUES[name])]
        for data in MIXTURES:
            of = [results[run.key] for run in runs if run.technique == name and run.config.data == data]
            line += cells([quality_of(result) for result in of])
        lines.append(row(line))
    return "\n".join(lines) + "\n"


def reference(name: str, draw: Callable[[Mixture, int, torch.Generator], Tensor], seeds: Sequence[int]) -> str:
    """A row for points that no generator made: how good they are."""
    line = [name, ""]
    for mixture in (make() for make in MIXTURES.values()):
        drawn = [draw(mixture, SAMPLES, torch.Generator().manual_seed(seed)) for seed in seeds]
        line += cells([mixture.judge(points) for points in drawn])
    return row(line)


def row(line: Sequence[str]) -> str:
    return "| " + " | ".join(line) + " |"


def flags(changes: Mapping[str, Any]) -> str:
    """Options as one would type them."""
    typed = [f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}") for name, value in changes.items()]
    return f"`{' '.join(typed)}`" if typed else ""


def load(path: Path) -> Tensor:
    """A picture as uint8 [3, H, W]; UsageError if it is damaged."""
    return torch.from_numpy(np.array(read_picture(path))).permute(2, 0, 1)


if __name__ == "__main__":
    sys.exit(run_program(main))
