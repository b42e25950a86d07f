"""``python -m train.studies.reconstruction``: how well a run reconstructs unseen images, and draws new ones.

Distances of pixels beside those of the mean image, and metrics of samples beside those of a DCGAN; the page and its
picture show what the numbers mean.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor, nn

from train.base.device import resolve_device
from train.base.errors import UsageError, run_program
from train.base.files import write_atomically
from train.base.seeds import stream_seed
from train.base.values import Range, Seed
from train.data import ImageSet, to_float, to_uint8
from train.measure.evaluator import Evaluator
from train.measure.measurable import Plan, plan
from train.measure.metric_names import qualified
from train.measure.pictures import draw, grid, latents, save_png
from train.measure.real_side import RealImages
from train.measure.samples import Samples, chosen, drawn
from train.measure.walks import slerp
from train.run.lists import load_list, real_images, training_images
from train.run.options import TrainConfig, from_dict, parse_options
from train.run.restoring import build_generator, build_networks, find_checkpoint, system_of
from train.studies.reconstruction_page import COLUMNS, Distances, Measured, page, summary
from train.studies.study import flags

PROG = "python -m train.studies.reconstruction"
METRICS = "swd,fid"
ELSEWHERE = {"kimg", "device", "precision", "tensorboard", "keep", "grid", "log_kimg", "image_kimg", "checkpoint_kimg"}
"""Options that do not decide what is learnt, or are told otherwise."""


@dataclass(frozen=True)
class Options:
    """Measures reconstructions and samples of a run of an autoencoder, and writes a page about it."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run of a system that reconstructs, such as train.vae_gan, or a checkpoint of it."""
    dcgan: Path | None = None
    """A run of another generator on the same data, for the table of samples."""
    held_out: str = ""
    """Images to reconstruct that the run has not seen: a folder, a zip, … (default: glyphs of another seed)."""
    images: Annotated[int, Range(2 * COLUMNS, 10**6)] = 2000
    """Images to reconstruct and to draw, and the maximum number of real ones."""
    out: Path | None = None
    """Page to write, in Markdown; its picture gets the same name (default: the numbers are only printed)."""
    seed: Seed = 0
    """Seed of the latents, the choice of images and the metrics' random numbers."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N (auto: a GPU if there is one)."""


def main(args: Sequence[str] | None = None) -> int:
    args = list(sys.argv[1:] if args is None else args)
    options = parse_options(Options, args, prog=PROG)
    if options.out and not options.out.parent.is_dir():
        raise UsageError(f"--out {options.out}: there is no folder {options.out.parent}")
    device = resolve_device(options.device)
    path, state = find_checkpoint(options.source)
    system, config = system_of(path, state), config_of(path, state)
    view = next((view for view in system.views.values() if view.encode and state["sampler"]), None)
    if view is None:
        raise UsageError(f"{path} is of train.{system.name}, which does not reconstruct images from latents")
    networks = build_networks(path, state, device)
    rebuild, encode, generator = view.network(networks), view.encode(networks).eval(), networks[state["sampler"]]
    training = training_images(config)[view.takes]
    unseen = held_out(options, config, view.takes, training.channels)
    distances = measure_distances(rebuild, unseen, training, device)

    real = RealImages(real_images(config, view.like), options.images, options.seed)
    planned = plan(METRICS, real, options.images, config.inception_weights, device)
    rows = [measure("VAE-GAN", state, drawn_by(generator, options, real, device), planned, real, options.seed)]
    rival = None
    if options.dcgan:
        found = find_checkpoint(options.dcgan)
        rival = build_generator(*found, device)
        if rival.resolution != generator.resolution:
            raise UsageError(f"--dcgan {options.dcgan} draws {rival.resolution}x{rival.resolution}, not as {path} does")
        samples = drawn_by(rival, options, real, device)
        rows.append(measure(f"`train.{found[1]['system']}`", found[1], samples, planned, real, options.seed))
    unseen_ones = chosen(unseen, options.images, options.seed)
    rows.append(measure("images not trained on", None, unseen_ones, planned, real, options.seed))
    print(summary(distances, rows))
    if options.out:
        picture = options.out.with_suffix(".png")
        save_png(picture, grid(shown(rebuild, encode, generator, rival, unseen, options.seed, device), COLUMNS))
        trained = [command_of(options.source, path, state)]
        trained += [command_of(options.dcgan, *found)] if rival else []
        text = page(distances, rows, [*PROG.split(), *args], trained, config, picture.name)
        write_atomically(options.out, lambda file: file.write(text.encode()))
    return 0


def config_of(path: Path, state: dict[str, Any]) -> TrainConfig:
    """The options of the run that a checkpoint is of."""
    return from_dict(system_of(path, state).options, state["config"], f"checkpoint {path}")


def command_of(source: Path, path: Path, state: dict[str, Any]) -> str:
    """What trains such networks and leaves them in ``source``: the program with what is not as in its preset."""
    system, config = system_of(path, state), config_of(path, state)
    preset = system.presets.get(config.preset, config)
    own = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    changed = {name: value for name, value in own.items() if value != getattr(preset, name) and name not in ELSEWHERE}
    if preset is not next(iter(system.presets.values())):
        changed = {"preset": config.preset, **changed}
    shown = state["trainer"]["images"] / 1000
    if round(shown) != round(preset.kimg):
        changed["kimg"] = f"{shown:g}"
    return shlex.join([*system.program.split(), *flags(changed), *(["--out", str(source)] if source.is_dir() else [])])


def held_out(options: Options, config: TrainConfig, name: str, channels: int) -> ImageSet:
    """Images like those of a run's list, but not of it.

    Raises:
        UsageError: where it is not known which, or they are too few, or grey and the run's are not, or the reverse.
    """
    if not options.held_out and config.lists()[name] != "glyphs":
        raise UsageError("--held-out: name images that the run has not seen")
    unseen = load_list(config, name, seed=config.seed + 1, size=options.images, spec=options.held_out)
    if unseen.channels != channels:
        raise UsageError(
            f"--held-out {options.held_out} has {unseen.channels} channels, and the run's images {channels}"
        )
    if len(unseen) < 2 * COLUMNS:
        raise UsageError(f"--held-out {options.held_out} has {len(unseen)} images, and {2 * COLUMNS} are shown")
    return unseen


@torch.no_grad()
def measure_distances(rebuild: nn.Module, unseen: ImageSet, training: ImageSet, device: torch.device) -> Distances:
    """Of all the images ``unseen``, as they would be written to files."""
    originals, size = unseen.level(rebuild.resolution), rebuild.resolution
    total = torch.zeros(training.channels, size, size, dtype=torch.float64)
    for part in training.level(size).split(1000):
        total += part.double().sum(0)
    mean = total / len(training)
    again = torch.cat(list(draw(rebuild, to_float(originals).to(device))))
    apart = [(originals.double() - other.double()).abs().mean().item() for other in (again, mean)]
    return Distances(*apart, len(originals))


def drawn_by(generator: nn.Module, options: Options, real: RealImages, device: torch.device) -> Samples:
    return drawn(generator, "samples", options.images, real.resolution, options.seed, real, device)


def measure(
    name: str, state: dict[str, Any] | None, samples: Samples, planned: Plan, real: RealImages, seed: int
) -> Measured:
    """A row; ``state`` is of the checkpoint that the samples come from, if they do."""
    found = Evaluator(planned, real, seed=seed).measure(samples)["metrics"]
    of_features = {name: qualified(name, planned.features and planned.features.label) for name in planned.names}
    names = [name if name in found else of_features[name] for name in planned.names]
    kimg = state["trainer"]["images"] / 1000 if state else None
    return Measured(name, kimg, {name: found[name] for name in names})


@torch.no_grad()
def shown(
    rebuild: nn.Module,
    encode: nn.Module,
    generator: nn.Module,
    rival: nn.Module | None,
    unseen: ImageSet,
    seed: int,
    device: torch.device,
) -> Tensor:
    """The page's picture, line by line, uint8 [N, C, R, R]: twice images and their reconstructions, two lines of
    samples of each generator, and four of interpolations, which begin and end with images."""
    originals = unseen.level(rebuild.resolution)[: 2 * COLUMNS]
    x = to_float(originals).to(device)
    again = torch.cat(list(draw(rebuild, x)))
    lines = [originals[:COLUMNS], again[:COLUMNS], originals[COLUMNS:], again[COLUMNS:]]
    for network in (generator, rival) if rival else (generator,):
        z = latents(2 * COLUMNS, network.latent_dim, stream_seed(seed, "page")).to(device)
        lines += draw(network, z)
    t = torch.linspace(0, 1, COLUMNS - 2)
    codes = encode(x).cpu()
    for i in range(4):
        between = slerp(codes[2 * i], codes[2 * i + 1], t).to(device)
        lines += [originals[2 * i, None], to_uint8(generator(between)).cpu(), originals[2 * i + 1, None]]
    return torch.cat(lines)


if __name__ == "__main__":
    sys.exit(run_program(main))
