"""``python -m train.generate``: draws images, grids and interpolations of latents or pictures from a checkpoint."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import Tensor, nn

from models.parts.codes import Codes, OfCodes
from models.parts.styles import style_count
from train.base.capacity import check_fits
from train.base.device import resolve_device
from train.base.errors import UsageError, listed, run_program
from train.base.tables import grid_of, parse_grid
from train.base.values import NotNegative, Range, Seed
from train.data import ImageSet
from train.data.load import load_pictures
from train.measure.code_walks import code_walk
from train.measure.moved import inverse, transformable
from train.measure.pictures import (
    draw,
    enlarged,
    grid,
    latents,
    png_names,
    row_labels,
    row_names,
    save_gif,
    save_png,
    with_row_names,
)
from train.measure.samples import check_channels, given, through
from train.measure.standing import stand
from train.measure.styled_samples import OfStyles, Truncated, mixing_matrix, parse_numbers, seeded
from train.measure.walks import closed_walk, straight_walk
from train.run import checkpoint
from train.run.folder import check_folder
from train.run.options import parse_options
from train.run.restoring import build_generator, build_networks, find_checkpoint, view_of

PROG = "python -m train.generate"
SHOWN = 20  # names of classes in a message


@dataclass(frozen=True)
class Options:
    """Draws images from a checkpoint: one grid unless --images or --interpolate asks for something else."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT_OR_RUN")]
    """A checkpoint, or the folder of a run, whose newest checkpoint is used."""
    input: Path | None = None
    """Folder or zip of pictures: makes an image of each, with a system that makes images of images."""
    view: str = ""
    """What to make of the pictures of --input, such as a-to-b, or of latents, such as refine (default: samples)."""
    out: Path | None = None
    """File to write (.png, .gif), or folder for --images or --input (default: grid.png, images, interpolation.png)."""
    images: Annotated[int, Range(0)] = 0
    """Number of single images to write instead of a grid."""
    grid: str = "8x8"
    """ROWSxCOLUMNS of the grid."""
    interpolate: str = ""
    """KEYSxSTEPS: loop through KEYS latents, or pictures of --input, STEPS images from each to the next."""
    mix: str = ""
    """ROWSxCOLUMNS: rows of latents with some styles of each column's (StyleGAN)."""
    mix_layers: str = "0-3"
    """Layers whose styles are the column's (Karras et al. 2019: 0-3 coarse, 4-7 middle, 8-17 fine)."""
    space: Literal["z", "w"] = "z"
    """Where --interpolate goes: on arcs among latents z, or in lines among styles w (StyleGAN)."""
    seed: Seed = 0
    """Seed of the latents."""
    seeds: str = ""
    """A seed for each latent, such as 0-35,44; without --grid the grid has as many images."""
    truncation: NotNegative = 0.0
    """Bound of latents, drawn anew beyond it (Brock et al. 2019: 0.04 to 2), or StyleGAN's psi (0.5 to 1); 0: none."""
    cutoff: Annotated[int, Range(0)] = 0
    """Layers whose styles are truncated, from the first on (StyleGAN; 0: all)."""
    standing: Annotated[int, Range(0, 2**20)] = 0
    """Batches of so truncated samples that batch norms take their statistics from (Brock et al. 2019: 100)."""
    classes: Annotated[str, tyro.conf.arg(aliases=["--class"])] = ""
    """Classes to draw, such as cat or 0,1,7, for networks with labels (default: all in turn)."""
    codes: Annotated[int, Range(0)] = 0
    """Code to walk, from 1, with an InfoGAN: rows are its categories, or along rows it goes from -2 to 2."""
    translate: Annotated[str, tyro.conf.arg(metavar="X,Y")] = ""
    """Moves images by parts of their side, to the right and down, if G can (StyleGAN3), such as 0.1,-0.2."""
    rotate: Annotated[float, tyro.conf.arg(metavar="DEGREES")] = 0.0
    """Turns images counter-clockwise, before they are moved, if G can (StyleGAN3)."""
    ema: bool = True
    """Use the averaged generator, which is nearly always better."""
    scale: Annotated[int, Range(1)] = 1
    """Factor by which images are enlarged, by repeating pixels."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N (auto: a GPU if there is one)."""
    batch: Annotated[int, Range(1)] = 32
    """Images to draw at once."""


def parse_classes(text: str, num_classes: int, names: Sequence[str] = ()) -> list[int]:
    """``"0,1,7"`` → [0, 1, 7], ``""`` → all. What is the name of a class is that; anything else is a number."""
    if not text:
        return list(range(num_classes))
    if not num_classes:
        raise UsageError(f"classes={text}: this generator was trained without labels")
    parts = [part.strip() for part in text.split(",")]
    numbers = {str(i): i for i in range(num_classes)} | {name: i for i, name in enumerate(names)}
    if wrong := [part for part in parts if part not in numbers]:
        named = f", {listed(names, SHOWN)}" if names else ""
        raise UsageError(f"classes: {wrong[0]!r} is not one of the {num_classes} classes of this generator{named}")
    return [numbers[part] for part in parts]


def _check(options: Options) -> None:
    """UsageError for options that exclude each other."""
    if options.images and options.interpolate:
        raise UsageError("--images and --interpolate cannot be combined")
    if options.codes and (options.images or options.interpolate):
        raise UsageError("--codes makes a grid: --images and --interpolate cannot be combined with it")
    if options.mix and (options.images or options.interpolate or options.codes):
        raise UsageError("--mix makes a picture of its own: --images, --interpolate and --codes are others")
    if options.space == "w" and not options.interpolate:
        raise UsageError("--space w is for --interpolate")
    drawn = ("images", "grid", "mix", "classes", "codes", "seed", "seeds", "truncation", "cutoff", "standing")
    for name in (*drawn, "space", "translate", "rotate"):
        if options.input and getattr(options, name) != getattr(Options, name):
            raise UsageError(f"--{name} and --input cannot be combined: the pictures say what is made")


def _move(options: Options, generator: nn.Module, device: torch.device) -> None:
    """Has a generator draw moved images, if it is asked for; UsageError if it cannot."""
    words = options.translate.split(",") if options.translate else ["0", "0"]
    try:
        right, down = map(float, words)
        transform = inverse(right, down, math.radians(options.rotate))
    except ValueError:
        raise UsageError(f"translate={options.translate!r} is not two numbers such as 0.1,-0.2") from None
    if not transform.isfinite().all():
        raise UsageError(f"translate={options.translate!r}, rotate={options.rotate}: these must be finite")
    if not options.translate and not options.rotate:
        return
    if not transformable(generator):
        option = "--translate" if options.translate else "--rotate"
        raise UsageError(f"{option} needs a generator whose input can be moved, such as StyleGAN3's: this one cannot")
    generator.input.transform = transform.to(device)


def _check_styles(options: Options, generator: nn.Module) -> None:
    """UsageError for what a generator cannot do because it has no styles, or not so many."""
    there = style_count(generator)
    for name in ("mix", "cutoff", "space"):
        if not there and getattr(options, name) != getattr(Options, name):
            raise UsageError(f"--{name} needs a generator of styles, such as StyleGAN2's: this one has none")
    if options.cutoff > there:
        raise UsageError(f"cutoff={options.cutoff}: this generator has {there} layers with styles")


def _latents(options: Options, count: int, generator: nn.Module) -> Tensor:
    """So many latents [count, L]; those of styles have no bound."""
    bound = 0.0 if style_count(generator) else options.truncation
    if not options.seeds:
        return latents(count, generator.latent_dim, options.seed, bound)
    seeds = parse_numbers(options.seeds, "seeds")
    if len(seeds) != count:
        raise UsageError(f"seeds={options.seeds!r} are {len(seeds)}, and {count} latents are drawn")
    return seeded(seeds, generator.latent_dim, bound)


def _mixed(options: Options, styles: Tensor, rows: int) -> Tensor:
    """Styles of a mixing matrix, from those of its rows and then of its columns [rows + columns, L, W]."""
    layers = parse_numbers(options.mix_layers, "mix_layers")
    if max(layers) >= styles.shape[1]:
        raise UsageError(f"mix_layers={options.mix_layers!r}: this generator has layers 0 to {styles.shape[1] - 1}")
    return mixing_matrix(styles[:rows], styles[rows:], layers)


def _check_size(options: Options, count: int, at_once: int, network: nn.Module) -> None:
    """UsageError if so many latents, or the images that are in memory at a time, cannot fit there."""
    memory, side = torch.device("cpu"), network.resolution * options.scale
    check_fits(4 * count * getattr(network, "latent_dim", 0), memory, f"{count} images")
    check_fits(at_once * side**2, memory, f"{at_once} images of {side}x{side}")


def _read(options: Options, path: Path, state: dict[str, Any], network: nn.Module) -> ImageSet:
    """The pictures of ``--input``, as training would decode them for a network."""
    with checkpoint.reading(path):
        resize = bool(state["config"]["resize"])
    images = load_pictures(options.input.expanduser(), network.resolution, resize=resize)
    check_channels(images, network)
    return images


def _encoded(options: Options, path: Path, state: dict[str, Any], device: torch.device, count: int) -> Tensor:
    """Latents [K, L] of the first so many pictures of ``--input``."""
    view = view_of(path, state, options.view, of_images=True)
    if not view.encode:
        raise UsageError(f"--interpolate with --input needs an encoder, and train.{state['system']} has none")
    networks = build_networks(path, state, device, ema=options.ema)
    network = view.network(networks)
    images = _read(options, path, state, network)
    if len(images) < count:
        raise UsageError(f"--interpolate {options.interpolate}: {options.input} has only {len(images)} pictures")
    return view.encode(networks)(given(network, images, torch.arange(count)).to(device)).float().cpu()


def _class_names(path: Path, state: dict[str, Any]) -> list[str]:
    """By label; none in a checkpoint of before these were kept."""
    with checkpoint.reading(path):
        return [str(name) for name in state.get("class_names", ())]


def _file(options: Options) -> Path:
    """Where a grid or an interpolation goes; UsageError if it cannot."""
    out = options.out or Path("interpolation.png" if options.interpolate else "grid.png")
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder: a grid or an interpolation is one file, a .png or .gif")
    if out.suffix not in (".png", ".gif") or (out.suffix == ".gif" and not options.interpolate):
        raise UsageError(f"--out {out}: a grid is a .png, an interpolation a .png or a .gif")
    return out


def main(args: Sequence[str] | None = None) -> int:
    options = parse_options(Options, sys.argv[1:] if args is None else args, prog=PROG)
    _check(options)
    singly = bool(options.images or (options.input and not options.interpolate))
    out = (options.out or Path("images")) if singly else _file(options)
    if singly:
        check_folder(out)
    kind = next((name for name in ("interpolate", "mix") if getattr(options, name)), "grid")
    rows, columns = parse_grid(getattr(options, kind), kind)
    if options.images:
        rows, columns = options.images, 1
    elif options.seeds and kind == "grid" and options.grid == Options.grid:
        rows, columns = grid_of(len(parse_numbers(options.seeds, "seeds")))
    device = resolve_device(options.device)
    path, state = find_checkpoint(options.source)
    if options.input and singly:
        view = view_of(path, state, options.view, of_images=True)
        network = view.network(build_networks(path, state, device, ema=options.ema))
        images = _read(options, path, state, network)
        _check_size(options, 0, min(options.batch, len(images)), network)
        names = png_names(images.files)
        batches = through(network, images, torch.arange(len(images)), device, options.batch)
    else:
        keys = _encoded(options, path, state, device, rows) if options.input else None
        generator = build_generator(path, state, device, "" if options.input else options.view, ema=options.ema)
        _move(options, generator, device)
        class_names = _class_names(path, state)
        classes = parse_classes(options.classes, generator.num_classes, class_names)
        _check_styles(options, generator)
        count = (rows + 1) * (columns + 1) if options.mix else rows * columns
        _check_size(options, count, min(options.batch, count) if singly else count, generator)
        if keys is None:
            needed = {"interpolate": rows, "mix": rows + columns}.get(kind, count)
            keys = _latents(options, needed, generator)
        if options.standing:
            stand(generator, options.standing, options.batch, options.seed, options.truncation)
        if style_count(generator):
            generator = Truncated(generator, options.truncation or 1.0, options.cutoff)
        labels = row_labels(rows, columns, classes).to(device) if classes else None
        z = closed_walk(keys, columns) if options.interpolate else keys
        if options.codes:
            z = code_walk(getattr(generator, "codes", Codes()), options.codes, z, columns)
            generator = OfCodes(generator)
        elif options.mix or options.space == "w":
            of_keys = row_labels(len(keys), 1, classes).to(device) if classes else None
            styles = generator.styles(keys.to(device), of_keys)
            z = _mixed(options, styles, rows) if options.mix else straight_walk(styles, columns)
            generator, labels = OfStyles(generator.generator), None
        shown = row_names(rows, classes, class_names)
        names = [f"{i:06d}.png" for i in range(options.images)]
        batches = draw(generator, z.to(device), labels, options.batch)
    pictures = (picture for batch in batches for picture in enlarged(batch, options.scale))

    if singly:
        for name, picture in zip(names, pictures, strict=True):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            save_png(out / name, picture)
        print(f"{len(names)} images in {out}")
        return 0
    out.parent.mkdir(parents=True, exist_ok=True)
    frames = torch.stack(list(pictures))
    if options.mix:
        frames, columns, shown = torch.cat((torch.zeros_like(frames[:1]), frames)), columns + 1, []
    if out.suffix == ".gif":
        save_gif(out, frames)
    else:
        picture = grid(frames, columns)
        save_png(out, with_row_names(picture, shown) if shown and not options.interpolate else picture)
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
