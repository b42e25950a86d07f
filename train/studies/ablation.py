"""``python -m train.studies.ablation``: what each of the Improved Techniques adds (Salimans et al. 2016, table 3).

Every training is a ``python -m train.dcgan`` in a process and a folder of its own, and measures its samples when it is
done. This program says which trainings there are, starts those that are not finished, and reads what they measured.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any

import torch

from train import dcgan
from train.base.device import resolve_device
from train.base.errors import UsageError, run_program
from train.base.files import write_atomically
from train.base.values import Range, Runs
from train.dcgan import SYSTEM, DcganConfig
from train.measure.pictures import save_picture
from train.run.checkpoint import checkpoints
from train.run.options import RunOptions, parse_command_line, parse_options, read_config
from train.run.record import read_run
from train.studies.ablation_page import page, summary
from train.studies.ablation_runs import Task, real_scores
from train.studies.processes import attempt
from train.studies.sheet import sheet
from train.studies.study import command_of, flags, opened, page_file
from train.studies.trainings import METRICS, Planned, Scores, train_all

PROG = "python -m train.studies.ablation"
# Of every training, before what the user gives; the rest is as in train.dcgan's default run.
COMMON = ("--reference-batch", "32", "--checkpoint-kimg", "10", "--keep", "1", "--no-tensorboard")
GRID = "2x16"

ALL_METHODS = {
    "g_norm": "virtual",
    "minibatch_discrimination": 100,
    "loss": "non-saturating(label_smoothing=0.1)",
    "condition": "k+1",
    "historical_averaging": 0.0,
}
"""What the paper calls "our methods": everything but feature matching and historical averaging."""
HISTORICAL_AVERAGING = 0.01  # the paper does not give its weight


@dataclass(frozen=True)
class Method:
    """A row of the table that is trained.

    Attributes:
        paper: the inception score in the paper's table 3, on CIFAR-10.
        changes: options of ``train.dcgan`` that are not those of ALL_METHODS.
    """

    name: str
    paper: float
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def flags(self) -> list[str]:
        """The options that make the method, as a command line has them."""
        return flags({**ALL_METHODS, **self.changes})


METHODS = (
    Method("all methods", 8.09),
    Method("−VBN +BN", 7.54, {"g_norm": "batch"}),
    Method("−labels +HA", 6.86, {"condition": "none", "historical_averaging": HISTORICAL_AVERAGING}),
    Method("−label smoothing", 6.83, {"loss": "non-saturating"}),
    Method("−labels", 4.36, {"condition": "none"}),
    Method("−minibatch features", 3.87, {"minibatch_discrimination": 0}),
)
REAL, REAL_SCORE = "real data", 11.24


@dataclass(frozen=True)
class Options:
    """Repeats the ablation of Salimans et al. 2016 (arXiv 1606.03498, section 6.2, table 3) on glyphs at 32x32.

    All methods: virtual batch norm in G (VBN, section 3.5), minibatch features in D (3.2), one-sided label smoothing
    (3.4) and labels for D (5). As in the paper, each other row removes one of these; rows do not build on each other.
    Batch norm (BN) replaces VBN; in -labels +HA, historical averaging (3.3) replaces the labels.

    If it is stopped, the same command continues. Options after -- are passed to every training, such as
    -- --data cifar10: python -m train.dcgan --help lists them.
    """

    out: Path = Path("runs/ablation")
    """Folder of the trainings and, without --page, of the table."""
    seeds: Runs = 3
    """Number of trainings of each method, with seeds 1, 2, …"""
    kimg: float = 80.0
    """Thousands of images of each training."""
    images: Annotated[int, Range(1)] = 5000
    """Number of samples, and of real images, for each score (the paper: 50 000)."""
    jobs: Annotated[int, Range(0, 1000)] = 0
    """Trainings to run at once, each on one CPU thread (0: one for each core; 1 on a GPU)."""
    page: Path | None = None
    """Markdown file to write; its picture goes into the same folder (default: ablation.md in --out)."""
    json: bool = False
    """Print all results as JSON instead of the table."""


def tasks_of(options: Options) -> list[Task]:
    """All methods with one seed, then with the next: there is something to compare as soon as can be."""
    return [Task(method.name, seed) for seed in range(1, options.seeds + 1) for method in METHODS]


def words(task: Task, options: Options, given: Sequence[str]) -> list[str]:
    """The options of ``train.dcgan`` that make a training."""
    return [*COMMON, *given, *own_words(task, options)]


def own_words(task: Task, options: Options) -> list[str]:
    """What this program says to a training, and nobody else may."""
    (method,) = (method for method in METHODS if method.name == task.method)
    measuring = ["--metrics", ",".join(METRICS), "--metrics-every", "0", "--metrics-images", str(options.images)]
    showing = ["--image-kimg", "0", "--grid", GRID]  # at the end, as the metrics
    own = ["--kimg", str(options.kimg), "--seed", str(task.seed), "--out", str(task.folder(options.out))]
    return [*measuring, *showing, *own, *method.flags]


def check_given(options: Options, given: Sequence[str]) -> torch.device:
    """The device that the given options ask for; UsageError for one that this program sets itself, and for what
    ``train.dcgan`` refuses of any method."""

    def names(line: Sequence[str]) -> list[str]:
        options = [word.removeprefix("--").split("=")[0] for word in line if word.startswith("--")]
        return [option.replace("_", "-").removeprefix("no-") for option in options]

    of_a_start = [f"--{field.name}" for field in fields(RunOptions)]
    reserved = names([*own_words(Task(METHODS[0].name, 1), options), *of_a_start])
    if taken := [name for name in names(given) if name in reserved]:
        raise UsageError(f"--{taken[0]} cannot be given to the trainings: the ablation sets it")
    config, _ = parse_command_line(SYSTEM.presets, given, prog=SYSTEM.program, description=SYSTEM.about)
    for method in METHODS:
        with contextlib.redirect_stdout(io.StringIO()):
            dcgan.main([*words(Task(method.name, 1), options, given), "--dry-run"])
    return resolve_device(config.device)


def outcome(found: Mapping[Task, Scores], options: Options, given: Sequence[str]) -> dict[str, Any]:
    """What was found, as plain types; UsageError if not all of it is measured with the same features."""
    by_features: dict[str, Task] = {}
    for task, scores in found.items():
        by_features.setdefault(f"{scores.names()[0]} (weights {scores.weights})", task)
    if len(by_features) > 1:
        one, other, *_ = (f"{task}: {features}" for features, task in by_features.items())
        raise UsageError(f"scores from different features cannot be compared: {one}; {other}")
    methods = [(REAL, REAL_SCORE, []), *((method.name, method.paper, method.flags) for method in METHODS)]
    task, scores = next(iter(found.items()))
    config = config_of(task, options)
    trained = {"data": config.data, "resolution": config.resolution, "precision": config.precision}
    asked = {"kimg": options.kimg, "seeds": options.seeds, "options": [*COMMON, *given]}
    measured = {"names": scores.names(), "images": scores.generated, "reals": scores.real}
    features = {"name": scores.features, "weights": scores.weights}
    rows = [_row(*method, found) for method in methods]
    return {**trained, **asked, **measured, "features": features, "rows": rows}


def _row(name: str, paper: float, flags: Sequence[str], found: Mapping[Task, Scores]) -> dict[str, Any]:
    """Means and sample deviations over the seeds, of the values that there are."""
    seeds = sorted(task.seed for task in found if task.method == name)
    row: dict[str, Any] = {"name": name, "paper": paper, "flags": list(flags), "trained": seeds}
    for metric, value in zip(METRICS, ("score", "distance"), strict=True):
        values = [getattr(found[Task(name, seed)], value) for seed in seeds]
        finite = [value for value in values if value is not None]
        mean, deviation = fmean(finite) if finite else None, stdev(finite) if len(finite) > 1 else None
        row[metric] = {"mean": mean, "deviation": deviation, "values": values}
    return row


def config_of(task: Task, options: Options) -> DcganConfig:
    """The options of a training that has begun."""
    return read_config(DcganConfig, task.folder(options.out) / "config.json", SYSTEM.program)


def main(args: Sequence[str] | None = None) -> int:
    args = list(sys.argv[1:] if args is None else args)
    split = args.index("--") if "--" in args else len(args)
    options, given = parse_options(Options, args[:split], prog=PROG), args[split + 1 :]
    if not options.kimg > 0:
        raise UsageError(f"kimg={options.kimg:g} is not a positive number")
    text = page_file(options.page, options.out / "ablation.md")
    device, tasks = check_given(options, given), tasks_of(options)
    jobs = options.jobs or (len(os.sched_getaffinity(0)) if device.type == "cpu" else 1)
    reals = [Task(REAL, seed) for seed in range(1, options.seeds + 1)]
    shared = {"kimg": options.kimg, "images": options.images, "options": given}
    begun = any(checkpoints(path.parent) for path in options.out.glob("*/config.json"))
    with opened(options.out, shared, Task, Scores, begun=begun) as study:

        def train(missing: Sequence[Task]) -> Iterator[tuple[int, Scores | Exception]]:
            ours = [task for task in missing if task.method != REAL]  # they come first
            trainings = [Planned("dcgan", task.folder(options.out), words(task, options, given)) for task in ours]
            yield from train_all(trainings, jobs, study.lock)
            for index, real in enumerate(missing[len(ours) :], len(ours)):
                # The same for all methods.
                if trained := [task for task in study.found(tasks) if task.seed == real.seed]:
                    yield index, attempt(real_scores, config_of(trained[0], options))

        code = study.complete(
            [*tasks, *reals],
            train,
            lambda task, scores: "inception score " + ("not finite" if scores.score is None else f"{scores.score:.2f}"),
            lambda task: task.method == REAL or task.folder(options.out).exists(),
        )
        if not code and (finished := list(study.found(tasks))):
            results = outcome(study.found([*tasks, *reals]), options, given)
            print(json.dumps(results, indent=2) if options.json else summary(results), flush=True)
            text.parent.mkdir(parents=True, exist_ok=True)
            _write_page(text, results, finished, options, given)
    return code


def _write_page(
    text: Path, results: dict[str, Any], finished: Sequence[Task], options: Options, given: Sequence[str]
) -> None:
    shown = [task for task in finished if task.seed == finished[0].seed]
    strips = [(REAL, shown[0].folder(options.out) / "reals.png")]
    strips += [(task.method, read_run(task.folder(options.out)).grids[-1]) for task in shown]
    image, picture = sheet(strips), text.with_suffix(".png")
    command = command_of(PROG, options, "seeds", "kimg", "images")  # that gives these results, wherever its files are
    command += ["--", *given] if given else []
    markdown = page(results, shlex.join(command), picture.name, shown[0].seed)
    save_picture(picture, image)
    write_atomically(text, lambda file: file.write(markdown.encode()))
    print(f"{text} and {picture}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run_program(main))
