"""From a command line, options and networks to what trains them: the same for all network families."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch

from train.config import parse_command_line
from train.data import ImageSet
from train.folder import run_name
from train.gan_config import GanConfig
from train.precision import DTYPES, Autocast
from train.schedule import Schedule, parse_table
from train.session import train
from train.techniques import losses_of
from train.trainer import Game, Trainer

Config = TypeVar("Config", bound=GanConfig)


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
    """A family's whole program: what the arguments say is checked, and then done by :func:`train.session.train`."""
    config, run = parse_command_line(presets, args, prog=program, description=description)
    schedule = schedule_of(config)
    losses_of(config)  # only to say at once what is wrong with them
    parse_table(config.ema_kimg, float, "ema_kimg")
    name = run_name(config, presets.get(config.preset, config))
    return train(config, run, schedule, program=program, family=family, name=name, build=build)


def new_trainer(
    config: GanConfig,
    game: Game,
    schedule: Schedule,
    images: ImageSet,
    device: torch.device,
    *,
    reset_optimizer: bool = False,
) -> Trainer:
    """What trains a game as the options say; see :class:`train.trainer.Trainer`."""
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
        instance_noise_images=max(1, round(1000 * config.instance_noise_kimg or schedule.total)),
        reset_optimizer=reset_optimizer,
        mirror=config.mirror,
        compile=config.compile,
        cuda_graphs=config.cuda_graphs,
    )
