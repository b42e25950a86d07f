"""Trainings that a study makes, each a program in a process and a folder of its own, which resumes; and what they
measured of their samples at the end."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

from train.base.errors import TrainingError, UsageError
from train.base.interrupt import StopSignals
from train.measure.metric_names import qualified
from train.run.checkpoint import checkpoints
from train.run.record import read_run
from train.studies.processes import Stopped

METRICS = ("is", "fid")


class Task(NamedTuple):
    """A training of a study's row."""

    row: str
    options: str
    """As one would type them: with others it is another training."""
    kimg: float
    seed: int

    def __str__(self) -> str:
        return f"{self.row}, seed {self.seed}"

    def folder(self, out: Path) -> Path:
        return folder_of(out, self.row, self.seed, self.options, self.kimg)


def folder_of(out: Path, row: str, seed: int, options: str, length: float) -> Path:
    """Of this training alone: what other options, or another length, have left must not pass for its own."""
    name = re.sub("[^a-z0-9]+", "-", row.lower()).strip("-")
    return out / f"{name}-{seed}-{hashlib.sha256(f'{options} {length:g}'.encode()).hexdigest()[:8]}"


class Planned(NamedTuple):
    """A training: ``python -m train.<system>`` with some words, in a folder."""

    system: str
    folder: Path
    words: Sequence[str]


class Scores(NamedTuple):
    """What an evaluation found; None for a value that is not finite."""

    score: float | None
    """Inception score."""
    distance: float | None
    """Fréchet distance."""
    label: str
    """What the metrics' names say of the features; nothing for those that are the field's own."""
    features: str
    weights: str
    generated: int
    real: int

    def names(self) -> list[str]:
        """The metrics' names."""
        return [qualified(metric, self.label or None) for metric in METRICS]


def scores_of(values: dict[str, float | None], evaluation: dict[str, Any]) -> Scores:
    """Metrics by name and what a run says of their evaluation; UsageError if it does not say of which features."""
    if not evaluation["features"]:
        raise UsageError("its evaluation does not say of which features")
    found = {name.split("[")[0]: name for name in values}
    label = found["is"].removeprefix("is").strip("[]")
    features = (evaluation["features"][name] for name in ("name", "weights"))
    return Scores(*(values[found[m]] for m in METRICS), label, *features, evaluation["generated"], evaluation["real"])


def measured(folder: Path) -> Scores | None:
    """What a training measured at its end; None if it has not come there."""
    evaluations = read_run(folder).evaluations if (folder / "config.json").exists() else []
    return scores_of(evaluations[-1], evaluations[-1]["evaluation"]) if evaluations else None


class Training:
    """The process of a training: begun, or resumed where there is a checkpoint. It holds ``lock`` while it lives.

    It has one thread: so it gives the same whatever runs beside it.
    """

    def __init__(self, planned: Planned, lock: BinaryIO) -> None:
        system, folder, words = planned
        if checkpoints(folder):
            words = ["--resume", str(folder)]
        elif (folder / "config.json").exists():
            shutil.rmtree(folder)  # it was killed before its first checkpoint
        self._errors = folder.with_name(f"{folder.name}.stderr")
        with open(self._errors, "wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"train.{system}", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # its log.txt has it too
                stderr=errors,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                pass_fds=[lock.fileno()],
                start_new_session=True,  # Ctrl-C must not reach it twice
            )

    def check(self) -> None:
        """TrainingError if it has ended with an error, which it says."""
        if code := self.process.returncode:
            said = self._errors.read_text(errors="replace").splitlines()
            raise TrainingError(said[-1].removeprefix("error: ") if said else f"it ended with code {code}")


Result = TypeVar("Result")
Course = Generator[Planned, None, Result]
"""What is done for a result: yields trainings, each of which has ended when it goes on."""


def train_all(trainings: Sequence[Planned], jobs: int, lock: BinaryIO) -> Iterator[tuple[int, Scores | Exception]]:
    """Indices of ``trainings`` and what they measured, as :func:`follow` gives them."""
    yield from follow([scored(planned) for planned in trainings], jobs, lock)


def scored(planned: Planned) -> Course[Scores]:
    """What a training measures at its end."""
    if not measured(planned.folder):
        yield planned
    if scores := measured(planned.folder):
        return scores
    raise TrainingError("it ended without an evaluation")


def follow(courses: Sequence[Course[Result]], jobs: int, lock: BinaryIO) -> Iterator[tuple[int, Result | Exception]]:
    """Indices of ``courses`` and what came of them: a result, or the error by which it says that it cannot be trained.
    ``jobs`` at once.

    Raises:
        Stopped: by a signal; first the trainings save a checkpoint and end.
    """
    waiting, active = list(enumerate(courses)), dict[int, Training | None]()
    with StopSignals() as stop:
        try:
            while (active or waiting) and stop.received is None:
                while waiting and len(active) < jobs:
                    active[waiting.pop(0)[0]] = None
                for index, training in list(active.items()):
                    if training is None or training.process.poll() is not None:
                        try:
                            active[index] = _next(courses[index], training, lock)
                        except StopIteration as end:
                            del active[index]
                            yield index, end.value
                        except (TrainingError, UsageError) as error:
                            del active[index]
                            yield index, error
                time.sleep(0.1)
        finally:
            running = [training for training in active.values() if training is not None]
            for training in running:
                training.process.terminate()
            for training in running:
                training.process.wait()
    if stop.received is not None:
        raise Stopped(stop.received)


def _next(course: Course[Any], ended: Training | None, lock: BinaryIO) -> Training:
    """A course's next training, when one has ended; StopIteration with its result if there is none."""
    if ended:
        ended.check()
    return Training(next(course), lock)
