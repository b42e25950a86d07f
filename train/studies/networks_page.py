"""The page of the study of networks: its tables, pictures and numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from train.base.files import write_atomically
from train.data.gaussians import MIXTURES, Quality
from train.measure.pictures import save_picture
from train.mixture import SAMPLES
from train.studies.network_grid import DATA, picture_of
from train.studies.network_grid import Task as GridTask
from train.studies.network_rows import ABLATION, BASELINE, COMMON, NETWORKS
from train.studies.network_scores import NAMES, Trained
from train.studies.sheet import sheet
from train.studies.study import flags, spread, table

INCHES, DPI = (12.5, 4.6), 100
COLUMNS = {
    "fid": 2,
    "is": 2,
    "precision": 3,
    "recall": 3,
    "intra-fid": 2,
    "accuracy": 3,
}
"""Metrics with the decimal places of their cells."""
CLASSES = ("intra-fid", "accuracy")


def write_page(
    text: Path, trained: Sequence[Trained], grid: Mapping[GridTask, Quality], grid_folder: Path, command: str
) -> str:
    """Writes the page with its pictures and numbers beside it, and returns its tables."""
    text.parent.mkdir(parents=True, exist_ok=True)
    pictures = {part: text.with_name(f"{text.stem}-{part}.png") for part in ("samples", "curves", "grid")}
    first = [one for one in trained if one.seed == 1]
    save_picture(pictures["samples"], sheet([(one.row.name, one.grid) for one in first]))
    draw_curves(pictures["curves"], trained)
    if grid:
        shown = [task for task in grid if task.seed == 0]
        save_picture(pictures["grid"], sheet([(task.row, picture_of(grid_folder, task)) for task in shown]))
    tables = summaries(trained, grid)
    markdown = page(tables, trained, {part: path.name for part, path in pictures.items()}, command)
    write_atomically(text, lambda file: file.write(markdown.encode()))
    numbers = json.dumps(as_plain(trained, grid), indent=1)
    write_atomically(text.with_suffix(".json"), lambda file: file.write(f"{numbers}\n".encode()))
    return "\n\n".join(tables.values())


def grouped(trained: Sequence[Trained]) -> dict[str, list[Trained]]:
    """By heading, those that are compared with each other."""
    names = {row.name for row in ABLATION}
    of_table = {
        "Without labels": [one for one in trained if one.row in NETWORKS and not one.row.labels],
        "With labels": [one for one in trained if one.row in NETWORKS and one.row.labels],
        "R3GAN without its parts": [one for one in trained if one.row.name in names],
    }
    return {heading: some for heading, some in of_table.items() if some}


def summaries(trained: Sequence[Trained], grid: Mapping[GridTask, Quality]) -> dict[str, str]:
    """Tables by their headings, the best row first."""
    tables = {heading: scores_table(some) for heading, some in grouped(trained).items()}
    return tables | ({"The grid of 25 Gaussians": grid_table(grid)} if grid else {})


def by_row(trained: Sequence[Trained]) -> dict[str, list[Trained]]:
    """The trainings of each row, that of the least mean distance first, those without one last."""
    rows: dict[str, list[Trained]] = {}
    for one in trained:
        rows.setdefault(one.row.name, []).append(one)
    return dict(sorted(rows.items(), key=lambda item: mean_fid(item[1])))


def mean_fid(trained: Sequence[Trained]) -> float:
    """Infinity if none has one."""
    found = values(trained, "fid")
    return fmean(found) if found else float("inf")


def values(trained: Sequence[Trained], metric: str) -> list[float]:
    """What was measured and is finite."""
    found = (getattr(one.measured, NAMES[metric]) for one in trained)
    return [value for value in found if value is not None]


def scores_table(trained: Sequence[Trained]) -> str:
    """A line for each row: means ± deviations over its seeds."""
    label = trained[0].measured.label
    metrics = [m for m in COLUMNS if m not in CLASSES or values(trained, m)]
    named = [f"`{m}`" if m == "accuracy" or not label else f"`{m}[{label}]`" for m in metrics]
    head = ["network", *named, "seeds", "kimg", "s/kimg", "minutes", "parameters of G", "of D", "training"]
    lines = [head]
    for name, some in by_row(trained).items():
        one = some[0]
        kimg, seconds = ([getattr(each.measured, of) for each in some] for of in ("kimg", "seconds"))
        lines.append(
            [
                name,
                *(spread(values(some, m), COLUMNS[m]) for m in metrics),
                str(len(some)),
                f"{fmean(kimg):.0f}",
                f"{sum(seconds) / sum(kimg):.2f}",
                f"{fmean(seconds) / 60:.1f}",
                f"{one.measured.g:,}",
                f"{one.measured.d:,}",
                f"`{' '.join([f'train.{one.row.system}', *flags(one.row.options)])}`",
            ]
        )
    return table(lines, remarks=1)


def grid_table(grid: Mapping[GridTask, Quality]) -> str:
    """A line for each row of the grid, and one for the data itself."""
    mixture = MIXTURES[DATA]()
    seeds = sorted({task.seed for task in grid})
    drawn = [mixture.judge(mixture.sample(SAMPLES, torch.Generator().manual_seed(seed))) for seed in seeds]
    lines = [["loss", f"modes of {len(mixture.centres)}", "good %", "divergence", "options"]]
    rows: dict[tuple[str, str], list[Quality]] = {("the data itself", ""): drawn}
    for task, quality in grid.items():
        rows.setdefault((task.row, f"`{task.options}`"), []).append(quality)
    for (name, options), some in rows.items():
        good = [100 * quality.good for quality in some]
        divergences = [quality.divergence for quality in some]
        lines.append([name, spread([q.modes for q in some], 1), spread(good, 1), spread(divergences, 3), options])
    return table(lines, remarks=1)


def draw_curves(path: Path, trained: Sequence[Trained]) -> None:
    """Writes the picture of distances over minutes, a PNG; of several seeds each has a curve."""
    from matplotlib.figure import Figure

    groups = grouped(trained)
    figure = Figure(INCHES, DPI, layout="constrained")
    for axes, (heading, some) in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups.items(), strict=True):
        for number, (name, same) in enumerate(by_row(some).items()):
            for one in same:
                minutes, distances = zip(*one.curve, strict=True)
                style = "-" if one is same[0] else "--"
                axes.plot(minutes, distances, style, color=f"C{number}", label=name if one is same[0] else None)
        axes.set_title(heading, fontsize=10)
        axes.set_xlabel("minutes of training", fontsize=9)
        axes.set_yscale("log")
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=7.5)
        axes.tick_params(labelsize=8)
    figure.axes[0].set_ylabel("fid", fontsize=9)
    write_atomically(path, lambda file: figure.savefig(file, format="png"))


def better_than_baseline(trained: Sequence[Trained]) -> str:
    """A sentence about which rows of a group have a lower mean distance than each DCGAN in it."""
    rows = by_row(trained)
    others = [name for name in rows if not name.startswith(BASELINE)]
    sentences = []
    for name in (name for name in rows if name.startswith(BASELINE)):
        lower = [other for other in others if mean_fid(rows[other]) < mean_fid(rows[name])]
        who = ", ".join(lower) if lower else "none of the others"
        sentences.append(f"A lower `fid` than {name} ({mean_fid(rows[name]):.2f}): {who}.")
    return "\n".join(f"- {sentence}" for sentence in sentences)


def as_plain(trained: Sequence[Trained], grid: Mapping[GridTask, Quality]) -> dict[str, Any]:
    """All numbers, as JSON has them."""
    trainings = [
        {"row": one.row.name, "seed": one.seed, **one.measured._asdict(), "curve": [list(point) for point in one.curve]}
        for one in trained
    ]
    return {"trainings": trainings, "grid": [{**task._asdict(), **quality._asdict()} for task, quality in grid.items()]}


def page(tables: Mapping[str, str], trained: Sequence[Trained], pictures: Mapping[str, str], command: str) -> str:
    """The whole page in Markdown.

    Args:
        pictures: files as seen from the page.
        command: what gives these results.
    """
    one, groups = trained[0].measured, grouped(trained)
    parts = []
    for heading, cells in tables.items():
        parts.append(f"## {heading}\n\n{cells}")
        if heading.endswith("labels") and (sentences := better_than_baseline(groups[heading])):
            parts[-1] += f"\n\n{sentences}"
        if heading == "The grid of 25 Gaussians":
            parts[-1] += (
                f"\n\n![Samples of each loss, and the centres]({pictures['grid']})\n\nThe samples are of seed 0."
            )
    sections = "\n\n".join(parts)
    return f"""# Families of networks on glyphs

Each network trains on glyphs at 32×32 with the preset `glyphs` of its system, for about the same time. This page is
written by this command:

```sh
{command}
```

{sections}

## Distances over time

![fid over minutes of training]({pictures["curves"]})

Dashed lines are those of a second seed.

## Samples

![Samples of each network]({pictures["samples"]})

The samples are of the averaged generator, of seed 1.

## What is measured

- {one.generated} samples of the averaged generator beside {one.real} real images, with {one.features} (weights
  {one.weights}). So compare rows with each other, not with published numbers.
- `intra-fid` is the mean of the classes' Fréchet distances, and `accuracy` the part of the samples that a classifier
  takes for what they were meant to be.
- *Minutes* are those of training on one CPU thread, without measurements. Each training is first tried out for some
  seconds, and shows as many images as it can in the time; so schedules end with the run.
- *Parameters* are those that are learnt.
- Where a row has several seeds, the values are means ± standard deviations.

All trainings have these options, before their own: `{" ".join(COMMON)}`. The curves and all other numbers are in
`{Path(pictures["samples"]).name.removesuffix("-samples.png")}.json`.
"""
