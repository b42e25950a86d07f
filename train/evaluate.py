"""``python -m train.evaluate``: how far a generator's images, or those of a folder, are from real ones."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from train import checkpoint
from train.config import TrainConfig, from_dict, parse_options
from train.data import NAMES, ImageSet, load_images
from train.data.decode import size_of
from train.data.errors import UnreadableImage
from train.data.folder import open_path
from train.device import resolve_device
from train.errors import UsageError, run_program
from train.evaluator import Evaluator, check_counts, check_real, features_for, real_images
from train.generate import build_generator, find_checkpoint
from train.metric_names import METRICS, parse_metrics
from train.samples import Samples, chosen, drawn
from train.schedule import is_power_of_two
from train.values import Seed

PROG = "python -m train.evaluate"


@dataclass(frozen=True)
class Options:
    """Compares images of a generator, of a folder or of a zip file with real ones."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_OR_CHECKPOINT_OR_FOLDER")]
    """A run's folder (its newest checkpoint), a checkpoint, a folder or zip file of images, or glyphs, digits, …"""
    data: str = ""
    """Real images: glyphs, digits, a folder, a zip, or mnist, cifar10, svhn, celeba, lsun (default: the run's own)."""
    metrics: str = ",".join(METRICS)
    """Which metrics: swd, msssim, is, fid, kid, pr (precision, recall, density, coverage)."""
    images: int = 2000
    """Images to draw from a generator, or most to take from a folder."""
    reals: int = 0
    """Most real images to compare with (0: as many as --images)."""
    inception_weights: str = ""
    """File of Inception's weights for is, fid, kid, pr (none, nor GAN_OPS_INCEPTION: a classifier of the data)."""
    resolution: int = 0
    """Height and width to compare at, a power of two (0: the run's own, or that of the folder's first image)."""
    data_root: Path = Path("data")
    """Folder that holds (or gets) torchvision's datasets."""
    download: bool = False
    """Fetch a torchvision dataset that data-root does not hold."""
    resize: bool = False
    """Squeeze non-square images instead of cropping their centre."""
    seed: Seed = 0
    """Seed of latents, of the choice of images, and of what the metrics draw."""
    ema: bool = True
    """Draw from the averaged generator, as is better nearly always."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N (auto: a GPU if there is one)."""
    json: bool = False
    """Print JSON instead of a table."""


def main(args: Sequence[str] | None = None) -> int:
    options = parse_options(Options, sys.argv[1:] if args is None else args, prog=PROG)
    names = parse_metrics(options.metrics)
    if not names:
        raise UsageError(f"metrics: name some of {', '.join(METRICS)}")
    for name in ("images", "reals"):
        if getattr(options, name) < (name == "images"):
            raise UsageError(f"{name}={getattr(options, name)} is too few")
    device = resolve_device(options.device)
    if _is_checkpoint(options.source):
        path, state = find_checkpoint(Path(options.source))
        generator = build_generator(path, state, device, ema=options.ema)
        real = real_images(_config(options, path, state))
        samples = drawn(generator, str(path), options.images, real.resolution, options.seed, real, device)
    else:
        samples, real = _images(options)
    check_counts(names, generated=samples.count)
    check_real(names, real, options.reals or options.images)
    features = features_for(names, real, options.inception_weights, device)
    evaluator = Evaluator(names, real, options.reals or options.images, features, seed=options.seed)
    result = {"source": samples.name, "data": real.name, **evaluator.measure(samples)}
    print(json.dumps(result, indent=2) if options.json else table(result))
    return 0


def _is_checkpoint(source: str) -> bool:
    """Whether what is named is a run or a checkpoint, not images."""
    path = Path(source)
    return path.suffix == ".pt" or (path / "config.json").exists() or any(path.glob("checkpoint_*.pt"))


def _config(options: Options, path: Path, state: dict[str, Any]) -> TrainConfig:
    """The data of the run that a checkpoint is of, unless options say otherwise."""
    common = {field.name for field in dataclasses.fields(TrainConfig)}
    with checkpoint.reading(path):
        own = {name: value for name, value in state["config"].items() if name in common}
    saved = from_dict(TrainConfig, own, f"checkpoint {path}")
    given = {"download": options.download, "resolution": options.resolution or saved.resolution}
    if options.data:
        given |= {"data": options.data, "data_root": options.data_root, "resize": options.resize}
    else:
        given["resize"] = saved.resize or options.resize
        if options.data_root != Options.data_root:
            given["data_root"] = options.data_root
    # How many images the run was given, and with which seed, does not matter here.
    return dataclasses.replace(TrainConfig(data=saved.data, data_root=saved.data_root), **given)


def _images(options: Options) -> tuple[Samples, ImageSet]:
    """Images from files or of a known set, and the real ones."""
    if not options.data:
        raise UsageError(f"{options.source} is no run or checkpoint: --data has to say what to compare it with")
    resolution = options.resolution
    if not resolution:
        files = [name for name in (options.source, options.data) if name not in NAMES]
        resolution = _first_size(Path(files[0]).expanduser()) if files else TrainConfig.resolution
    load = {"data_root": options.data_root, "download": options.download, "resize": options.resize}
    real = load_images(options.data, resolution, **load)
    # Glyphs against glyphs: others of the same kind.
    other = load_images(options.source, resolution, seed=options.seed + 1, **load)
    return dataclasses.replace(chosen(other, options.images, options.seed), name=options.source), real


def _first_size(path: Path) -> int:
    """The shorter side of the first image in a folder or zip file; UsageError if that is no size to compare at."""
    try:
        size = min(size_of(open_path(path, 4).read(0)))
    except (UnreadableImage, OSError) as error:
        raise UsageError(
            f"{path}: its first image cannot be read ({error}): --resolution has to say what size to compare at"
        ) from None
    if not is_power_of_two(size):
        raise UsageError(
            f"{path}: its first image is no power of two in size: --resolution has to say what size to compare at"
        )
    return size


def table(result: dict[str, Any]) -> str:
    """A result for people."""
    size = f"{result['resolution']}x{result['resolution']}"
    lines = [
        f"{result['source']} against {result['data']} at {size}",
        f"{result['generated']} generated and {result['real']} real images, seed {result['seed']}",
    ]
    if "enlarged_from" in result:
        lines.append(f"enlarged from {result['enlarged_from']}x{result['enlarged_from']}")
    if result.get("swd_images", result["generated"]) < result["generated"]:
        lines.append(f"swd of {result['swd_images']} images each")
    if "msssim_scales" in result:
        lines.append(f"msssim of {result['msssim_pairs']} pairs in {result['msssim_scales']} scales")
    if result["features"]:
        name, *rest = (f"{key} {value}" for key, value in result["features"].items())
        lines.append(f"features of {name.removeprefix('name ')}: {', '.join(rest)}")
    width = max(len(name) for name in result["metrics"])
    for name, value in result["metrics"].items():
        deviation = result["deviations"].get(name)
        lines.append(f"{name:<{width}}  {value:10.5g}" + (f" ± {deviation:.2g}" if deviation is not None else ""))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_program(main))
