"""What the study of networks knows of a training."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from train.base.errors import UsageError
from train.run import checkpoint
from train.run.record import Run
from train.studies.network_rows import Row
from train.studies.timed import training_times


class Measured(NamedTuple):
    """What a training has come to; None for what was not measured or is not finite."""

    fid: float | None
    score: float | None
    """Inception score."""
    precision: float | None
    recall: float | None
    intra_fid: float | None
    """Mean of the classes' Fréchet distances."""
    accuracy: float | None
    """Part of the samples that a classifier takes for what they were meant to be."""
    kimg: float
    seconds: float
    """Of training, without measurements."""
    g: int
    """Parameters of the generator."""
    d: int
    """Of the discriminator."""
    label: str
    """What the metrics' names say of the features."""
    features: str
    weights: str
    generated: int
    real: int

    def shown(self, name: str, places: int = 2) -> str:
        """A value for people."""
        value = getattr(self, name)
        return "–" if value is None else f"{value:.{places}f}"


class Trained(NamedTuple):
    """A training with all that is shown of it."""

    row: Row
    seed: int
    measured: Measured
    curve: list[tuple[float, float]]
    """(minutes, fid)."""
    grid: Path
    """Picture of samples."""


NAMES = {
    "fid": "fid",
    "is": "score",
    "precision": "precision",
    "recall": "recall",
    "intra-fid": "intra_fid",
    "accuracy": "accuracy",
}
"""Metrics, and the fields that have their values."""


def measured_of(run: Run, folder: Path) -> Measured:
    """Of a finished run in a folder; UsageError if it does not say what is needed."""
    if not run.evaluations or not run.ticks:
        raise UsageError(f"{folder} has no evaluation or no line of progress")
    last = run.evaluations[-1]
    about = last["evaluation"]
    if not about["features"]:
        raise UsageError(f"{folder}: its evaluation does not say of which features")
    found = {name.split("[")[0]: name for name in last}
    values = {field: last.get(found.get(name, "")) for name, field in NAMES.items()}
    times = training_times(run.ticks)
    return Measured(
        **values,
        kimg=times[-1][0],
        seconds=times[-1][1],
        **{player.lower(): count for player, count in parameters(folder).items()},
        label=found["fid"].removeprefix("fid").strip("[]"),
        features=about["features"]["name"],
        weights=about["features"]["weights"],
        generated=about["generated"],
        real=about["real"],
    )


def parameters(folder: Path) -> dict[str, int]:
    """How many numbers each player of a run has learnt: Adam has a mean square of each one's gradient."""
    players = checkpoint.load_newest(folder)[1]["trainer"]["players"]
    return {
        name: sum(state["exp_avg_sq"].numel() for state in player["optimizer"].values())
        for name, player in players.items()
    }


def curve(run: Run) -> list[tuple[float, float]]:
    """(minutes, fid) of each of a run's measurements."""
    times = training_times(run.ticks)
    name = next(name for name in run.metrics() if name.split("[")[0] == "fid")
    points = []
    for kimg, value in run.series(name):
        seconds = next((seconds for shown, seconds in times if shown >= kimg), times[-1][1])
        points.append((seconds / 60, value))
    return points
