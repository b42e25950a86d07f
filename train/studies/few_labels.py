"""``python -m train.studies.few_labels``: test errors with few labels, over numbers of labels and choices of them.

A GAN (:mod:`train.semi_supervised`), an ensemble of such, the same network on the labels alone, and what scikit-learn
makes of the same labels (Salimans et al. 2016, §6.1 to §6.3).
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.semi_supervised import NETWORKS
from train.base.device import resolve_device
from train.base.errors import UsageError, run_program
from train.base.files import write_atomically
from train.base.values import Range, Runs
from train.data.few_labels import SemiData, balanced_labels, load_semi_data
from train.run.folder import RUNS
from train.run.options import values_of
from train.semi_supervised import PRESETS, SemiOptions, check_data, parse_command_line, train_and_test
from train.studies.baselines import label_spreading, logistic_regression, require_sklearn
from train.studies.processes import in_processes
from train.studies.study import opened, spread, table

PROG = "python -m train.studies.few_labels"
BASELINES = {"label-spreading": label_spreading, "logistic-regression": logistic_regression}
ROWS = {
    "gan": "GAN",
    "ensemble": "GAN, ensemble",
    "supervised": "same network, labels alone",
    "label-spreading": "LabelSpreading",
    "logistic-regression": "LogisticRegression",
}
"""Methods and what the table calls them, in its order."""


@dataclass(frozen=True)
class Options(SemiOptions):
    """Test errors of a GAN that learns to classify from few labels (Salimans et al. 2016, §5, §6.1 to §6.3)."""

    labels: tuple[int, ...] = (20, 50, 100, 200)
    """Total numbers of labelled images to compare, equally many of each class (§6.1: 20 50 100 200)."""
    repeats: Runs = 10
    """Number of random choices of the labelled images, each with the next seed and new networks (§6: 10)."""
    ensemble: Annotated[int, Range(0, 1000)] = 0
    """Adds a row: averaged probabilities of this number of networks with the same labels (§6.1: 10; 0: none)."""
    baselines: bool = False
    """Also test the network on the labels alone, LabelSpreading and LogisticRegression, on the same splits."""
    out: Path | None = None
    """Folder for the results; those that are there already are reused (default: runs/few_labels-<preset>)."""
    jobs: Runs = 1
    """Networks to train at the same time, in processes that share the CPU threads."""

    def shared(self) -> dict[str, Any]:
        """What one result depends on beside its method, labels, seed and member."""
        names = ("preset", "epochs", "batch", "lr", "lr_decay", "unlabelled_weight", "averaging", "generator_loss")
        return {**{n: getattr(self, n) for n in names}, "networks": dataclasses.asdict(NETWORKS[self.preset])}

    def training(self, task: Task) -> SemiOptions:
        """The options of one training."""
        return SemiOptions(**{**values_of(self, SemiOptions), "labels": task.labels, "seed": task.seed})


_STUDIED: Mapping[str, Mapping[str, Any]] = {
    "glyphs": {"labels": (180, 360, 720), "repeats": 3},
    "svhn": {"labels": (500, 1000, 2000)},
    "cifar10": {"labels": (1000, 2000, 4000, 8000)},
}
STUDIES = {
    name: Options(**{**vars(preset), "labels": Options.labels, **_STUDIED.get(name, {})})
    for name, preset in PRESETS.items()
}
"""By preset."""


class Task(NamedTuple):
    """What one result is of."""

    method: str
    labels: int
    seed: int
    member: int = 0
    """Which of an ensemble's networks."""

    def __str__(self) -> str:
        member = f", member {self.member}" if self.member else ""
        return f"{self.method}, {self.labels} labels, seed {self.seed}{member}"


class Errors(NamedTuple):
    """Of one method with one choice of labelled images."""

    wrong: int
    """Of the test images."""
    tested: int
    error: float
    """Share of wrong ones."""
    pool_error: float | None
    """Share of wrong ones among the pool's images without labels, where that was measured."""
    seconds: float | None


def main(args: Sequence[str] | None = None) -> int:
    options = parse_command_line(STUDIES, list(sys.argv[1:] if args is None else args), PROG)
    if not options.labels:
        raise UsageError("labels: name at least one number of labelled images")
    if len(set(options.labels)) < len(options.labels):
        raise UsageError(f"labels: {' '.join(map(str, options.labels))} contains a number twice")
    if options.ensemble == 1:
        raise UsageError("ensemble=1: an ensemble has at least 2 members (0: no such row)")
    resolve_device(options.device)
    if options.baselines:
        require_sklearn()
    data = loaded(options.preset, options.data_root, options.download)
    check_data(options, data, *options.labels)
    tasks, folder = tasks_of(options), options.out or RUNS / f"few_labels-{options.preset}"
    shape, jobs = (len(data.test), data.num_classes), options.jobs
    with opened(folder, options.shared(), Task, Errors) as study:
        code = study.complete(
            tasks,
            lambda missing: in_processes(jobs, perform, [(task, options, folder, jobs == 1) for task in missing]),
            lambda task, errors: f"error {errors.error:.2%}, {errors.seconds:.1f} s",
            lambda task: task.method != "gan" or has_probabilities(folder, task, shape),
        )
        found = study.found(tasks)
        if not code and found:
            found |= ensembles(folder, found, options.ensemble, data.test_labels)
            print(json.dumps(as_json(options, data, found), indent=2) if options.json else as_table(options, found))
    return code


def tasks_of(options: Options) -> list[Task]:
    """All that the options ask for; an ensemble's further members come last."""
    seeds = range(options.seed, options.seed + options.repeats)
    methods = ["gan", *(["supervised", *BASELINES] if options.baselines else [])]
    every, members = options.labels, range(1, options.ensemble)
    tasks = [Task(method, labels, seed) for seed in seeds for labels in every for method in methods]
    return tasks + [Task("gan", labels, seed, member) for seed in seeds for member in members for labels in every]


loaded = functools.cache(load_semi_data)


def perform(task: Task, options: Options, folder: Path, progress: bool) -> Errors:
    """Trains and tests. A GAN leaves its probabilities in the study's folder."""
    data = loaded(options.preset, options.data_root, options.download)
    start = time.perf_counter()
    labelled = balanced_labels(data.pool_labels, task.labels, data.num_classes, task.seed)
    if task.method in BASELINES:
        tested, pool = BASELINES[task.method](data, labelled)
    else:
        named, adversary = str(task) if progress else None, task.method == "gan"
        both = train_and_test(options.training(task), data, task.member, adversary=adversary, progress=named)
        if adversary:
            file = probabilities_file(folder, task)
            file.parent.mkdir(exist_ok=True)
            write_atomically(file, lambda out: np.save(out, both[0].numpy()))
        tested, pool = (probabilities.argmax(1) for probabilities in both)
    unlabelled = torch.ones(len(data.pool), dtype=torch.bool)
    unlabelled[labelled] = False
    missed = (pool != data.pool_labels)[unlabelled]
    pool_error = float(missed.float().mean()) if len(missed) else None
    return errors_of(tested, data.test_labels, pool_error, round(time.perf_counter() - start, 2))


def errors_of(found: Tensor, truth: Tensor, pool_error: float | None = None, seconds: float | None = None) -> Errors:
    """Of the test images' classes [N]."""
    wrong = int((found != truth).sum())
    return Errors(wrong, len(truth), wrong / len(truth), pool_error, seconds)


def probabilities_file(folder: Path, task: Task) -> Path:
    """Where a network's probabilities for the test images are, float32 [N, K]."""
    return folder / "probabilities" / f"{'-'.join(map(str, task))}.npy"


def has_probabilities(folder: Path, task: Task, shape: tuple[int, int]) -> bool:
    """Whether a GAN's probabilities [N, K], which ensembles are made of, are there and whole."""
    try:
        with open(probabilities_file(folder, task), "rb") as file:
            found = np.lib.format.read_array(file)
        return found.shape == shape and bool(np.isfinite(found).all())
    except Exception:  # NumPy has no one error for damaged files
        return False


def ensembles(folder: Path, found: Mapping[Task, Errors], members: int, truth: Tensor) -> dict[Task, Errors]:
    """Errors of the mean of the probabilities of so many GANs that know the same labels, where all are there."""
    results = {}
    for task in found if members else ():
        all_of_it = [task._replace(member=member) for member in range(members)]
        if task.method == "gan" and task.member == 0 and all(one in found for one in all_of_it):
            mean = np.mean([np.load(probabilities_file(folder, one)) for one in all_of_it], axis=0)  # [N, K]
            results[task._replace(method="ensemble")] = errors_of(torch.from_numpy(mean).argmax(1), truth)
    return results


def grouped(found: Mapping[Task, Errors]) -> dict[tuple[str, int], list[float]]:
    """Errors over the repeats by method and number of labels, in the table's order.

    Of an ensemble's networks the first one counts as a repeat.
    """
    groups: dict[tuple[str, int], list[float]] = {}
    for task in sorted(found, key=lambda task: (list(ROWS).index(task.method), task.labels)):
        if task.member == 0:
            groups.setdefault((task.method, task.labels), []).append(found[task].error)
    return groups


def as_table(options: Options, found: Mapping[Task, Errors]) -> str:
    """Test errors in per cent, a row for each method and a column for each number of labels."""
    groups, columns = grouped(found), sorted(options.labels)
    rows = [["labels", *map(str, columns)]]
    for method in dict.fromkeys(method for method, _ in groups):
        name = ROWS[method] + (f" of {options.ensemble}" if method == "ensemble" else "")
        percents = ([100 * error for error in groups.get((method, labels), [])] for labels in columns)
        rows.append([name, *(spread(errors, 2) for errors in percents)])
    return table(rows)


def as_json(options: Options, data: SemiData, found: Mapping[Task, Errors]) -> dict[str, Any]:
    """Every error, and what the table says."""
    summary = []
    for (method, labels), errors in grouped(found).items():
        row = {"method": method, "labels": labels, "repeats": len(errors), "mean": fmean(errors)}
        summary.append({**row, "deviation": stdev(errors) if len(errors) > 1 else None})
    about = {"options": options.shared(), "pool": len(data.pool), "test": len(data.test), "torch": torch.__version__}
    results = [{**task._asdict(), **errors._asdict()} for task, errors in found.items()]
    return {**about, "ensemble": options.ensemble, "results": results, "summary": summary}


if __name__ == "__main__":
    sys.exit(run_program(main))
