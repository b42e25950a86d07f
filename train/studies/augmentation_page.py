"""What augmentation does to trainings on few images: table, curves and page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from train.base.files import write_atomically
from train.run.record import Run
from train.studies.study import spread, table
from train.studies.trainings import Scores

INCHES, DPI = (12.5, 3.6), 100
SIGNS = (("real_sign", "D's sign, learnt from", "-"), ("held_out_sign", "D's sign, held out", "--"))
PAIRS = ("pair_sign", "sign of pairs, real − generated", "-")
SCORES = (("real_score", "learnt from", "-"), ("held_out_score", "held out", "--"), ("fake_score", "generated", ":"))


def summary(found: Sequence[tuple[str, float, str, Scores]], beside: Mapping[str, str]) -> str:
    """The table: means ± deviations over the seeds.

    Args:
        found: rows, their kimg, options and scores, one of each seed.
        beside: of rows: those without augmentation that they are compared with, or "".
    """
    score, distance = found[0][3].names()
    lines = [["", f"`{distance}`", "of that without", f"`{score}`", "seeds", "kimg", "training"]]
    of_rows: dict[str, list[tuple[float, str, Scores]]] = {}
    for name, *rest in found:
        of_rows.setdefault(name, []).append(tuple(rest))
    distances = {name: _finite([s.distance for *_, s in some]) for name, some in of_rows.items()}
    for name, some in of_rows.items():
        kimg, options, _ = some[0]
        without = distances.get(beside[name], [])
        ratio = f"{fmean(distances[name]) / fmean(without):.2f}" if without and distances[name] else ""
        scores = _finite([s.score for *_, s in some])
        cells = [spread(distances[name], 2), ratio, spread(scores, 2), str(len(some)), f"{kimg:g}", f"`{options}`"]
        lines.append([name, *cells])
    return table(lines, remarks=1)


def _finite(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def draw(path: Path, runs: Mapping[str, Run], beside: Mapping[str, str]) -> None:
    """Writes the picture of the curves, a PNG: distances, D's signs and scores, and how probable changes were.

    Args:
        runs: by the names of their rows.
        beside: see :func:`summary`.
    """
    from matplotlib.figure import Figure

    figure = Figure(INCHES, DPI, layout="constrained")
    distance, signs, scores, p = figure.subplots(1, 4)
    for number, (name, run) in enumerate(runs.items()):
        colour = f"C{number}"
        for metric in run.metrics():
            if metric.startswith("fid"):
                distance.plot(*_xy(run.series(metric)), "o-", color=colour, markersize=3, label=name)
        for key, label, style in (*SIGNS, PAIRS):
            if points := run.series(key):
                signs.plot(*_xy(_smooth(points)), style, color=colour, label=f"{name}: {label}", linewidth=1)
        for key, label, style in SCORES:
            if points := run.series(key):
                scores.plot(*_xy(_smooth(points)), style, color=colour, label=f"{name}: {label}", linewidth=1)
        if points := run.series("augment_p"):
            p.plot(*_xy(points), color=colour, label=name)
    distance.set_yscale("log")
    for axes, title in ((distance, "fid"), (signs, "mean sign"), (scores, "mean score"), (p, "p")):
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("kimg", fontsize=9)
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=8)
        if axes.lines:
            axes.legend(fontsize=6)
    write_atomically(path, lambda file: figure.savefig(file, format="png"))


def _xy(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    x, y = zip(*points, strict=True)
    return x, y


def _smooth(points: Sequence[tuple[float, float]], over: int = 5) -> list[tuple[float, float]]:
    """Means of so many neighbours."""
    last = max(len(points) - over + 1, 1)
    parts = (points[i : i + over] for i in range(last))
    return [(fmean(x for x, _ in part), fmean(y for _, y in part)) for part in parts]


def page(rows: str, command: str, common: str, pictures: tuple[str, str], scores: Scores) -> str:
    """The whole page in Markdown.

    Args:
        rows: the table.
        command: what gives these results.
        common: options of all trainings.
        pictures: file names of the curves and of samples.
    """
    return f"""# Few images, with and without augmentation

DCGAN and R3GAN learn from 500 glyphs at 32×32. All images that D sees, real and generated, are changed at random
(ADA, Karras et al. 2020, arXiv 2006.06676), so that D has a harder time to learn them by heart. This page is written by
this command:

```sh
{command}
```

{rows}

`fid` (lower is better) and `is` (higher is better) are of {scores.generated} samples of the averaged generator, beside
{scores.real} glyphs that were not learnt from, with {scores.features} (weights {scores.weights}). So compare rows with
each other, not with published numbers. "Of that without" is the distance divided by that of the same training without
augmentation, after as many images.

![Curves over the trainings]({pictures[0]})

From left to right:

- `fid` along each training.
- The mean sign of D's scores of glyphs that it learns from and of others that are held out. Where D knows its glyphs by
  heart, the two part: it takes the others for generated ones. R3GAN's scores have no zero; of them it is the sign of
  the difference between a real and a generated glyph.
- D's mean scores.
- The probability p of each change: DCGAN's follows the sign, whose target is 0.6.

![Samples]({pictures[1]})

Curves and samples are of seed 1. All trainings have these options, before their own: `{common}`.
"""
