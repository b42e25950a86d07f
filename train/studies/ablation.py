"""``python -m train.studies.ablation``: what each of the Improved Techniques adds (Salimans et al. 2016, table 3).

Every training is a ``python -m train.dcgan`` in a process and a folder of its own, and measures its samples when it is
done. This program says which trainings there are, starts those that are not finished, and reads what they measured.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any, BinaryIO

import torch

from train import dcgan
from train.base.device import resolve_device
from train.base.errors import TrainingError, UsageError, run_program
from train.base.files import write_atomically
from train.base.interrupt import StopSignals
from train.base.lock import locked
from train.base.values import Range, Runs
from train.data import ImageSet
from train.dcgan_config import PRESETS, DcganConfig
from train.measure.evaluator import Evaluator, real_images
from train.measure.measurable import plan
from train.measure.real_side import RealImages
from train.measure.samples import Samples, chosen, chosen_indices
from train.run.checkpoint import checkpoints
from train.run.logs import duration
from train.run.options import RunOptions, check_at_least, parse_command_line, parse_options, read_config
from train.run.record import read_run, wrong_in_line
from train.run.session import training_images
from train.studies.ablation_page import number, page, sheet, table

PROG = "python -m train.studies.ablation"
METRICS = ("is", "fid")
# Of every training, before what the user gives; the rest is as in train.dcgan's default run.
COMMON = ("--reference-batch", "32", "--checkpoint-kimg", "10", "--keep", "1", "--no-tensorboard")
GRID = "2x16"

ALL_METHODS = {
    "g_norm": "virtual",
    "minibatch_discrimination": 100,
    "label_smoothing": 0.1,
    "labels": True,
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
        words = []
        for name, value in {**ALL_METHODS, **self.changes}.items():
            option = name.replace("_", "-")
            words += [f"--{'' if value else 'no-'}{option}"] if isinstance(value, bool) else [f"--{option}", str(value)]
        return words


METHODS = (
    Method("all methods", 8.09),
    Method("−VBN +BN", 7.54, {"g_norm": "batch"}),
    Method("−labels +HA", 6.86, {"labels": False, "historical_averaging": HISTORICAL_AVERAGING}),
    Method("−label smoothing", 6.83, {"label_smoothing": 0.0}),
    Method("−labels", 4.36, {"labels": False}),
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
    images: int = 5000
    """Number of samples, and of real images, for each score (the paper: 50 000)."""
    jobs: Annotated[int, Range(0, 1000)] = 0
    """Trainings to run at once, each on one CPU thread (0: one for each core; 1 on a GPU)."""
    page: Path | None = None
    """Markdown file to write; its picture goes into the same folder (default: ablation.md in --out)."""
    json: bool = False
    """Print all results as JSON instead of the table."""


@dataclass(frozen=True)
class Run:
    """One training."""

    method: Method
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.method.name}, seed {self.seed}"

    def result(self) -> dict[str, Any] | None:
        """What it measured at its end; None if it has not come there."""
        if not (self.folder / "config.json").exists():
            return None
        evaluations = read_run(self.folder).evaluations
        return {"seed": self.seed, **evaluations[-1]} if evaluations else None


def runs_of(options: Options) -> list[Run]:
    """All methods with one seed, then with the next: there is something to compare as soon as can be."""

    def folder(method: Method, seed: int) -> Path:
        return options.out / f"{re.sub('[^a-z]+', '-', method.name.lower()).strip('-')}-{seed}"

    seeds = range(1, options.seeds + 1)
    return [Run(method, seed, folder(method, seed)) for seed in seeds for method in METHODS]


def command(run: Run, options: Options, given: Sequence[str]) -> list[str]:
    """What starts a training."""
    return [sys.executable, "-m", "train.dcgan", *COMMON, *given, *own_options(run, options)]


def own_options(run: Run, options: Options) -> list[str]:
    """What this program says to a training, and nobody else may."""
    measuring = ["--metrics", ",".join(METRICS), "--metrics-every", "0", "--metrics-images", str(options.images)]
    showing = ["--image-kimg", "0", "--grid", GRID]  # at the end, as the metrics
    own = ["--kimg", str(options.kimg), "--seed", str(run.seed), "--out", str(run.folder)]
    return [*measuring, *showing, *own, *run.method.flags]


def check_given(options: Options, given: Sequence[str]) -> torch.device:
    """Sees to it that every method can be trained with the given options; returns the device that they ask for.

    Raises:
        UsageError: for an option that this program sets itself, and for what ``train.dcgan`` refuses.
    """

    def names(words: Sequence[str]) -> list[str]:
        options = [word.removeprefix("--").split("=")[0] for word in words if word.startswith("--")]
        return [option.replace("_", "-").removeprefix("no-") for option in options]

    runs = [Run(method, 1, options.out) for method in METHODS]
    reserved = {*names(own_options(runs[0], options)), *names([f"--{field.name}" for field in fields(RunOptions)])}
    if taken := [name for name in names(given) if name in reserved]:
        raise UsageError(f"--{taken[0]} cannot be given to the trainings: the ablation sets it")
    config, _ = parse_command_line(PRESETS, given, prog=dcgan.PROG, description=dcgan.DESCRIPTION)
    for run in runs:
        with contextlib.redirect_stdout(io.StringIO()):
            dcgan.main([*command(run, options, given)[3:], "--dry-run"])
    return resolve_device(config.device)


class Training:
    """The process of a run: begun, or resumed where the run has a checkpoint. It holds ``lock`` while it lives."""

    def __init__(self, run: Run, options: Options, given: Sequence[str], lock: BinaryIO) -> None:
        self.run, self._start = run, time.monotonic()
        if checkpoints(run.folder):
            words = [sys.executable, "-m", "train.dcgan", "--resume", str(run.folder)]
        else:
            if (run.folder / "config.json").exists():
                shutil.rmtree(run.folder)  # it was killed before its first checkpoint
            words = command(run, options, given)
        self._errors = run.folder.with_name(f"{run.folder.name}.stderr")
        with open(self._errors, "wb") as errors:
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # its log.txt has it too
                stderr=errors,
                # With one thread it gives the same whatever runs beside it; more would hardly help networks so small.
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                pass_fds=[lock.fileno()],
                start_new_session=True,  # Ctrl-C must not reach it twice
            )

    def stop(self) -> None:
        """Has it save a checkpoint and end."""
        self.process.terminate()

    def finish(self) -> str:
        """A line about its end.

        Raises:
            TrainingError: if it ended without a result.
        """
        code = self.process.returncode
        if code:
            said = self._errors.read_text(errors="replace").splitlines()
            reason = said[-1].removeprefix("error: ") if said else f"it ended with code {code}"
            raise TrainingError(f"{self.run.name}: {reason}")
        result = self.run.result()
        if result is None:
            raise TrainingError(f"{self.run.name}: it ended without an evaluation")
        score = number(result[key_of(METRICS[0], result)])
        return f"{self.run.name}: inception score {score}, in {duration(time.monotonic() - self._start)}"


def train_all(
    runs: Sequence[Run], jobs: int, options: Options, given: Sequence[str], lock: BinaryIO
) -> tuple[int, list[str]]:
    """Trains what is not finished, ``jobs`` at once.

    Returns:
        0, or 128 plus the number of the signal that stopped it; and why some failed, which does not stop the others.
    """
    waiting = [run for run in runs if run.result() is None]
    active: list[Training] = []
    failures: list[str] = []
    with StopSignals() as stop:
        try:
            while (active or waiting) and stop.received is None:
                while waiting and len(active) < jobs:
                    active.append(Training(waiting.pop(0), options, given, lock))
                time.sleep(0.1)
                for training in [training for training in active if training.process.poll() is not None]:
                    active.remove(training)
                    try:
                        end = training.finish()
                    except (TrainingError, UsageError) as error:
                        end = f"failed: {error}"
                        failures.append(str(error))
                    print(f"{end}; {len(active) + len(waiting)} to go", file=sys.stderr, flush=True)
        finally:
            for training in active:
                training.stop()
            for training in active:
                training.process.wait()
    return 0 if stop.received is None else 128 + stop.received, failures


def study(runs: Sequence[Run], options: Options, given: Sequence[str]) -> dict[str, Any]:
    """All results of ``runs``, which are finished, as plain types.

    Raises:
        UsageError: if they are not all measured with the same features.
    """
    of_seeds = {run.seed: run for run in reversed(runs)}  # the real images are the same for all methods
    rows = [_row(REAL, REAL_SCORE, [], [_real(options.out, of_seeds[seed]) for seed in sorted(of_seeds)])]
    for method in METHODS:
        results = [run.result() for run in runs if run.method is method]
        rows.append(_row(method.name, method.paper, method.flags, results))
    _check_features(rows)
    config, last = read_config(DcganConfig, runs[0].folder / "config.json"), runs[-1].result()
    return {
        "data": config.data,
        "resolution": config.resolution,
        "precision": config.precision,
        "kimg": options.kimg,
        "seeds": options.seeds,
        "options": [*COMMON, *given],
        "names": [key_of(metric, last) for metric in METRICS],
        "images": last["evaluation"]["generated"],
        "reals": last["evaluation"]["real"],
        "features": last["evaluation"]["features"],
        "rows": rows,
    }


def _row(name: str, paper: float, flags: Sequence[str], results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means and sample deviations over the seeds, of the values that there are, and the results that they are of."""
    row: dict[str, Any] = {"name": name, "paper": paper, "flags": list(flags)}
    for metric in METRICS:
        values = [result[key_of(metric, result)] for result in results]
        finite = [value for value in values if value is not None]
        mean, deviation = fmean(finite) if finite else None, stdev(finite) if len(finite) > 1 else None
        row[metric] = {"mean": mean, "deviation": deviation, "values": values}
    return {**row, "results": list(results)}


def _check_features(rows: Sequence[dict[str, Any]]) -> None:
    """UsageError if two results are measured with different features, and so must not be averaged or compared."""
    first: dict[str, str] = {}
    for row in rows:
        for result in row["results"]:
            if not result["evaluation"]["features"]:
                raise UsageError(f"{row['name']}, seed {result['seed']}: its evaluation does not say of which features")
            features = f"{key_of(METRICS[0], result)} (weights {result['evaluation']['features']['weights']})"
            first.setdefault(features, f"{row['name']}, seed {result['seed']}: {features}")
    if len(first) > 1:
        one, other, *_ = first.values()
        raise UsageError(f"scores from different features cannot be compared: {one}; {other}")


def _real(out: Path, run: Run) -> dict[str, Any]:
    """What the images that a run learns from score, measured as its samples are; kept in the folder."""
    path = out / f"real-{run.seed}.json"
    if not path.exists():
        config = read_config(DcganConfig, run.folder / "config.json")
        reference, count = real_images(config), config.metrics_images
        samples, are_others = real_samples(config, reference)
        device, real = resolve_device(config.device), RealImages(reference, count)
        planned = plan(",".join(METRICS), real, samples.count, config.inception_weights, device)
        evaluation = Evaluator(planned, real).measure(samples)
        values = evaluation.pop("metrics")
        if not are_others:
            values[key_of("fid", values)] = None  # of images from themselves
        _write(path, {"seed": run.seed, **values, "evaluation": evaluation})
    result = _read(path, "seed", "evaluation")
    if wrong := wrong_in_line(result):
        raise UsageError(f"{path} is damaged: it {wrong}")
    return result


def real_samples(config: DcganConfig, reference: ImageSet) -> tuple[Samples, bool]:
    """Real images to be measured as a training's samples are, and whether none is among those they are compared with.

    These are ``metrics_images`` of ``reference``, chosen with seed 0.
    """
    count, seed = config.metrics_images, config.seed
    if config.data == "glyphs":  # which are drawn anew for each seed
        return chosen(training_images(config), count, seed), True
    others = chosen(reference, count, seed, besides=chosen_indices(reference, count, 0))
    if others.count == count:
        return others, True
    return chosen(training_images(config), count, seed), False


def key_of(metric: str, result: dict[str, Any]) -> str:
    """A metric's name in a result, which says whose features it is of."""
    names = [name for name in result if name.split("[")[0] == metric]
    if not names:
        raise UsageError(f"a result has no {metric}, only {', '.join(result)}")
    return names[0]


def main(args: Sequence[str] | None = None) -> int:
    args = list(sys.argv[1:] if args is None else args)
    split = args.index("--") if "--" in args else len(args)
    options, given = parse_options(Options, args[:split], prog=PROG), args[split + 1 :]
    _check(options)
    text = options.page or options.out / "ablation.md"
    if text.suffix != ".md" or text.is_dir():
        raise UsageError(f"page={text} is not a Markdown file's name, such as ablation.md")
    device, runs = check_given(options, given), runs_of(options)
    jobs = options.jobs or (len(os.sched_getaffinity(0)) if device.type == "cpu" else 1)
    options.out.mkdir(parents=True, exist_ok=True)
    with locked(options.out, "ablation") as lock:
        _claim(options, given, runs)
        code, failures = train_all(runs, jobs, options, given, lock)
        if code:
            print(f"stopped; the same command continues in {options.out}", file=sys.stderr)
            return code
        finished = [run for run in runs if run.result() is not None]
        results = study(finished, options, given) if finished else None
        if results:
            print(json.dumps(results, indent=2) if options.json else table(results), flush=True)
            picture = text.with_suffix(".png")
            text.parent.mkdir(parents=True, exist_ok=True)
            _write_page(text, picture, results, finished, _repeating(options, given))
            print(f"{text} and {picture}", file=sys.stderr)
    if failures:
        raise TrainingError(
            f"{len(failures)} of {len(runs)} trainings failed (the same command tries them again): "
            + "; ".join(failures)
        )
    return 0


def _repeating(options: Options, given: Sequence[str]) -> str:
    """The command that gives these results, wherever its files are."""
    words = ["python", "-m", "train.studies.ablation"]
    for name in ("seeds", "kimg", "images"):
        if getattr(options, name) != getattr(Options, name):
            words += [f"--{name}", f"{getattr(options, name):.9g}"]
    return shlex.join([*words, "--", *given] if given else words)


def _check(options: Options) -> None:
    """UsageError for a value that makes no sense."""
    check_at_least(options, 1, "images")
    if not 0 < options.kimg < math.inf:
        raise UsageError(f"kimg={options.kimg:g} is not a positive number")


def _claim(options: Options, given: Sequence[str], runs: Sequence[Run]) -> None:
    """Writes down what the folder's trainings are of; UsageError if it holds those of something else."""
    out, path = options.out, options.out / "ablation.json"
    mine = {"kimg": options.kimg, "images": options.images, "options": list(given)}
    if path.exists():
        theirs = _read(path, *mine)
        differing = [name for name, value in mine.items() if theirs[name] != value]
        if differing and _is_used(out):
            name = differing[0]
            raise UsageError(
                f"{out} holds trainings with {name}={theirs[name]}, not {mine[name]}: choose another --out"
            )
    else:
        for there in (*out.glob("real-*.json"), *(run.folder for run in runs)):
            if there.exists():
                raise UsageError(
                    f"{there} exists, but {path} does not, so it is not part of this ablation: choose another --out"
                )
    _write(path, mine)


def _is_used(out: Path) -> bool:
    """Whether there is anything in an ablation's folder that its options matter to."""
    runs = [path.parent for path in out.glob("*/config.json")]
    return any(out.glob("real-*.json")) or any(checkpoints(run) or read_run(run).evaluations for run in runs)


def _read(path: Path, *needed: str) -> dict[str, Any]:
    """What :func:`_write` wrote; UsageError if it is damaged or lacks one of the names."""
    try:
        values = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is damaged: {error}") from None
    missing = [name for name in needed if not isinstance(values, dict) or name not in values]
    if missing:
        raise UsageError(f"{path} is damaged: it lacks {missing[0]!r}")
    return values


def _write(path: Path, values: dict[str, Any]) -> None:
    write_atomically(path, lambda file: file.write(json.dumps(values).encode()))


def _write_page(text: Path, picture: Path, results: dict[str, Any], runs: Sequence[Run], command: str) -> None:
    seed = runs[0].seed
    shown = [run for run in runs if run.seed == seed]
    strips = [(REAL, shown[0].folder / "reals.png")]
    strips += [(run.method.name, read_run(run.folder).grids[-1]) for run in shown]
    image = sheet(strips)
    write_atomically(picture, lambda file: image.save(file, format="PNG"))
    write_atomically(text, lambda file: file.write(page(results, command, picture.name, seed).encode()))


if __name__ == "__main__":
    sys.exit(run_program(main))
