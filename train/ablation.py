"""``python -m train.ablation``: what each of the Improved Techniques adds, as Salimans et al. 2016 show in table 3.

Every training is a ``python -m train.dcgan`` in a process and a folder of its own, and measures its samples when it is
done. This program says which trainings there are, starts those that are not finished, and reads what they measured.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, BinaryIO

from train.ablation_page import page, sheet, table
from train.checkpoint import checkpoints
from train.config import parse_options, read_config
from train.dcgan_config import DcganConfig
from train.device import resolve_device
from train.errors import TrainingError, UsageError, run_program
from train.evaluator import Evaluator, features_for, real_images
from train.files import write_atomically
from train.interrupt import StopSignals
from train.logs import duration
from train.report import read_run
from train.samples import chosen
from train.session import training_images

PROG = "python -m train.ablation"
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
    (3.4) and labels for D (5). Each other row takes one of these away from all, as in the paper: steps do not add up.
    Where VBN goes, batch norm comes (BN); -labels +HA has historical averaging (3.3) in the labels' place.

    The same command goes on where it was stopped. Options after -- go to every training, such as -- --data cifar10:
    python -m train.dcgan --help lists them.
    """

    out: Path = Path("runs/ablation")
    """Folder of the trainings and, without --page, of the table."""
    seeds: int = 3
    """Trainings of each method, with seeds 1, 2, …"""
    kimg: float = 80.0
    """Thousands of images that each training shows."""
    images: int = 5000
    """Samples, and real images, that a score is of (the paper: 50 000)."""
    jobs: int = 0
    """Trainings at once, each on one thread of the CPU whatever their number (0: one for each core)."""
    page: Path | None = None
    """Markdown file to write, with its picture beside it (default: ablation.md in the folder)."""
    json: bool = False
    """Print everything as JSON instead of the table."""


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
    measuring = ["--metrics", ",".join(METRICS), "--metrics-every", "0", "--metrics-images", str(options.images)]
    showing = ["--image-kimg", "0", "--grid", GRID]  # at the end, as the metrics
    own = ["--kimg", str(options.kimg), "--seed", str(run.seed), "--out", str(run.folder)]
    return [sys.executable, "-m", "train.dcgan", *COMMON, *given, *measuring, *showing, *own, *run.method.flags]


class Training:
    """The process of a run: begun, or resumed where the run has a checkpoint. It holds ``lock`` while it lives."""

    def __init__(self, run: Run, options: Options, given: Sequence[str], lock: BinaryIO) -> None:
        self.run, self._start = run, time.monotonic()
        if checkpoints(run.folder):
            words = [sys.executable, "-m", "train.dcgan", "--resume", str(run.folder)]
        else:
            if run.folder.exists():
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
        said = self._errors.read_text(errors="replace").splitlines()
        result = self.run.result()
        if self.process.returncode or result is None:
            reason = said[-1].removeprefix("error: ") if said else f"it ended with code {self.process.returncode}"
            raise TrainingError(f"{self.run.name}: {reason}")
        score = result[key_of(METRICS[0], result)]
        return f"{self.run.name}: inception score {score:.2f}, in {duration(time.monotonic() - self._start)}"


def train_all(runs: Sequence[Run], options: Options, given: Sequence[str], lock: BinaryIO) -> int:
    """Trains what is not finished; returns 0, or the number of the signal that stopped it.

    Raises:
        TrainingError: if one fails. The others have been stopped and can be resumed, as after a signal.
    """
    waiting = [run for run in runs if run.result() is None]
    jobs = options.jobs or len(os.sched_getaffinity(0))
    active: list[Training] = []
    failure: TrainingError | None = None
    with StopSignals() as stop:
        try:
            while (active or waiting) and not failure and stop.received is None:
                while waiting and len(active) < jobs:
                    active.append(Training(waiting.pop(0), options, given, lock))
                time.sleep(0.1)
                for training in [training for training in active if training.process.poll() is not None]:
                    active.remove(training)
                    try:
                        print(f"{training.finish()}; {len(active) + len(waiting)} to go", file=sys.stderr, flush=True)
                    except TrainingError as error:
                        failure = failure or error
        finally:
            for training in active:
                training.stop()
            for training in active:
                training.process.wait()
    if stop.received is not None:
        return 128 + stop.received
    if failure:
        raise failure
    return 0


def study(runs: Sequence[Run], options: Options, given: Sequence[str]) -> dict[str, Any]:
    """All results of finished runs, as plain types."""
    real = [_real(options.out, run) for run in runs if run.method is METHODS[0]]
    rows = [_row(REAL, REAL_SCORE, [], real)]
    for method in METHODS:
        results = [run.result() for run in runs if run.method is method]
        rows.append(_row(method.name, method.paper, method.flags, results))
    config, last = read_config(DcganConfig, runs[0].folder / "config.json"), rows[-1]["results"][-1]
    return {
        "data": config.data,
        "resolution": config.resolution,
        "precision": config.precision,
        "kimg": options.kimg,
        "seeds": options.seeds,
        "options": [*COMMON, *given],
        "names": [key_of(metric, last) for metric in METRICS],
        "images": last["evaluation"]["generated"],
        "features": last["evaluation"]["features"],
        "rows": rows,
    }


def _row(name: str, paper: float, flags: Sequence[str], results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means and sample deviations over the seeds, and the results that they are of."""
    row: dict[str, Any] = {"name": name, "paper": paper, "flags": list(flags)}
    for metric in METRICS:
        values = [result[key_of(metric, result)] for result in results]
        deviation = stdev(values) if len(values) > 1 else None
        row[metric] = {"mean": fmean(values), "deviation": deviation, "values": values}
    return {**row, "results": list(results)}


def _real(out: Path, run: Run) -> dict[str, Any]:
    """What the images that a run learns from score, measured as its samples are; kept in the folder."""
    path = out / f"real-{run.seed}.json"
    if not path.exists():
        config = read_config(DcganConfig, run.folder / "config.json")
        reference, count = real_images(config), config.metrics_images
        features = features_for(METRICS, reference, config.inception_weights, resolve_device(config.device))
        samples = chosen(training_images(config), count, run.seed)
        evaluation = Evaluator(METRICS, reference, count, features).measure(samples)
        _write(path, {"seed": run.seed, **evaluation.pop("metrics"), "evaluation": evaluation})
    return json.loads(path.read_text())


def key_of(metric: str, result: dict[str, Any]) -> str:
    """A metric's name in a result, which says whose features it is of."""
    return next(name for name in result if name.split("[")[0] == metric)


def main(args: Sequence[str] | None = None) -> int:
    args = list(sys.argv[1:] if args is None else args)
    split = args.index("--") if "--" in args else len(args)
    options, given = parse_options(Options, args[:split], prog=PROG), args[split + 1 :]
    _check(options)
    runs = runs_of(options)
    options.out.mkdir(parents=True, exist_ok=True)
    with _locked(options.out) as lock:
        _claim(options, given)
        if code := train_all(runs, options, given, lock):
            print(f"stopped; the same command goes on in {options.out}", file=sys.stderr)
            return code
        results = study(runs, options, given)
    text = options.page or options.out / "ablation.md"
    picture = text.with_suffix(".png")
    text.parent.mkdir(parents=True, exist_ok=True)
    _write_page(text, picture, results, runs, _repeating(options, given))
    print(json.dumps(results, indent=2) if options.json else table(results))
    print(f"{text} and {picture}", file=sys.stderr)
    return 0


def _repeating(options: Options, given: Sequence[str]) -> str:
    """The command that gives these results, wherever its files are."""
    words = ["python", "-m", "train.ablation"]
    for name in ("seeds", "kimg", "images"):
        if getattr(options, name) != getattr(Options, name):
            words += [f"--{name}", f"{getattr(options, name):.9g}"]
    return shlex.join([*words, "--", *given] if given else words)


def _check(options: Options) -> None:
    """UsageError for a value that makes no sense."""
    for name, least in (("seeds", 1), ("images", 1), ("jobs", 0)):
        if getattr(options, name) < least:
            raise UsageError(f"{name}={getattr(options, name)} is less than {least}")
    if not options.kimg > 0:
        raise UsageError(f"kimg={options.kimg:g} is not positive")


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[BinaryIO]:
    """Keeps others from training in the folder while this process or one of its trainings lives."""
    with open(out / "lock", "wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another ablation is at work in {out}") from None
        yield lock


def _claim(options: Options, given: Sequence[str]) -> None:
    """Writes down what the folder's trainings are of; UsageError if it holds those of something else."""
    path = options.out / "ablation.json"
    mine = {"kimg": options.kimg, "images": options.images, "options": list(given)}
    theirs = json.loads(path.read_text()) if path.exists() else mine
    for name, value in mine.items():
        if theirs[name] != value:
            raise UsageError(
                f"{options.out} holds trainings with {name}={theirs[name]}, not {value}: choose another --out"
            )
    _write(path, mine)


def _write(path: Path, values: dict[str, Any]) -> None:
    write_atomically(path, lambda file: file.write(json.dumps(values).encode()))


def _write_page(text: Path, picture: Path, results: dict[str, Any], runs: Sequence[Run], command: str) -> None:
    first = [run for run in runs if run.seed == 1]
    strips = [(REAL, first[0].folder / "reals.png")]
    strips += [(run.method.name, max(run.folder.glob("fakes_*.png"))) for run in first]
    image = sheet(strips)
    write_atomically(picture, lambda file: image.save(file, format="PNG"))
    write_atomically(text, lambda file: file.write(page(results, command, picture.name).encode()))


if __name__ == "__main__":
    sys.exit(run_program(main))
