"""``python -m train.studies.translation``: what a CycleGAN between serif and sans-serif glyphs keeps and changes."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn

from train.base.errors import UsageError, run_program
from train.base.files import write_atomically
from train.base.values import Range, Seed
from train.data import ImageSet, load_images, to_float, to_uint8
from train.measure.classifier import Classifier, trained_classifier
from train.measure.pictures import grid, save_png
from train.run.options import parse_options
from train.run.restoring import build_networks, find_checkpoint, system_of
from train.studies.study import table

PROG = "python -m train.studies.translation"
KINDS = {"a": "glyphs-serif", "b": "glyphs-sans"}
SAMPLES = 20_000  # of each kind, to train the classifiers on
CLASSIFIERS_SEED = 1000  # of those
BATCH = 120
GRID = 24, 64  # columns, and height of an image in the picture
NOISE = 30  # largest standard deviation of the noise that classifiers are trained with, of 255
INK = 20  # darkest pixels of 32x32 that say what colour a glyph has: a thin "I" has more
FOOT, HEAD = 0.2, 0.8  # parts of the contrast that count as paper and as ink: noise is less


@dataclass(frozen=True)
class Options:
    """Judges the translations of a run of train.cyclegan between glyphs-serif and glyphs-sans, and writes a page."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT_OR_RUN")]
    """A checkpoint, or the folder of a run, whose newest checkpoint is used."""
    out: Path = Path("docs/cyclegan.md")
    """Page to write; its picture goes beside it."""
    images: Annotated[int, Range(36, 100_000)] = 1080
    """Images of each kind to translate; the run has not seen them."""
    seed: Seed = 77
    """Seed of these images, not the run's."""


class Judged(NamedTuple):
    """Parts of images, and a mean distance; of one direction."""

    letters: float  # still read as the same letter
    typeface: float  # judged to be of the other kind of typeface
    polarity: float  # of the other polarity
    cycle: float  # mean |there and back - x|, of values in [0, 1]


class Judges(NamedTuple):
    """Classifiers of letters in images of both kinds, and of kinds of typeface without polarity."""

    letters: Classifier
    typefaces: Classifier
    descriptions: Mapping[str, Mapping[str, Any]]


def main(args: Sequence[str] | None = None) -> int:
    options = parse_options(Options, sys.argv[1:] if args is None else args, prog=PROG)
    if options.out.suffix != ".md":
        raise UsageError(f"--out {options.out} is not a page: its name must end in .md")
    path, state = find_checkpoint(options.source)
    if system_of(path, state).name != "cyclegan":
        raise UsageError(f"{path} is of train.{state['system']}, not of train.cyclegan")
    config = state["config"]
    if {kind: config[kind] for kind in KINDS} != KINDS:
        raise UsageError(f"{path} translates {config['a']} to {config['b']}, and not {' to '.join(KINDS.values())}")
    if options.seed - config["seed"] in range(len(KINDS)):
        raise UsageError(f"seed={options.seed}: the run has learnt from images of this seed")
    networks = build_networks(path, state, torch.device("cpu"))
    sizes = {"resolution": config["resolution"], "seed": options.seed, "size": options.images}
    images = {kind: load_images(name, **sizes) for kind, name in KINDS.items()}
    judges = trained_judges(config["resolution"])
    rows = {
        "translated": {
            d: judged(judges, images, *d, networks[d.upper()], networks[d[::-1].upper()]) for d in ("ab", "ba")
        },
        "colours inverted": {d: judged(judges, images, *d, inverted, inverted) for d in ("ab", "ba")},
        "as they are": {d: judged(judges, images, *d, unchanged, unchanged) for d in ("ab", "ba")},
    }
    picture = options.out.with_suffix(".png")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_png(picture, pictured(networks, images))
    text = page(rows, judges, options, state, networks["AB"], picture.name)
    write_atomically(options.out, lambda file: file.write(text.encode()))
    print(results(rows))
    return 0


def inverted(x: Tensor) -> Tensor:
    return -x


def unchanged(x: Tensor) -> Tensor:
    return x


# ---- judging


def trained_judges(resolution: int) -> Judges:
    """The classifiers, trained or from the cache."""
    sets = [load_images(name, resolution, seed=CLASSIFIERS_SEED, size=SAMPLES) for name in KINDS.values()]
    pixels = [distorted(images.level(resolution), seed) for seed, images in enumerate(sets)]
    letters = _labelled("letters", pixels, torch.cat([images.labels for images in sets]))
    kinds = torch.arange(len(sets)).repeat_interleave(SAMPLES)
    typefaces = _labelled("typefaces", [without_polarity(x)[0] for x in pixels], kinds)
    both = {name: trained_classifier(images) for name, images in (("letters", letters), ("typefaces", typefaces))}
    descriptions = {name: description for name, (_, description) in both.items()}
    return Judges(both["letters"][0], both["typefaces"][0], descriptions)


def _labelled(name: str, pixels: Sequence[Tensor], labels: Tensor) -> ImageSet:
    return ImageSet.from_images(torch.cat(list(pixels)), name=name, labels=labels, mirror=False)


def distorted(images: Tensor, seed: int) -> Tensor:
    """Images uint8 [N, C, R, R], each with blur and noise of a strength of its own.

    What drawn glyphs have and translations lack, sharp edges and flat paper, shall not be what a classifier goes by.
    """
    random = torch.Generator().manual_seed(seed)
    blur, noise = torch.rand(2, len(images), 1, 1, 1, generator=random)
    x = images.float()
    x = torch.lerp(x, F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1), blur)
    x = x + NOISE * noise * torch.randn(x.shape, generator=random)
    return x.round().clamp(0, 255).to(torch.uint8)


def without_polarity(images: Tensor) -> tuple[Tensor, Tensor]:
    """Glyphs in colour, uint8 [N, 3, R, R], as black on white [N, 1, R, R], uint8; and which were lighter than their
    paper [N].

    The paper is what the border shows. What differs from it by less than a fifth of the contrast becomes white and by
    more than four fifths black: translations have noise, by which a classifier could tell them from drawn glyphs.
    """
    red, green, blue = (images.float() / 255).unbind(1)
    grey = 0.2126 * red + 0.7152 * green + 0.0722 * blue  # [N, R, R]
    border = torch.ones(grey.shape[1:], dtype=torch.bool)
    border[1:-1, 1:-1] = False
    paper = grey[:, border].median(1).values.view(-1, 1, 1)
    light = grey.mean((1, 2), keepdim=True) > paper  # the glyph draws the mean to its side
    ink = torch.where(light, grey - paper, paper - grey)
    most = ink.flatten(1).topk(INK * grey[0].numel() // 1024, 1).values.mean(1).clamp(min=1e-6).view(-1, 1, 1)
    black = ((ink / most - FOOT) / (HEAD - FOOT)).clamp(0, 1)
    return ((1 - black) * 255).round().to(torch.uint8)[:, None], light.flatten()


@torch.no_grad()
def judged(judges: Judges, images: Mapping[str, ImageSet], source: str, to: str, there: Any, back: Any) -> Judged:
    """What the judges say of translations from one kind to another."""
    some = images[source]
    x = to_float(some.level(some.resolution))
    y = torch.cat([there(part) for part in x.split(BATCH)])
    again = torch.cat([back(part) for part in y.split(BATCH)])
    pixels = to_uint8(y)
    black, light = without_polarity(pixels)
    kind = [*KINDS].index(to)
    return Judged(
        letters=_part(_classes(judges.letters, pixels) == some.labels),
        typeface=_part(_classes(judges.typefaces, black) == kind),
        polarity=_part(light == (kind == 1)),
        cycle=float((again - x).abs().mean()) / 2,
    )


def _classes(classifier: Classifier, pixels: Tensor) -> Tensor:
    return torch.cat([classifier(to_float(part))[1].argmax(1) for part in pixels.split(BATCH)])


def _part(hits: Tensor) -> float:
    return float(hits.float().mean())


@torch.no_grad()
def pictured(networks: Mapping[str, nn.Module], images: Mapping[str, ImageSet]) -> Tensor:
    """For both directions a line of inputs, one of translations and one of what these are translated back to."""
    columns, size = GRID
    lines = []
    for source, there, back in (("a", "AB", "BA"), ("b", "BA", "AB")):
        x = to_float(images[source].level(images[source].resolution)[:columns])
        lines += [x, y := networks[there](x), networks[back](y)]
    return grid(to_uint8(torch.cat(lines)), columns, size)


# ---- the page


def results(rows: Mapping[str, Mapping[str, Judged]]) -> str:
    """The table."""
    arrows = {"ab": "serif → sans-serif", "ba": "sans-serif → serif"}
    head = ["images", "direction", "letter kept, %", "other kind of typeface, %", "other polarity, %", "cycle"]
    cells = [
        [name, arrows[d], *(f"{100 * part:.1f}" for part in one[:3]), f"{one.cycle:.3f}"]
        for name, directions in rows.items()
        for d, one in directions.items()
    ]
    return table([head, *cells], names=2)


def page(
    rows: Mapping[str, Mapping[str, Judged]],
    judges: Judges,
    options: Options,
    state: Mapping[str, Any],
    translator: nn.Module,
    picture: str,
) -> str:
    """The whole page in Markdown."""
    config, trainer = state["config"], state["trainer"]
    command = shlex.join(["python", "-m", "train.studies.translation", str(options.source), "--out", str(options.out)])
    letters, typefaces = (
        f"{d['accuracy']:.1%} of {d['held_out']} held-out images"
        for d in (judges.descriptions[name] for name in ("letters", "typefaces"))
    )
    patch = 9 * 2 ** config["d_layers"] - 2  # height of what a score depends on
    run = {
        "images of each kind": f"{trainer['images']}, in {trainer['steps']} steps of {config['batch']}",
        "translators": f"width {config['g_width']}, {config['g_blocks']} blocks, {config['g_norm']} norm;"
        f" {sum(p.numel() for p in translator.parameters())} parameters each",
        "critics": f"width {config['d_width']}, patches of {patch}x{patch} pixels, {config['d_norm']} norm",
        "loss": f"{config['loss']}, {config['cycle_weight']:g} times the cycle's,"
        f" {config['identity_weight']:g} times the identity's; a pool of {config['pool']}",
        "learning rate": f"{config['lr']}, falling to 0 over the last {config['lr_decay']:.0%} of the run",
        "precision, seed": f"{config['precision']}, {config['seed']}",
    }
    return f"""# Serif to sans-serif and back

CycleGAN (Zhu et al. 2017, arXiv 1703.10593) translates between two lists of images that are no pairs. Here these are
letters and digits: dark on light in serif typefaces (DejaVu Serif, STIX), and light on dark in sans-serif typefaces
(DejaVu Sans, DejaVu Sans Mono). No image of one list has a partner in the other. This trains, and writes this page:

```sh
python -m train.cyclegan --out {shlex.quote(str(options.source))}
{command}
```

{results(rows)}

![Inputs, translations, and these translated back, in both directions]({picture})

The lines show inputs, their translations, and these translated back: first serif to sans-serif, then the reverse.

## What is measured

{options.images} images of each kind, which the run has not seen, are translated.

- **Letter kept**: a classifier of the 36 letters and digits reads the letter of the input. It was trained on other
  images of both kinds, and is right about {letters}.
- **Other kind of typeface**: a classifier tells serif from sans-serif typefaces. It sees black glyphs on white paper:
  polarity and colour are removed before. It is right about {typefaces}.
- **Other polarity**: glyphs that were darker than their paper are lighter, or the reverse.
- **Cycle**: mean |x' − x| of inputs x and their translations translated back, where black is 0 and white is 1.

Both classifiers were trained on images with blur and noise, so that they go by shapes. The other rows show what they
say of the inputs with inverted colours, and of the inputs themselves.

## The run

{table([["", ""], *([name, text] for name, text in run.items())], names=2)}
"""


if __name__ == "__main__":
    sys.exit(run_program(main))
