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

from train.base.errors import UsageError, run_program
from train.base.values import Runs, Seed
from train.data.gaussians import MIXTURES, Mixture, Quality
from train.measure.pictures import save_png
from train.mixture_config import MixtureConfig, check_config
from train.run.options import parse_options
from train.studies.mixture_picture import page, strip
from train.studies.mixture_run import SAMPLES, Outcome, train_all

PROG = "python -m train.mixture"


@dataclass(frozen=True)
class Options(MixtureConfig):
    """Trains small networks on Gaussians in the plane, with any of the techniques, and counts the modes found."""

    seed: Seed = 0
    """Seed of the first run."""
    seeds: Runs = 1
    """Number of runs; each has the next seed."""
    jobs: Runs = 1
    """Runs to train at once, each on one core."""
    picture: Path | None = None
    """PNG to write: samples over time, a row for each run."""
    json: bool = False
    """Print JSON, with the quality over time, instead of a table."""


def main(args: Sequence[str] | None = None) -> int:
    options = parse_options(Options, sys.argv[1:] if args is None else args, prog=PROG)
    config = MixtureConfig(**{field.name: getattr(options, field.name) for field in dataclasses.fields(MixtureConfig)})
    check_config(config)
    if options.picture is not None and options.picture.suffix.lower() != ".png":
        raise UsageError(f"picture={options.picture} does not end in .png")
    if options.picture is not None and not options.picture.parent.is_dir():
        raise UsageError(f"picture={options.picture}: there is no folder {options.picture.parent}")
    seeds = range(options.seed, options.seed + options.seeds)
    outcomes: dict[int, Outcome] = {}
    try:
        for index, outcome in train_all([(config, seed) for seed in seeds], options.jobs):
            outcomes[seeds[index]] = outcome
            print(f"seed {seeds[index]}: {describe(config, outcome.quality[-1])}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print(f"interrupted after {len(outcomes)} of {len(seeds)} runs", file=sys.stderr)
        return 130
    ordered = {seed: outcomes[seed] for seed in seeds}
    if options.picture is not None:
        mixture = MIXTURES[config.data]()
        strips = {f"seed {seed}": strip(mixture, outcome.samples) for seed, outcome in ordered.items()}
        save_png(options.picture, page(strips, outcomes[options.seed].steps))
    print(json.dumps(as_json(config, ordered), indent=2) if options.json else table(config, ordered))
    return 0


def describe(config: MixtureConfig, quality: Quality) -> str:
    """One line for people."""
    modes, good, divergence = cells([quality])
    count = len(MIXTURES[config.data]().centres)
    return f"{modes} of {count} modes, {good} % good samples, divergence {divergence}"


def columns(mixture: Mixture) -> tuple[str, str, str]:
    """What heads :func:`cells` in a table."""
    return f"modes of {len(mixture.centres)}", "good %", "divergence"


def cells(qualities: Sequence[Quality]) -> tuple[str, str, str]:
    """Modes, % of good samples and divergence: of one run, or means ± deviations over several."""
    modes, good, divergence = zip(*qualities, strict=True)
    places = 1 if len(qualities) > 1 else 0
    return spread(modes, places), spread([100 * share for share in good], 1), spread(divergence, 3)


def spread(values: Sequence[float], places: int) -> str:
    """Mean ± deviation; of one value itself."""
    deviation = f" ± {stdev(values):.{places}f}" if len(values) > 1 else ""
    return f"{mean(values):.{places}f}{deviation}"


def table(config: MixtureConfig, outcomes: dict[int, Outcome]) -> str:
    """Results for people."""
    last = {seed: outcome.quality[-1] for seed, outcome in outcomes.items()}
    rows = [(str(seed), *cells([quality])) for seed, quality in last.items()]
    if len(rows) > 1:
        rows.append(("all", *cells(list(last.values()))))
    heading = ("seed", *columns(MIXTURES[config.data]()))
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
