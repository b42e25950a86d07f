"""One run on a mixture of Gaussians, and several in processes beside each other."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.mixture import Discriminator, Generator
from train.base.errors import TrainingError
from train.base.seeds import stream_seed
from train.data.gaussians import MIXTURES, Mixture, Quality
from train.engine.ema import averaged_copy
from train.engine.player import Player
from train.engine.precision import Autocast
from train.engine.step import Batch, WholeStep
from train.engine.trainer import instance_noise_deviation
from train.gan.options import losses_of, new_players
from train.mixture_config import MixtureConfig
from train.studies.processes import in_processes

SAMPLES = 2500  # judged (Srivastava et al. 2017)
MOMENTS = 8  # at which samples are drawn, the start and the end among them


class Outcome(NamedTuple):
    """What came of a run: a generator's samples [SAMPLES, 2] and their quality after each of ``steps``."""

    steps: list[int]
    samples: list[Tensor]
    quality: list[Quality]


def moments(steps: int) -> list[int]:
    """Numbers of steps after which samples are drawn, evenly over a run."""
    return sorted({round(i * steps / (MOMENTS - 1)) for i in range(MOMENTS)})


def train_run(config: MixtureConfig, seed: int) -> Outcome:
    """Trains with the options, on one thread; the same seed gives the same samples to the bit.

    Raises:
        TrainingError: if a gradient or the samples are not finite: to the judge that would look like lost modes.
    """
    with _one_thread(), torch.random.fork_rng(devices=[]):
        mixture = MIXTURES[config.data]()
        torch.manual_seed(stream_seed(seed, "weights"))
        generator, discriminator = _networks(config, seed)
        ema = averaged_copy(generator)
        players = _players(config, discriminator, generator)
        step = _step_for(config, players, ema)
        random = torch.Generator().manual_seed(stream_seed(seed, "steps"))
        z = torch.randn(SAMPLES, config.latent, generator=torch.Generator().manual_seed(stream_seed(seed, "samples")))
        outcome = Outcome(moments(config.steps), [], [])
        for done in range(config.steps + 1):
            if done in outcome.steps:
                with torch.no_grad():
                    points = ema(z).flatten(1)
                if any(player.skipped for player in players) or not points.isfinite().all():
                    raise TrainingError(f"diverged by step {done} of {config.steps}: {_told(config, seed)}")
                outcome.samples.append(points)
                outcome.quality.append(mixture.judge(points))
            if done < config.steps:
                step(_batch(config, mixture, done, random))
        return outcome


def train_all(runs: Sequence[tuple[MixtureConfig, int]], jobs: int) -> Iterator[tuple[int, Outcome]]:
    """Indices of ``runs``, options and seed, and what came of each, as they end; in so many processes."""
    if jobs == 1:
        for index, run in enumerate(runs):
            yield index, train_run(*run)
        return
    yield from in_processes(jobs, train_run, runs)


def _told(config: MixtureConfig, seed: int) -> str:
    """The seed and the options that are not the defaults."""
    usual = dataclasses.asdict(MixtureConfig())
    told = {name: value for name, value in dataclasses.asdict(config).items() if value != usual[name]}
    return ", ".join(f"{name}={value}" for name, value in {"seed": seed, **told}.items())


def _networks(config: MixtureConfig, seed: int) -> tuple[Generator, Discriminator]:
    random = torch.Generator().manual_seed(stream_seed(seed, "first batch"))
    reference = torch.randn(config.batch, config.latent, generator=random) if config.g_norm == "virtual" else None
    shape = {"width": config.width, "weight_norm": config.weight_norm}
    generator = Generator(config.latent, norm=config.g_norm, reference=reference, **shape)
    discriminator = Discriminator(
        norm=config.d_norm,
        minibatch_kernels=config.minibatch_discrimination,
        minibatch_dim=config.minibatch_dim,
        **shape,
    )
    return generator, discriminator


def _players(config: MixtureConfig, discriminator: Discriminator, generator: Generator) -> tuple[Player, Player]:
    g_player, d_player = new_players(config, generator, discriminator, betas=(config.beta1, 0.999))
    d_player.set_lr(config.lr * config.ttur)
    g_player.set_lr(config.lr)
    return d_player, g_player


def _step_for(config: MixtureConfig, players: tuple[Player, Player], ema: nn.Module) -> WholeStep:
    return WholeStep(
        *players,
        ema,
        losses_of(config),
        Autocast(torch.device("cpu")),
        half_life=1000 * config.ema_kimg,
        update=config.update,
        d_steps=config.d_steps,
    )


def _batch(config: MixtureConfig, mixture: Mixture, done: int, random: torch.Generator) -> Batch:
    """What the step after ``done`` others is given."""
    count, shown = config.batch, config.batch * config.d_steps
    real = _as_images(mixture.sample(shown, random))
    z_for_d = torch.randn(shown, config.latent, generator=random)
    weights = torch.rand(shown, generator=random)
    z_for_g = torch.randn(count, config.latent, generator=random)
    noise_for_d = noise_for_g = None
    if config.instance_noise:
        over = 1000 * config.instance_noise_kimg or shown * config.steps
        deviation = instance_noise_deviation(config.instance_noise, done * shown, over)
        noise = deviation * torch.randn(2 * shown + count, 2, 1, 1, generator=random)
        more, noise_for_d, noise_for_g = noise.split([shown, shown, count])
        real = real + more
    return Batch(real, None, z_for_d, weights, z_for_g, None, noise_for_d, noise_for_g)


def _as_images(points: Tensor) -> Tensor:
    """[N, 2] → [N, 2, 1, 1], channels last."""
    return points[:, :, None, None].contiguous(memory_format=torch.channels_last)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Networks as small as these gain nothing from more threads, and runs beside each other lose by them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
