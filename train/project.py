"""``python -m train.project``: finds the style and the noise that a run's generator makes images of.

As StyleGAN2's authors do it (Karras et al. 2020, arXiv 1912.04958, appendix D), with any generator of styles.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from train.base.capacity import check_fits
from train.base.device import resolve_device
from train.base.errors import UnreadableImage, UsageError, run_program
from train.base.files import write_atomically
from train.base.values import Range, Seed
from train.data import to_float, to_uint8
from train.data.decode import decode
from train.data.folder import read_file
from train.generate import parse_classes
from train.measure.features import Features, own_classifier
from train.measure.perceptual import Perceptual, choose_perceptual
from train.measure.pictures import enlarged, grid, png_names, save_png
from train.measure.projection import SHOWN, Projection, check_styled, project
from train.run import checkpoint
from train.run.lists import load_list
from train.run.options import parse_options
from train.run.restoring import build_generator, config_of, find_checkpoint, view_of

PROG = "python -m train.project"


@dataclass(frozen=True)
class Options:
    """Finds, for each of some images, a style w and noise of which a run's generator makes an image like it."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT_OR_RUN")]
    """A checkpoint, or the folder of a run, whose newest checkpoint is used."""
    image: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE …")] = ()
    """Files of images, which are cut to squares and brought to the generator's size."""
    out: Path = Path("projected")
    """Folder to write, new or empty: the folder images, the picture progress.png, and found.npz with w and noise."""
    steps: Annotated[int, Range(1)] = 1000
    """Steps of the search (Karras et al. 2020: 1000)."""
    classes: Annotated[str, tyro.conf.arg(aliases=["--class"])] = ""
    """The class of the images, or one for each, such as cat or 0,1,7, for networks with labels."""
    vgg16_weights: str = ""
    """File of torchvision's weights of VGG-16, by which images are compared (default: a classifier of the data)."""
    data: str = ""
    """Images with labels that the classifier learns from (default: the run's own)."""
    data_root: Path = Path("data")
    """Folder of torchvision's datasets."""
    resize: bool = False
    """Resize images that are not square to a square, instead of cropping them to the central square."""
    seed: Seed = 0
    """Seed of all random numbers."""
    ema: bool = True
    """Use the averaged generator, which is nearly always better."""
    scale: Annotated[int, Range(1)] = 1
    """Factor by which images are enlarged, by repeating pixels."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N (auto: a GPU if there is one)."""


def _check(options: Options) -> None:
    """UsageError for what can be told before anything is read."""
    if not options.image:
        raise UsageError("--image: name at least one image")
    if missing := [path for path in options.image if not path.is_file()]:
        raise UsageError(f"--image {missing[0]} is no file")
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise UsageError(f"--out {options.out} is not an empty folder: choose another one")


def _targets(options: Options, generator: nn.Module) -> Tensor:
    """The images, float32 [N, C, R, R]."""
    pixels = []
    for path in options.image:
        try:
            pixels.append(decode(read_file(path), generator.image_channels, generator.resolution, options.resize))
        except UnreadableImage as error:
            raise UsageError(f"--image {path} cannot be read: {error}") from None
    return to_float(torch.from_numpy(np.stack(pixels)))


def _labels(options: Options, path: Path, state: dict[str, Any], generator: nn.Module) -> Tensor | None:
    """The classes of the images, int64 [N]; None for a generator without labels."""
    with checkpoint.reading(path):
        names = [str(name) for name in state.get("class_names", ())]
    if generator.num_classes and not options.classes:
        raise UsageError(f"{path} draws {generator.num_classes} classes: name that of the images with --class")
    classes = parse_classes(options.classes, generator.num_classes, names)
    if not classes:
        return None
    if len(classes) not in (1, len(options.image)):
        raise UsageError(f"classes={options.classes}: {len(classes)} for {len(options.image)} images")
    return torch.tensor(classes).expand(len(options.image))


def _perceptual(
    options: Options, path: Path, state: dict[str, Any], generator: nn.Module, device: torch.device
) -> Perceptual:
    """By what images are compared."""

    def classifier() -> Features:
        config, view = config_of(path, state, data_root=options.data_root), view_of(path, state)
        return own_classifier(load_list(config, view.like, spec=options.data), device)

    return choose_perceptual(options.vgg16_weights, generator.resolution, classifier, device)


def write(folder: Path, names: Sequence[str], targets: Tensor, found: Projection, scale: int) -> None:
    """An image of each w, their progress beside the targets, and w and noise."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name, image in zip(names, enlarged(to_uint8(found.images).cpu(), scale), strict=True):
        save_png(folder / "images" / name, image)
    columns = [targets, *found.strip]
    rows = torch.stack(columns, 1).flatten(0, 1)  # each image's target and progress: [N · columns, C, R, R]
    save_png(folder / "progress.png", grid(enlarged(to_uint8(rows).cpu(), scale), len(columns)))
    arrays = {"w": found.w} | ({} if found.noise is None else {"noise": found.noise})
    plain = {name: tensor.cpu().numpy() for name, tensor in arrays.items()}
    write_atomically(folder / "found.npz", lambda file: np.savez(file, names=np.array(names), **plain))


def main(args: Sequence[str] | None = None) -> int:
    options = parse_options(Options, sys.argv[1:] if args is None else args, prog=PROG)
    _check(options)
    device = resolve_device(options.device)
    path, state = find_checkpoint(options.source)
    generator = build_generator(path, state, device, ema=options.ema)
    check_styled(generator, str(path))
    pixels = len(options.image) * (len(SHOWN) + 1) * (generator.resolution * options.scale) ** 2
    check_fits(generator.image_channels * pixels, torch.device("cpu"), f"scale={options.scale}")
    targets, labels = _targets(options, generator).to(device), _labels(options, path, state, generator)
    labels = None if labels is None else labels.to(device)
    perceptual = _perceptual(options, path, state, generator, device)
    options.out.mkdir(parents=True, exist_ok=True)  # what cannot be made should not be known only after the search
    found = project(generator, targets, perceptual, labels, steps=options.steps, seed=options.seed)
    names = png_names([file.name for file in options.image])
    write(options.out, names, targets, found, options.scale)
    print(f"distances by {perceptual.label}")
    for name, distance, of_mean in zip(names, found.distances.tolist(), found.of_mean.tolist(), strict=True):
        print(f"{name}: {distance:.4g}, {distance / of_mean:.1%} of that of the mean of w")
    print(options.out / "progress.png")
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
