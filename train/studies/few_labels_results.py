"""Results of ``python -m train.studies.few_labels``: kept on the disk one by one, summed up as a table or JSON."""

from __future__ import annotations

import contextlib
import json
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from train.base.errors import UsageError
from train.base.files import write_atomically
from train.base.lock import LOCK, locked
from train.base.values import check_values
from train.studies.few_labels_options import SemiOptions

CONFIG = "config.json"
ROWS = {
    "gan": "GAN",
    "ensemble": "GAN, ensemble",
    "supervised": "same network, labels alone",
    "label-spreading": "LabelSpreading",
    "logistic-regression": "LogisticRegression",
}
"""Methods and what the table calls them, in its order."""


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


@dataclass(frozen=True)
class Result:
    """Errors of one method with one choice of labelled images."""

    method: str
    labels: int
    seed: int
    member: int
    wrong: int  # of the test images
    tested: int
    error: float  # their share
    pool_error: float | None  # share of wrong ones among the pool's images without labels, where that was measured
    seconds: float | None

    @property
    def task(self) -> Task:
        return Task(self.method, self.labels, self.seed, self.member)


class Results:
    """What is finished, in a folder: ``results.jsonl``, the networks' probabilities, and the options they came from.

    Raises:
        UsageError: if the folder holds results of other options, or damaged ones.
    """

    def __init__(self, folder: Path, options: SemiOptions) -> None:
        self.folder = folder
        self._path = folder / "results.jsonl"
        self.finished: dict[Task, Result] = {}
        ours = options.what_results_depend_on()
        config = folder / CONFIG
        try:
            if config.exists():
                theirs = json.loads(config.read_text())
                if theirs != ours:
                    changed = next(name for name in {**ours, **theirs} if _entry(theirs, name) != _entry(ours, name))
                    raise UsageError(
                        f"{folder} holds results with {_entry(theirs, changed)}, not {_entry(ours, changed)}: "
                        "choose another --out"
                    )
                if self._path.exists():
                    for line in self._path.read_text().splitlines():
                        result = Result(**json.loads(line))
                        check_values(result, str(self._path))
                        self.finished[result.task] = result
        except UsageError:
            raise
        except (ValueError, RecursionError, TypeError, AttributeError) as error:
            raise UsageError(f"the results in {folder} are damaged: {error}") from None
        folder.mkdir(parents=True, exist_ok=True)
        _write(config, json.dumps(ours, indent=2) + "\n")
        (folder / "probabilities").mkdir(exist_ok=True)

    def is_finished(self, task: Task, shape: tuple[int, int]) -> bool:
        """Whether its result is there, and with a GAN's the probabilities [N, K], which ensembles are made of."""
        if task not in self.finished or task.method != "gan":
            return task in self.finished
        try:
            with open(self.probabilities_file(task), "rb") as file:
                found = np.lib.format.read_array(file)
            return found.shape == shape and bool(np.isfinite(found).all())
        except Exception:  # NumPy has no one error for damaged files
            return False

    def add(self, result: Result) -> None:
        """Keeps a finished result."""
        self.finished[result.task] = result
        _write(self._path, "".join(json.dumps(asdict(one)) + "\n" for one in self.finished.values()))

    def probabilities_file(self, task: Task) -> Path:
        """Where a network's probabilities for the test images are, float32 [N, K]."""
        name = f"{task.method}-{task.labels}-{task.seed}-{task.member}.npy"
        return self.folder / "probabilities" / name

    def ensemble(self, task: Task, members: int, truth: Tensor) -> Result:
        """The mean of the probabilities of ``members`` networks that know the same labels, against the true classes.

        ``task`` is that of the first of them.
        """
        files = [self.probabilities_file(task._replace(member=member)) for member in range(members)]
        mean = np.mean([np.load(file) for file in files], axis=0)  # [N, K]
        wrong = int((torch.from_numpy(mean).argmax(1) != truth).sum())
        return Result("ensemble", task.labels, task.seed, 0, wrong, len(truth), wrong / len(truth), None, None)


@contextlib.contextmanager
def opened(folder: Path, options: SemiOptions) -> Iterator[Results]:
    """The results in a folder, which is made if it is not there, for this process alone.

    Raises:
        UsageError: if the folder holds other things, or another training is at work there.
    """
    begun = (folder / CONFIG).exists() or not folder.exists()
    if not begun and (not folder.is_dir() or any(path.name != LOCK for path in folder.iterdir())):
        raise UsageError(f"--out {folder} is not empty and holds no results: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "training"):
        yield Results(folder, options)


def summary(results: Iterable[Result]) -> list[dict[str, Any]]:
    """Mean and deviation over the repeats of each method and number of labels, in the table's order.

    Of an ensemble's networks the first one counts as a repeat.
    """
    groups: dict[tuple[str, int], list[float]] = {}
    for result in results:
        if result.member == 0:
            groups.setdefault((result.method, result.labels), []).append(result.error)
    return [
        {
            "method": method,
            "labels": labels,
            "repeats": len(errors),
            "mean": statistics.fmean(errors),
            "deviation": statistics.stdev(errors) if len(errors) > 1 else None,
        }
        for method in ROWS
        for (other, labels), errors in sorted(groups.items())
        if other == method
    ]


def table(results: Iterable[Result], members: int) -> str:
    """Test errors in per cent, a row for each method and a column for each number of labels, as Markdown."""
    cells: dict[str, dict[int, str]] = {}
    for row in summary(results):
        deviation = "" if row["deviation"] is None else f" ± {100 * row['deviation']:.2f}"
        cells.setdefault(row["method"], {})[row["labels"]] = f"{100 * row['mean']:.2f}{deviation}"
    columns = sorted({labels for row in cells.values() for labels in row})
    lines = [["labels", *map(str, columns)]]
    for method, row in cells.items():
        name = ROWS[method] + (f" of {members}" if method == "ensemble" else "")
        lines.append([name, *(row.get(labels, "") for labels in columns)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    aligned = [
        "| " + " | ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) + " |" for line in lines
    ]
    rule = "|" + "-" * (widths[0] + 2) + "|" + "|".join("-" * (width + 1) + ":" for width in widths[1:]) + "|"
    return "\n".join([aligned[0], rule, *aligned[1:]])


def _entry(options: Mapping[str, Any], name: str) -> str:
    return f"{name}={options[name]!r}" if name in options else f"no {name}"


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode()))
