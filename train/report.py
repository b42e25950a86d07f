"""``python -m train.report``: one HTML file that shows one run, or several side by side."""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from html import escape
from pathlib import Path
from typing import Annotated

import tyro
from PIL import Image

from train.base.errors import UsageError, run_program
from train.base.files import write_atomically
from train.measure.chart import COLOURS, Curve, chart
from train.measure.metric_names import better, is_lower_better
from train.measure.pictures import read_picture
from train.run.logs import duration
from train.run.options import parse_options
from train.run.record import Run, read_run

PROG = "python -m train.report"
WIDEST = 1024  # pixels of a grid in the page; larger ones are reduced
MEASURED = {
    "*_loss": "Loss of {}",
    "cycle_*": "Mean |x' - x| there and back, {}",
    "identity_*": "Mean |G(y) - y|, {}",
    "divergence": "Divergence of the posterior",
    "distance": "Distance of features",
    "penalty": "Gradient penalty",
    "real_energy": "Energy of real images",
    "fake_energy": "Energy of samples",
    "k": "Weight k of the energy of samples",
    "convergence": "Measure of convergence",
    "margin": "Margin of energies",
    "pulling_away": "Pulling-away term",
    "fisher_multiplier": "Multiplier of Fisher GAN's constraint",
    "fisher_second_moment": "Second moment of the scores, kept at 1 by it",
    "transport_cost": "Cost of transport between the batches",
    "information": "Estimate of the information about latents",
    "*_norm": "Norm of {}'s gradient",
    "images_per_second": "Images per second",
}
"""Captions of what is measured in training, by its name, where * is that of a move or of a list of images."""


@dataclass(frozen=True)
class Options:
    """Makes one self-contained HTML file of runs: curves, grids over time, metrics and options side by side."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")]
    """Folders of runs."""
    out: Path = Path("report.html")
    """File to write."""
    grids: int = 6
    """Sample grids to show for each run, evenly spaced over its time."""


def page(runs: Sequence[Run], grids: int) -> str:
    """The whole document."""
    title = " · ".join(run.name for run in runs)
    key = "".join(
        f'<li><span class="dot" style="background:{colour}"></span>{escape(run.name)}</li>'
        for run, colour in zip(runs, COLOURS, strict=False)
    )
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>",
        f"<h1>{escape(title)}</h1>",
        f'<ul class="key">{key}</ul>' if len(runs) > 1 else "",
        _section("Summary", _summary(runs)),
        _section("Metrics", _charts(runs, _metrics(runs))),
        _section("Grids", _grids(runs, grids)),
        _section("Training", _charts(runs, _measured(runs))),
        _section("Options", _options(runs)),
        "</main></body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _section(heading: str, body: str) -> str:
    return f"<section><h2>{heading}</h2>\n{body}</section>" if body else ""


def _metrics(runs: Sequence[Run]) -> dict[str, str]:
    """Captions of the metrics by name."""
    names = dict.fromkeys(name for run in runs for name in run.metrics())
    return {name: f"{name} · {'lower' if is_lower_better(name) else 'higher'} is better" for name in names}


def _measured(runs: Sequence[Run]) -> dict[str, str]:
    """Captions of what was measured in training, by name."""
    captions = {}
    names = dict.fromkeys(name for run in runs for tick in run.ticks for name in tick)
    for pattern, caption in MEASURED.items():
        before, _, after = pattern.partition("*")
        for name in (name for name in names if fnmatchcase(name, pattern)):
            of = name.removeprefix(before).removesuffix(after)
            captions[name] = caption.format(of.upper() if len(of) == 1 else of)
    return captions


def _charts(runs: Sequence[Run], captions: Mapping[str, str]) -> str:
    """A chart for each name that any of the runs has values of."""
    figures = []
    for name, caption in captions.items():
        curves = [Curve(run.name, colour, run.series(name)) for run, colour in zip(runs, COLOURS, strict=False)]
        if any(curve.points for curve in curves):
            figures.append(f"<figure><figcaption>{escape(caption)}</figcaption>{chart(curves)}</figure>")
    return f'<div class="charts">{"".join(figures)}</div>' if figures else ""


def _summary(runs: Sequence[Run]) -> str:
    """One column a run: how far and how fast it went, and its metrics, best and last."""
    ends = {
        "thousands of images": ("kimg", "{:g}".format),
        "time": ("seconds", duration),
        "images per second at the end": ("images_per_second", "{:.0f}".format),
        "skipped updates": ("skipped", "{:g}".format),
    }
    rows = []
    for heading, (name, shown) in ends.items():
        rows.append((heading, [shown(run.ticks[-1][name]) if run.ticks else "–" for run in runs]))
    for name in _metrics(runs):
        series = [run.series(name) for run in runs]
        _, winner = better(name, [point for points in series for point in points], key=lambda point: point[1])
        cells = ["–"] * len(runs)
        for i, points in enumerate(series):
            if points:
                kimg, best = better(name, points, key=lambda point: point[1])
                value = f"<strong>{best:.4g}</strong>" if best == winner and len(runs) > 1 else f"{best:.4g}"
                cells[i] = f"{value} <small>at {kimg:g}; last {points[-1][1]:.4g}</small>"
        rows.append((f"best {escape(name)}", cells))
    return _table([run.name for run in runs], rows) + _evaluation_notes(runs)


def _evaluation_notes(runs: Sequence[Run]) -> str:
    """How many images each run's metrics were measured on, and with which features."""
    notes: dict[str, list[str]] = {}
    for run in runs:
        if run.evaluations:
            about = run.evaluations[-1]["evaluation"]
            text = f"{about['generated']} generated and {about['real']} real images, seed {about['seed']}"
            if features := about["features"]:
                text += f", features of {features['name']} (weights {features['weights']})"
            notes.setdefault(text, []).append(run.name)
    lines = "<br>".join(escape(f"{', '.join(names)}: {text}") for text, names in notes.items())
    return f"<p>{lines}</p>" if lines else ""


def _grids(runs: Sequence[Run], count: int) -> str:
    """A strip of grids for each run, then the real images."""
    strips = []
    for run in runs:
        figures = [_figure(path, f"{int(path.stem.split('_')[1])} kimg") for path in _evenly(run.grids, count)]
        if run.reals is not None:
            figures.append(_figure(run.reals, "real"))
        if figures:
            heading = f"<h3>{escape(run.name)}</h3>" if len(runs) > 1 else ""
            strips.append(f'{heading}<div class="strip">{"".join(figures)}</div>')
    return "\n".join(strips)


def _evenly(items: Sequence[Path], count: int) -> list[Path]:
    """At most ``count`` of the items, evenly spaced, the last one among them."""
    count = min(count, len(items))
    return [items[-1 - round(i * (len(items) - 1) / max(count - 1, 1))] for i in reversed(range(count))]


def _figure(path: Path, caption: str) -> str:
    return f'<figure><img src="{_data_uri(path)}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'


def _data_uri(path: Path) -> str:
    """A picture as text; one wider than WIDEST is reduced."""
    picture, kind, data = read_picture(path), "png", path.read_bytes()
    if max(picture.size) > WIDEST:
        picture.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        picture.save(file, format="JPEG", quality=90)
        kind, data = "jpeg", file.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _options(runs: Sequence[Run]) -> str:
    """Options that differ between the runs, marked, then the others."""
    differing, alike = [], []
    for name in dict.fromkeys(name for run in runs for name in run.config):
        values = [run.config.get(name, "–") for run in runs]
        cells = [escape(value if isinstance(value, str) else json.dumps(value)) for value in values]
        if any(value != values[0] for value in values):
            differing.append((escape(name), cells))
        else:
            alike.append((escape(name), cells[:1]))
    parts = [_table([run.name for run in runs], differing, mark=True)] if differing else []
    if alike:
        summary = "the same in all runs" if len(runs) > 1 else "all options"
        parts.append(f"<details><summary>{summary}</summary>{_table([''], alike)}</details>")
    return "\n".join(parts)


def _table(heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], mark: bool = False) -> str:
    """Rows of (name, cells), both HTML already; heads are text."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(f"<tr><th>{name}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>" for name, cells in rows)
    table = '<table class="differ">' if mark else "<table>"
    return f'<div class="scroll">{table}<thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>'


STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1c1c1e; --faint: #6b6b70; --line: #d9d9de; --mark: #fff3c9; }
@media (prefers-color-scheme: dark) {
  :root { --back: #17181a; --text: #ececee; --faint: #a0a0a6; --line: #3a3b40; --mark: #453a12; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 16px/1.45 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1rem 0 .25rem; }
small, figcaption { color: var(--faint); font-size: .85rem; }
.key { list-style: none; display: flex; flex-wrap: wrap; gap: .25rem 1rem; padding: 0; }
.dot { display: inline-block; width: .8em; height: .8em; border-radius: 50%; margin-right: .4em; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; }
figure svg { width: 100%; height: auto; display: block; font: 11px system-ui, sans-serif; }
svg text { fill: var(--faint); }
svg .grid { stroke: var(--line); }
.scroll { overflow-x: auto; }
.strip { display: flex; gap: .75rem; overflow-x: auto; padding-bottom: .5rem; }
.strip figure { flex: none; width: min(18rem, 80vw); }
.strip img { width: 100%; display: block; image-rendering: pixelated; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody th { font-weight: normal; color: var(--faint); }
.differ tbody tr { background: var(--mark); }
summary { cursor: pointer; margin: .5rem 0; color: var(--faint); }
"""


def main(args: Sequence[str] | None = None) -> int:
    options = parse_options(Options, sys.argv[1:] if args is None else args, prog=PROG)
    if not options.runs:
        raise UsageError("name the folder of at least one run")
    if len(options.runs) > len(COLOURS):
        raise UsageError(f"{len(options.runs)} runs are too many for one page: at most {len(COLOURS)}")
    runs = [read_run(folder) for folder in options.runs]
    if len({run.name for run in runs}) < len(runs):
        runs = [replace(run, name=str(folder)) for run, folder in zip(runs, options.runs, strict=True)]
    if options.out.is_dir():
        raise UsageError(f"out={options.out} is a folder: name the file to write")
    html = page(runs, options.grids)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(options.out, lambda file: file.write(html.encode(errors="xmlcharrefreplace")))
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
