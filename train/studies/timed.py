"""Trainings of equal time: each shows as many images as it can in so many minutes.

How fast a training is, is tried out first. The run is then one of so many images like any other: it resumes exactly,
and what a schedule changes over the run is changed to its end. Time spent measuring does not count.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from train.run.checkpoint import checkpoints
from train.run.record import Run, read_run
from train.studies.trainings import Course, Planned

TRIAL = 20.0
"""Seconds of training by which speed is judged, at least."""
FIRST = 0.25
"""Thousands of images of the first trial."""
LINES = 50
"""Lines of progress of a run."""


def train_for(minutes: float, planned: Planned, *, metrics: Sequence[str] = (), points: int = 1) -> Course[Run]:
    """The finished run of a training, begun or continued.

    Args:
        planned: its words say neither how long it is nor how often it logs, measures and saves.
        metrics: the words that say what is measured.
        points: measurements, evenly over the run, the last one at its end.
    """
    folder = planned.folder
    if not checkpoints(folder):
        kimg = 60 * minutes / (yield from seconds_per_kimg(planned))
        cadence = _every(kimg, folder, lines=LINES, parts=points)
        planned = planned._replace(words=[*planned.words, *metrics, *cadence, "--metrics-every", f"{kimg / points:g}"])
    yield planned
    return read_run(folder)


def seconds_per_kimg(planned: Planned) -> Course[float]:
    """Of a training, by trials that are deleted again."""
    kimg, folder = FIRST, planned.folder.with_name(f"{planned.folder.name}.trial")
    while True:
        shutil.rmtree(folder, ignore_errors=True)  # of one that was stopped
        yield Planned(planned.system, folder, [*planned.words, *_every(kimg, folder, lines=8, parts=1)])
        times = training_times(read_run(folder).ticks)
        shutil.rmtree(folder)
        (shown, spent), (first, until_first) = times[-1], times[0]
        if spent >= TRIAL and len(times) > 1:  # before the first line memory is allocated
            return (spent - until_first) / (shown - first)
        kimg *= min(8.0, max(1.5, 1.2 * TRIAL / max(spent, 1e-3)))


def training_times(ticks: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """(kimg, seconds of training up to there) for each line of progress of a run."""
    times, kimg, seconds = [], 0.0, 0.0
    for tick in ticks:
        seconds += (tick["kimg"] - kimg) * tick["seconds_per_kimg"]
        kimg = tick["kimg"]
        times.append((kimg, seconds))
    return times


def _every(kimg: float, folder: Path, *, lines: int, parts: int) -> list[str]:
    """The words for a training of such a length, with so many lines of progress and checkpoints."""
    cadence = {"kimg": kimg, "log-kimg": kimg / lines, "checkpoint-kimg": kimg / parts}
    return [*(word for name, value in cadence.items() for word in (f"--{name}", f"{value:g}")), "--out", str(folder)]
