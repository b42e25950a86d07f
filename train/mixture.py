"""``python -m train.mixture``: trains small networks on Gaussians in the plane and counts the modes that they find."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from train.config import parse_options
from train.errors import UsageError, run_program
from train.gaussians import MIXTURES, Quality
from train.mixture_config import MixtureConfig, check_config
from train.mixture_picture import page, strip
from train.mixture_run import SAMPLES, Outcome, train_all
from train.pictures import save_png

PROG = "python -m train.mixture"


@dataclass(frozen=True)
class Options(MixtureConfig):
    """Trains small networks on Gaussians in the plane, with any of the techniques, and counts the modes found."""

    seed: int = 0
    """Seed of the first run."""
    seeds: int = 1
    """Runs, each with a seed one higher."""
    jobs: int = 1
    """Runs to train at once, each on one core."""
    picture: Path | None = None
    """PNG to write: samples over time, a row for each run."""
    json: bool = False
    """Print JSON, with the quality over time, instead of a table."""


def main(args: Sequence[str] | None = None) -> int:
    options = parse_options(Options, sys.argv[1:] if args is None else args, prog=PROG)
    config = MixtureConfig(**{field.name: getattr(options, field.name) for field in dataclasses.fields(MixtureConfig)})
    check_config(config)
    check_count(options.seeds, options.jobs)
    if options.picture is not None and options.picture.suffix.lower() != ".png":
        raise UsageError(f"picture={options.picture} does not end in .png")
    if options.picture is not None and not options.picture.parent.is_dir():
        raise UsageError(f"picture={options.picture}: there is no folder {options.picture.parent}")
    seeds = range(options.seed, options.seed + options.seeds)
    outcomes: dict[int, Outcome] = {}
    for index, outcome in train_all([(config, seed) for seed in seeds], options.jobs):
        outcomes[seeds[index]] = outcome
        print(f"seed {seeds[index]}: {describe(config, outcome.quality[-1])}", file=sys.stderr, flush=True)
    ordered = {seed: outcomes[seed] for seed in seeds}
    if options.picture is not None:
        mixture = MIXTURES[config.data]()
        strips = {f"seed {seed}": strip(mixture, outcome.samples) for seed, outcome in ordered.items()}
        save_png(options.picture, page(strips, outcomes[options.seed].steps))
    print(json.dumps(as_json(config, ordered), indent=2) if options.json else table(config, ordered))
    return 0


def check_count(seeds: int, jobs: int) -> None:
    for name, value in (("seeds", seeds), ("jobs", jobs)):
        if value < 1:
            raise UsageError(f"{name}={value} is less than 1")


def describe(config: MixtureConfig, quality: Quality) -> str:
    """One line for people."""
    modes, good, divergence = quality
    count = len(MIXTURES[config.data]().centres)
    return f"{modes} of {count} modes, {100 * good:.1f} % good samples, divergence {divergence:.3f}"


def spread(values: Sequence[float], places: int) -> str:
    """Mean ± deviation over the runs."""
    deviation = f" ± {stdev(values):.{places}f}" if len(values) > 1 else ""
    return f"{mean(values):.{places}f}{deviation}"


def spreads(qualities: Sequence[Quality]) -> tuple[str, str, str]:
    """Cells of a table: modes, % of good samples, divergence."""
    modes, good, divergence = zip(*qualities, strict=True)
    return spread(modes, 1), spread([100 * share for share in good], 1), spread(divergence, 3)


def table(config: MixtureConfig, outcomes: dict[int, Outcome]) -> str:
    """Results for people."""
    rows = [
        (str(seed), f"{q.modes}", f"{100 * q.good:.1f}", f"{q.divergence:.3f}")
        for seed, q in ((seed, outcome.quality[-1]) for seed, outcome in outcomes.items())
    ]
    if len(rows) > 1:
        last = [outcome.quality[-1] for outcome in outcomes.values()]
        rows.append(("all", *spreads(last)))
    modes = len(MIXTURES[config.data]().centres)
    heading = ("seed", f"modes of {modes}", "good %", "divergence")
    widths = [max(len(row[i]) for row in (heading, *rows)) for i in range(len(heading))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in (heading, *rows)]
    return "\n".join([f"{config.data}, {SAMPLES} samples of each generator", *lines])


def as_json(config: MixtureConfig, outcomes: dict[int, Outcome]) -> dict[str, Any]:
    """Results for programs."""
    runs = [{"seed": seed, **as_dict(outcome)} for seed, outcome in outcomes.items()]
    return {"options": dataclasses.asdict(config), "samples": SAMPLES, "runs": runs}


def as_dict(outcome: Outcome) -> dict[str, Any]:
    """The quality at the end and over time."""
    over_time = [
        {"step": step, **quality._asdict()} for step, quality in zip(outcome.steps, outcome.quality, strict=True)
    ]
    return {**outcome.quality[-1]._asdict(), "over_time": over_time}


if __name__ == "__main__":
    sys.exit(run_program(main))
