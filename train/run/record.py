"""What a run's folder tells about it: options, statistics, grids."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.base.errors import UsageError
from train.base.values import LARGEST
from train.run.logs import STATS

NEEDED = ("kimg", "seconds", "images_per_second", "skipped")  # of a line about training


@dataclass(frozen=True)
class Run:
    """What a run's folder tells."""

    name: str
    config: dict[str, Any]
    ticks: list[dict[str, Any]]  # lines of stats.jsonl about training
    evaluations: list[dict[str, Any]]  # those with metrics
    grids: list[Path]
    reals: Path | None

    def metrics(self) -> list[str]:
        """Names of the metrics that have values, in their order."""
        found = {name: None for line in self.evaluations for name, value in line.items() if value is not None}
        return [name for name in found if name not in ("images", "kimg", "evaluation")]

    def series(self, name: str) -> list[tuple[float, float]]:
        """(kimg, value) of a measurement or a metric, where it has a value."""
        lines = [*self.ticks, *self.evaluations]
        return [(line["kimg"], line[name]) for line in lines if line.get(name) is not None and "kimg" in line]


def read_run(folder: Path) -> Run:
    """A run from its folder.

    Raises:
        UsageError: if it is not the folder of a run, or its files are damaged.
    """
    try:
        config = json.loads((folder / "config.json").read_text())
        text = (folder / STATS).read_text() if (folder / STATS).exists() else ""
        # A run that is writing at this moment, or was killed, may leave half a line at the end.
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    except FileNotFoundError:
        raise UsageError(f"{folder} is not the folder of a run: it has no config.json") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{folder} is damaged: {error}") from None
    if not isinstance(config, dict):
        raise UsageError(f"{folder / 'config.json'} is damaged: it is not an object that holds options")
    for number, line in enumerate(lines, 1):
        if wrong := _wrong_in_line(line):
            raise UsageError(f"{folder / STATS} is damaged in line {number}: it {wrong}")
    reals = folder / "reals.png"
    return Run(
        name=folder.resolve().name,
        config=config,
        ticks=[line for line in lines if "evaluation" not in line],
        evaluations=[line for line in lines if "evaluation" in line],
        grids=sorted(path for path in folder.glob("fakes_*.png") if path.stem.removeprefix("fakes_").isdecimal()),
        reals=reals if reals.exists() else None,
    )


def _wrong_in_line(line: Any) -> str:
    """What is wrong with a line of statistics about training, or about an evaluation; nothing if it is right.

    Values are numbers, or null where one was not finite.
    """
    if not isinstance(line, dict):
        return "is not an object"
    for name in () if "evaluation" in line else NEEDED:
        if line.get(name) is None:
            return f"lacks {name!r}"
    for name, value in line.items():
        number = value is None or (isinstance(value, int | float) and abs(value) <= LARGEST)
        if name != "evaluation" and not number:
            return f"has no number for {name!r}"
    if "evaluation" not in line:
        return ""
    about = line["evaluation"]
    if not isinstance(about, dict) or not {"generated", "real", "seed", "features"} <= about.keys():
        return "has no whole evaluation"
    features = about["features"]
    whole = features is None or (isinstance(features, dict) and {"name", "weights"} <= features.keys())
    return "" if whole else "does not say what its features are"
