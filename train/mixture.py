"""Mixtures of Gaussians in the plane: which modes do small networks find? (Metz et al. 2017, arXiv 1611.02163).

The data and the sizes are those of its section 3.1 and of Srivastava et al. 2017, or smaller.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from gan_ops.objectives import GradientNorm
from models.mixture import Discriminator, DNorm, Generator, GNorm
from train.base import processes
from train.base.errors import TrainingError, UsageError, run_program
from train.base.processes import share_named, share_of
from train.base.seeds import stream_seed
from train.base.values import Decay, Range, Seed, Share
from train.data.gaussians import MIXTURES, Mixture, Quality
from train.engine.game import Batch
from train.engine.precision import Autocast
from train.engine.schedule import Phase, Position, Schedule
from train.engine.trainer import Trainer
from train.gan.augmentation import InstanceNoise
from train.gan.game import Gan
from train.gan.options import D_NORM, Techniques, parted
from train.measure.pictures import save_picture
from train.measure.points import strip
from train.run.options import parse_options, values_of

PROG = "python -m train.mixture"
SAMPLES = 2500  # judged (Srivastava et al. 2017)
MOMENTS = 8  # at which samples are drawn, the start and the end among them

Width = Annotated[int, Range(1, 2**14)]


@dataclass(frozen=True)
class MixtureConfig(Techniques):
    """Options of a run on a mixture of Gaussians; images are points here."""

    data: Literal["ring", "grid"] = "ring"
    """ring: 8 Gaussians on a circle (Metz et al. 2017); grid: 25 in a square (Srivastava et al. 2017)."""
    steps: Annotated[int, Range(1)] = 6000
    """Updates of G."""
    batch: Annotated[int, Range(2, 2**20)] = 256
    """Points in a step."""
    lr: float = 0.003
    """Learning rate of G."""
    lr_decay: Share = 0.8
    """Last part of the run, over which the learning rates fall to 0 (1: all of it)."""
    beta1: Decay = 0.0
    """Adam's beta1, the decay rate of the mean gradient."""
    beta2: Decay = 0.99
    """Adam's beta2, the decay rate of the mean square."""
    scaled: bool = True
    """Divide the points by the deviation of the data, so that networks see and draw unit variance."""
    latent: Width = 16
    """Length of the latent vector."""
    width: Width = 128
    """Units of each hidden layer (Metz et al. 2017: 128)."""
    layers: Annotated[int, Range(1, 16)] = 3
    """Hidden layers of each network."""
    feature_matching: int = 0
    """4: G matches means of D's last hidden layer instead of its loss (Salimans et al. 2016, 3.1); 0: off."""
    g_norm: GNorm = "none"
    """Norm of G; virtual: Salimans et al. 2016, 3.5; pixel: Karras 2018; spectral: Miyato 2018; others: see d-norm."""
    d_norm: Annotated[Literal[DNorm, GradientNorm], D_NORM] = "none"
    weight_norm: bool = False
    """Also normalise the weights of both networks (Salimans and Kingma 2016)."""
    ema_kimg: float = 88.6
    """Half-life of the averaged generator, which is evaluated, in thousands of points (0: no average)."""

    def check(self) -> None:
        if self.feature_matching not in (0, 4):
            why = "4 stands for D's last hidden layer, and there is no other to match"
            raise UsageError(f"feature_matching={self.feature_matching} is neither 0 nor 4: {why}")
        super().check()
        self.check_norms(self.g_norm, self.d_norm, self.weight_norm)
        for name in ("g_norm", "d_norm"):
            norm = getattr(self, name)
            if (self.width < 2 and norm == "layer") or (self.width % 2 and norm == "group"):
                why = "a unit that is normalised alone is always 0"
                raise UsageError(f"width={self.width} cannot be combined with {name}={norm!r}: {why}")
        if not self.lr > 0:
            raise UsageError(f"lr={self.lr:g} is not a positive number")
        self.check_packs(share_of(self.batch), share_named(self.batch))
        if not self.ema_kimg >= 0:
            raise UsageError(f"ema_kimg={self.ema_kimg:g} is not a finite number of at least 0")


@dataclass(frozen=True)
class Options(MixtureConfig):
    """Trains small networks on Gaussians in the plane, with any of the techniques, and counts the modes found."""

    seed: Seed = 0
    """Seed of all random numbers."""
    picture: Path | None = None
    """PNG to write: samples over time."""
    json: bool = False
    """Print JSON instead of lines."""


class Outcome(NamedTuple):
    """What came of a run: a generator's samples [SAMPLES, 2] and their quality after each of ``steps``."""

    steps: list[int]
    samples: list[Tensor]
    quality: list[Quality]


def moments(steps: int) -> list[int]:
    """Numbers of steps after which samples are drawn, evenly over a run."""
    return sorted({round(i * steps / (MOMENTS - 1)) for i in range(MOMENTS)})


class Points:
    """A mixture as a list of images [N, 2, 1, 1] without an end, its points divided by ``unit``."""

    lists: ClassVar[Mapping[str, int]] = {"images": sys.maxsize}

    def __init__(self, mixture: Mixture, unit: float) -> None:
        self._mixture, self._unit = mixture, unit

    def columns(self, counts: Mapping[str, int], at: Position, random: torch.Generator) -> Batch:
        points = self._mixture.sample(counts["images"], random) / self._unit
        return {"images": points[:, :, None, None].contiguous(memory_format=torch.channels_last)}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


def new_trainer(config: MixtureConfig, seed: int) -> Trainer:
    """What trains; positions of its schedule count points."""
    shown = config.batch * config.d_steps * config.steps
    phase = Phase(1, False, 0, shown, shown, config.batch, config.batch, config.lr)
    random = torch.Generator().manual_seed(stream_seed(seed, "first batch"))
    reference = torch.randn(config.batch, config.latent, generator=random) if config.g_norm == "virtual" else None
    shape = {"width": config.width, "layers": config.layers, "weight_norm": config.weight_norm}
    gradient_norm, d_norm = parted(config.d_norm)
    objective = config.objective()
    minibatch = {"minibatch_kernels": config.minibatch_discrimination, "minibatch_dim": config.minibatch_dim}
    torch.manual_seed(stream_seed(seed, "weights"))
    game = Gan(
        Generator(config.latent, norm=config.g_norm, reference=reference, **shape),
        Discriminator(
            norm=d_norm,
            pack=config.pack,
            outputs=objective.outputs,
            **minibatch,
            **shape,
        ),
        config.roles((config.beta1, config.beta2)),
        objective,
        latent=config.latent,
        penalties=config.penalties(),
        augmentation=InstanceNoise(config.instance_noise, 1000 * config.instance_noise_kimg or shown),
        pack=config.pack,
        gradient_norm=gradient_norm,
        d_steps=config.d_steps,
        shared_latents=config.update == "merged",
    )
    device = torch.device("cpu")
    return Trainer(
        game,
        Schedule((phase,), lr_decay=config.lr_decay),
        Points(MIXTURES[config.data](), unit_of(config)),
        device=device,
        autocast=Autocast(device),
        ema_kimg={1: config.ema_kimg},
        seed=seed,
        update=config.update,
    )


def unit_of(config: MixtureConfig) -> float:
    """What points are divided by before networks see them."""
    return MIXTURES[config.data]().spread if config.scaled else 1.0


def train_run(config: MixtureConfig, seed: int) -> Outcome:
    """Trains with the options, on one thread; the same seed gives the same samples to the bit.

    Raises:
        TrainingError: if a gradient or the samples are not finite: to the judge that would look like lost modes.
    """
    outcome, mixture = Outcome(moments(config.steps), [], []), MIXTURES[config.data]()
    z = torch.randn(SAMPLES, config.latent, generator=torch.Generator().manual_seed(stream_seed(seed, "samples")))
    threads = torch.get_num_threads()
    # Networks as small as these gain nothing from more threads, and runs beside each other lose by them.
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            trainer = new_trainer(config, seed)
            for done in outcome.steps:
                while trainer.steps < done:
                    trainer.step()
                trainer.average_statistics()
                with torch.no_grad():
                    points = trainer.averages["G"](z).flatten(1) * unit_of(config)
                with processes.agreeing():
                    if trainer.skipped()[0] or not points.isfinite().all():
                        raise TrainingError(f"diverged by step {done} of {config.steps}")
                outcome.samples.append(points)
                outcome.quality.append(mixture.judge(points))
    finally:
        torch.set_num_threads(threads)
    return outcome


def main(args: Sequence[str] | None = None) -> int:
    with processes.joined():
        with processes.agreeing():
            options, config = _told(sys.argv[1:] if args is None else args)
        outcome = train_run(config, options.seed)
        with processes.agreeing():
            if processes.is_first():
                _show(outcome, options, config)
    return 0


def _told(args: Sequence[str]) -> tuple[Options, MixtureConfig]:
    """What the command line asks for; UsageError if it makes no sense."""
    options = parse_options(Options, args, prog=PROG)
    config = MixtureConfig(**values_of(options, MixtureConfig))
    config.check()
    if share_of(config.batch) < 2:
        raise UsageError(f"batch={config.batch}: each of {processes.size()} processes needs at least 2 points")
    picture = options.picture
    if picture and picture.suffix.lower() != ".png":
        raise UsageError(f"picture={picture} does not end in .png")
    if picture and not picture.parent.is_dir():
        raise UsageError(f"picture={picture}: there is no folder {picture.parent}")
    return options, config


def _show(outcome: Outcome, options: Options, config: MixtureConfig) -> None:
    mixture = MIXTURES[config.data]()
    if options.picture:
        save_picture(options.picture, strip(mixture, outcome.samples))
    over_time = list(zip(outcome.steps, outcome.quality, strict=True))
    if options.json:
        moments = [{"step": step, **quality._asdict()} for step, quality in over_time]
        about = {"options": dataclasses.asdict(config), "seed": options.seed, "samples": SAMPLES}
        print(json.dumps({**about, **outcome.quality[-1]._asdict(), "over_time": moments}, indent=2))
    else:
        print("\n".join(f"step {step}: {describe(mixture, quality)}" for step, quality in over_time))


def describe(mixture: Mixture, quality: Quality) -> str:
    """One line for people."""
    found = f"{quality.modes} of {len(mixture.centres)} modes, {100 * quality.good:.1f} % good samples"
    return f"{found}, divergence {quality.divergence:.3f}"


if __name__ == "__main__":
    sys.exit(run_program(main))
