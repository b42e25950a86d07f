"""``python -m train.evaluate``: how far a generator's images, or those of a folder, are from real ones."""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from train.base.device import resolve_device
from train.base.errors import NotMeasurable, UnreadableImage, UsageError, run_program
from train.base.values import Range, Seed, wrong_resolution
from train.data import NAMES, ImageSet, load_images
from train.data.decode import size_of
from train.data.folder import open_path
from train.measure.evaluator import Evaluator, versions
from train.measure.measurable import Plan, plan
from train.measure.metric_names import AUTO, METRICS, MOVED, PATHS, parse_metrics, parted_metrics
from train.measure.moved import measure_moved
from train.measure.paths import measure_paths
from train.measure.perceptual import choose_perceptual
from train.measure.pictures import grid, save_png
from train.measure.real_side import RealImages, RealSide
from train.measure.samples import Samples, chosen, drawn, made, picked
from train.measure.stored_statistics import StoredStatistics, save_statistics
from train.run.lists import load_list
from train.run.options import TrainConfig, parse_options
from train.run.restoring import build_view, config_of, find_checkpoint, view_of

PROG = "python -m train.evaluate"


@dataclass(frozen=True)
class Options:
    """Compares images of a generator, of a folder or of a zip file with real ones."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_OR_CHECKPOINT_OR_FOLDER")]
    """A run's folder (its newest checkpoint), a checkpoint, a folder or zip file of images, or glyphs, digits, …"""
    data: str = ""
    """Real images: a folder, a zip, glyphs, digits, mnist, cifar10, svhn, stl10, celeba, lsun (default: the run's)."""
    metrics: str = AUTO
    """swd, msssim, is, fid, kid, pr (precision, recall, …), birthday, ppl-w-full, eqt, eqr, or auto: all of images."""
    images: int = 2000
    """Images to generate, or the maximum number to take from a folder."""
    reals: int = 0
    """Maximum number of real images to compare with (0: as many as --images)."""
    kid_subset: Annotated[int, Range(2)] = TrainConfig.kid_subset
    """Images in each of the subsets over which kid is averaged (published results: 1000)."""
    view: str = ""
    """Measure what a run makes of images, by this view (default: samples of latents, or the run's first view)."""
    stats: Path | None = None
    """Compare with stored statistics instead of real images: a file of --save-stats, or pytorch-fid's .npz."""
    save_stats: Path | None = None
    """Also write statistics of the real images to this new .npz file, for --stats and for pytorch-fid."""
    pairs: Path | None = None
    """Also write the closest pairs that birthday finds to this new .png file, one image of each above the other."""
    inception_weights: str = ""
    """Inception weights for is, fid, kid, pr, birthday (default: GAN_OPS_INCEPTION, or a classifier of the data)."""
    vgg16_weights: str = ""
    """File of torchvision's weights of VGG-16 for ppl-… (default: the maps of a classifier of the data)."""
    resolution: int = 0
    """Height and width to compare at, 2ⁿ or 3·2ⁿ (0: that of the run, or of the folder's first image)."""
    data_root: Path = Path("data")
    """Folder of torchvision's datasets, also for downloads."""
    download: bool = False
    """Download a torchvision dataset that is not in data-root."""
    resize: bool = False
    """Resize images that are not square to a square, instead of cropping them to the central square."""
    seed: Seed = 0
    """Seed of the latents, the choice of images and the metrics' random numbers."""
    ema: bool = True
    """Use the averaged generator, which is nearly always better."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N (auto: a GPU if there is one)."""
    json: bool = False
    """Print JSON instead of a table."""


def main(args: Sequence[str] | None = None) -> int:
    options = parse_options(Options, sys.argv[1:] if args is None else args, prog=PROG)
    _check(options)
    device = resolve_device(options.device)
    samples, real = _of_run(options, device) if _is_checkpoint(options.source) else _of_images(options)
    of_images, of_generator = parted_metrics(options.metrics)
    others = list(_of_generator(options, of_generator, samples, real, device))
    weights, subset = options.inception_weights, options.kid_subset
    if of_images:
        planned = plan(of_images, real, samples.count, weights, device, subset, labels=samples.labels)
    else:
        planned = Plan((), None, {})
    if options.save_stats:
        try:
            network = planned.features or real.choose_features(options.inception_weights, device)
        except NotMeasurable as error:
            raise UsageError(f"--save-stats has no features to store: {error}") from None
        save_statistics(options.save_stats, real, network, versions())
    if options.pairs and "birthday" not in planned.names:
        raise UsageError("--pairs shows what birthday finds, which is not measured: see --metrics")
    measured = Evaluator(planned, real, seed=options.seed).measure(samples)
    for other in others:
        for name, found in other.items():
            measured[name] = {**measured[name], **found} if name in ("metrics", "deviations") else found
    if options.pairs:
        upper, lower = zip(*measured["birthday"]["closest"], strict=True)
        save_png(options.pairs, grid(picked(samples, [*upper, *lower]), columns=len(upper)))
    made_of = {"made_of": samples.made_of} if samples.made_of else {}
    result = {"source": samples.name, **made_of, "data": real.name, **measured}
    print(json.dumps(result, indent=2) if options.json else "\n".join([table(result), *planned.notes()]))
    return 0


def _check(options: Options) -> None:
    """UsageError for what can be told before anything is read."""
    of_images, of_generator = parted_metrics(options.metrics)
    if not (parse_metrics(of_images) or of_generator):
        names = ", ".join((*METRICS, *PATHS, *MOVED))
        raise UsageError(f"metrics: name at least one of {names}, or {AUTO} for all that can be measured of images")
    for name in ("images", "reals"):
        if getattr(options, name) < (name == "images"):
            raise UsageError(f"{name}={getattr(options, name)} is too few")
    for option, new in (("--save-stats", options.save_stats), ("--pairs", options.pairs)):
        if new and new.exists():
            raise UsageError(f"{option} {new} exists already: choose another name")
        if new and not new.parent.is_dir():
            raise UsageError(f"{option} {new}: there is no folder {new.parent}")
    for name in ("data", "reals", "save_stats"):
        if options.stats and getattr(options, name):
            raise UsageError(f"--stats replaces the real images, so --{name.replace('_', '-')} cannot be given")


def _of_run(options: Options, device: torch.device) -> tuple[Samples, RealSide]:
    """What a run makes, and the real side."""
    path, state = find_checkpoint(Path(options.source))
    view = view_of(path, state, options.view)
    network = build_view(path, state, device, options.view, ema=options.ema)
    config = _config(options, path, state)
    resolution = config.resolution

    @functools.cache
    def images_of(name: str) -> ImageSet:
        """How many images the run was given, and with which seed, does not matter here."""
        if not options.data or name != view.like:
            return load_list(config, name)
        own = {"data_root": options.data_root, "resize": options.resize}
        return load_list(dataclasses.replace(config, **own), name, spec=options.data)

    if options.stats:
        real = StoredStatistics(options.stats).at(resolution)
    else:
        real = RealImages(images_of(view.like), options.reals or options.images, options.seed)
    if view.takes:
        taken = images_of(view.takes)
        return made(network, str(path), taken, options.images, real.resolution, options.seed, device), real
    # Which classes are how frequent, pytorch-fid's statistics do not say.
    like = images_of(view.like) if network.num_classes and real.labels is None else real
    return drawn(network, str(path), options.images, real.resolution, options.seed, like, device), real


def _of_generator(
    options: Options, names: Sequence[str], samples: Samples, real: RealSide, device: torch.device
) -> Iterator[dict[str, Any]]:
    """Path lengths and ratios of moved images, as :func:`measure_paths` and :func:`measure_moved`, of those named."""
    paths, moved = ([name for name in names if name in some] for some in (PATHS, MOVED))
    generator, what = samples.generator, "paths between latents" if paths else "images that move with their latents"
    if names and generator is None:
        raise NotMeasurable(f"{names[0]} is of {what}, and {samples.name} is not drawn from latents here")
    given = {"seed": options.seed, "labels": samples.labels, "of": samples.name}
    if moved:
        yield measure_moved(generator, moved, samples.count, **given)
    if paths:
        size, known = generator.resolution, lambda: real.choose_classifier(device)
        perceptual = choose_perceptual(options.vgg16_weights, size, known, device)
        yield measure_paths(generator, paths, samples.count, perceptual, **given, device=device)


def _is_checkpoint(source: str) -> bool:
    """Whether what is named is a run or a checkpoint, not images."""
    path = Path(source)
    return path.suffix == ".pt" or (path / "config.json").exists() or any(path.glob("checkpoint_*.pt"))


def _config(options: Options, path: Path, state: dict[str, Any]) -> TrainConfig:
    """The options of the run that a checkpoint is of, with what is asked for here."""
    saved = config_of(path, state)
    return dataclasses.replace(
        saved,
        data_root=saved.data_root if options.data_root == Options.data_root else options.data_root,
        download=options.download,
        resize=saved.resize or options.resize,
        resolution=options.resolution or saved.resolution,
    )


def _of_images(options: Options) -> tuple[Samples, RealSide]:
    """Images from files or of a known set, and the real side."""
    if options.view:
        raise UsageError(f"{options.source} is not a run or checkpoint, and has no --view {options.view}")
    if not options.data and not options.stats:
        raise UsageError(f"{options.source} is not a run or checkpoint: name the images to compare it with in --data")
    stored = StoredStatistics(options.stats) if options.stats else None
    resolution = options.resolution or (stored.resolution if stored else 0)
    if not resolution:
        files = [name for name in (options.source, options.data) if name and name not in NAMES]
        resolution = _first_size(Path(files[0]).expanduser()) if files else TrainConfig.resolution
    load = {"data_root": options.data_root, "download": options.download, "resize": options.resize}
    if stored:
        real = stored.at(resolution)
    else:
        real = RealImages(load_images(options.data, resolution, **load), options.reals or options.images, options.seed)
    # Glyphs against glyphs: others of the same kind.
    other = load_images(options.source, resolution, seed=options.seed + 1, **load)
    return dataclasses.replace(chosen(other, options.images, options.seed), name=options.source), real


def _first_size(path: Path) -> int:
    """The shorter side of the first image in a folder or zip file; UsageError if that is no size to compare at."""
    instead = "give the size to compare at with --resolution"
    try:
        size = min(size_of(open_path(path, 4).read(0)))
    except (UnreadableImage, OSError) as error:
        raise UsageError(f"{path}: its first image cannot be read ({error}): {instead}") from None
    if wrong := wrong_resolution(size):
        raise UsageError(f"{path}: the size of its first image, {size}, {wrong}: {instead}")
    return size


def table(result: dict[str, Any]) -> str:
    """A result for people."""
    lines = [f"{result['source']} against {result['data']} at {result['resolution']}x{result['resolution']}"]
    reals = result["real"] or "an unknown number of"
    lines.append(f"{result['generated']} generated and {reals} real images, seed {result['seed']}")
    if "made_of" in result:
        lines.append(f"made of images of {result['made_of']}")
    if "labels" in result:
        lines.append(f"labels of the real images: {result['labels']}")
    if "stats" in result:
        unnamed = "" if result["stats_network"] else ", which names no network: taken to be of the one below"
        lines.append(f"statistics from {result['stats']}{unnamed}")
    if "enlarged_from" in result:
        lines.append(f"enlarged from {result['enlarged_from']}x{result['enlarged_from']}")
    if result.get("swd_images", result["generated"]) < result["generated"]:
        lines.append(f"swd of {result['swd_images']} images each")
    if "msssim_scales" in result:
        lines.append(f"msssim of {result['msssim_pairs']} pairs in {result['msssim_scales']} scales")
    if "kid_subset" in result:
        lines.append(f"kid of {result['kid_subsets']} subsets of {result['kid_subset']} images")
    if found := result.get("birthday"):
        lines.append(f"birthday: {found['pairs']} pairs alike among generated images, {found['real_pairs']} among real")
        bound = f"at least {found['at_least']:.3g}; of real images {found['real_support']:.3g}"
        lines.append(f"birthday: {bound}; two of {found['likely_batch']:.0f} are alike with a probability of 1/2")
    if least := result.get("least_of_a_class"):
        lines.append(f"intra-fid of at least {least['generated']} generated and {least['real']} real images of a class")
    if result["features"]:
        lines.append(f"features of {_facts(result['features'])}")
    if "classifier" in result and result["classifier"] != result["features"]:
        lines.append(f"accuracy by {_facts(result['classifier'])}")
    if "ppl_features" in result:
        facts = _facts(result["ppl_features"])
        lines.append(f"ppl of {result['ppl_paths']} paths, steps of {result['ppl_epsilon']:g}, features of {facts}")
    if "moved" in result:
        lines.append(f"eqt, eqt-frac and eqr in dB, of {result['moved']} images, each moved once")
    width = max(len(name) for name in result["metrics"])
    for name, value in result["metrics"].items():
        deviation = result["deviations"].get(name)
        lines.append(f"{name:<{width}}  {value:10.5g}" + (f" ± {deviation:.2g}" if deviation is not None else ""))
    return "\n".join(lines)


def _facts(network: dict[str, Any]) -> str:
    name, *rest = network.items()
    facts = (f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in rest)
    return f"{name[1]}: {', '.join(facts)}"


if __name__ == "__main__":
    sys.exit(run_program(main))
