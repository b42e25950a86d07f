"""From a command line, options and networks to what trains them: the same for all network families."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from train.base.capacity import check_fits
from train.base.errors import UsageError
from train.base.seeds import stream_seed
from train.base.tables import parse_table
from train.data import ImageSet, to_float
from train.engine.precision import DTYPES, Autocast
from train.engine.schedule import Schedule
from train.engine.trainer import Game, Trainer
from train.gan.config import GanConfig
from train.gan.options import losses_of
from train.run.folder import run_name
from train.run.init_from import open_origin
from train.run.options import option_value, parse_command_line
from train.run.session import train

Config = TypeVar("Config", bound=GanConfig)
FIRST_IMAGES = 64
"""Real images that minibatch discrimination is scaled to."""


def train_as_told(
    args: Sequence[str],
    presets: Mapping[str, Config],
    schedule_of: Callable[[Config], Schedule],
    *,
    program: str,
    description: str,
    family: str,
    build: Callable[[Config, ImageSet, torch.device], tuple[Trainer, dict[str, Any]]],
) -> int:
    """A family's whole program: what the arguments say is checked, and then done by :func:`train.run.session.train`."""
    # A run that is resumed has its networks already, and does not need those that it began with.
    source = None if option_value(args, "--resume") else option_value(args, "--init-from")
    origin = open_origin(Path(source), family, type(next(iter(presets.values())))) if source else None
    inherited = origin.sizes if origin else {}
    config, run = parse_command_line(presets, args, prog=program, description=description, inherited=inherited)
    if origin:
        config = dataclasses.replace(config, init_from=str(origin.path)).begun_at(origin.reached)
    schedule = schedule_of(config)
    losses_of(config, class_weight=config.class_weight)  # only to say at once what is wrong with them
    parse_table(config.ema_kimg, float, "ema_kimg")
    name = run_name(config, presets.get(config.preset, config))
    return train(config, run, schedule, program=program, family=family, name=name, build=build, origin=origin)


def fit_minibatch(discriminator: nn.Module, config: GanConfig, images: ImageSet, resolution: int, labels: bool) -> None:
    """Scales D's minibatch discrimination, if it has one, to some real images, with their labels if D takes labels.

    Raises:
        UsageError: if these are all alike, so that no scale parts them.
    """
    if not config.minibatch_discrimination:
        return
    random = torch.Generator().manual_seed(stream_seed(config.seed, "kernels"))
    some = torch.randperm(len(images), generator=random)[:FIRST_IMAGES]
    device = next(discriminator.parameters()).device
    x = to_float(images.batch(some, resolution)).to(device)
    try:
        discriminator.fit_minibatch(x, images.labels[some].to(device) if labels else None)
    except ValueError as error:
        raise UsageError(f"minibatch_discrimination cannot be scaled to {images.name}: {error}") from None


def new_trainer(
    config: GanConfig,
    game: Game,
    schedule: Schedule,
    images: ImageSet,
    device: torch.device,
    *,
    reset_optimizer: bool = False,
) -> Trainer:
    """What trains a game as the options say; see :class:`train.engine.trainer.Trainer`."""
    for phase in schedule.phases:
        shown = phase.batch * config.d_steps
        values = images.channels * phase.resolution**2 + config.latent  # of an image and its latent, float32
        check_fits(4 * shown * values, device, f"batch={phase.batch} at {phase.resolution}x{phase.resolution}")
    return Trainer(
        game,
        schedule,
        images,
        device=device,
        autocast=Autocast(device, DTYPES[config.precision]),
        ema_kimg=parse_table(config.ema_kimg, float, "ema_kimg"),
        seed=config.seed,
        update=config.update,
        d_steps=config.d_steps,
        ttur=config.ttur,
        instance_noise=config.instance_noise,
        instance_noise_images=1000 * config.instance_noise_kimg or None,
        reset_optimizer=reset_optimizer,
        mirror=config.mirror,
        compile=config.compile,
        cuda_graphs=config.cuda_graphs,
    )
