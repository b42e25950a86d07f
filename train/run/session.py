"""From parsed options to a finished run: what the programs of all systems share."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from train.base.device import describe, resolve_device, resolve_precision, set_determinism
from train.base.errors import UsageError
from train.base.lock import locked
from train.base.memory import keep_freed_memory
from train.measure.metric_names import parse_metrics
from train.run import checkpoint, image_names
from train.run.cadence import Cadence
from train.run.folder import new_folder, run_name, write_config
from train.run.init_from import open_origin, take_over
from train.run.lists import changed_images, own_files, training_images
from train.run.loop import Loop
from train.run.measuring import follow
from train.run.options import option_value, parse_command_line, to_dict
from train.run.system import System


def train_as_told(system: System, args: Sequence[str] | None = None) -> int:
    """A system's whole program: what the arguments (None: the command line's) say is checked, and then done; returns
    the exit code.

    Raises:
        UsageError, DataError: what the user can mend, another training in the folder included; exit code 2.
        TrainingError, OSError: what failed on the way; exit code 1.
    """
    args = sys.argv[1:] if args is None else args
    # A run that is resumed has its networks already, and does not need those that it began with.
    source = None if option_value(args, "--resume") else option_value(args, "--init-from")
    origin = open_origin(Path(source), system) if source else None
    inherited = origin.sizes if origin else None
    config, run = parse_command_line(
        system.presets, args, prog=system.program, description=system.about, inherited=inherited
    )
    if origin:
        config = dataclasses.replace(config, init_from=str(origin.path)).begun_at(origin.reached)
    schedule = config.schedule()  # checks the options before anything is loaded or written
    cadence, device = Cadence.of(config), resolve_device(config.device)
    if config.cuda_graphs == "on" and device.type != "cuda":
        raise UsageError(f"cuda_graphs='on' needs a GPU, and the device is {device}")
    parse_metrics(config.metrics)  # only to say at once what is wrong with them
    config = dataclasses.replace(config, precision=resolve_precision(config.precision, device))
    if device.type == "cpu":
        keep_freed_memory()
    if run.dry_run:
        print(json.dumps(to_dict(config), indent=2))
        print(schedule.table())
        return 0

    with contextlib.ExitStack() as held:
        if run.resume:
            folder = run.resume if run.resume.is_dir() else run.resume.parent
            held.enter_context(locked(folder, "training"))
        saved = checkpoint.find(run.resume) if run.resume else None
        lists = training_images(config)
        notes = [describe(device)]
        if run.resume:
            notes += changed_images(folder, config, lists, system.program)
        set_determinism(config.deterministic)
        trainer, generator_options = system.build(config, lists, device)
        origins = take_over(trainer, origin) if origin else []
        view = system.view(sampler=trainer.game.sampler)
        evaluate, left_out = follow(config, lists, view, device) if config.metrics else (None, [])
        if not run.resume:
            folder = new_folder(run.out, run_name(config, system.presets.get(config.preset, config)))
            held.enter_context(locked(folder, "training"))
        loop = Loop(
            trainer,
            lists,
            folder,
            cadence,
            views=system.views,
            evaluate=evaluate,
            description={"system": system.name, "config": to_dict(config), "generator_options": generator_options},
            fixed=system.options.FIXED,
            seed=config.seed,
            tensorboard=config.tensorboard,
        )
        for name, images in lists.items():
            which = f"{name}: " if len(lists) > 1 else ""
            notes += [f"{which}{len(images)} images of {images.name} for {folder}"]
            notes += [f"{which}labels: {images.describe_labels()}"]
        notes += [*left_out, *origins]
        if saved:
            path, state, warnings = saved
            loop.restore(path, state)
            notes += [f"warning: {warning}" for warning in warnings]
            notes += [f"set aside: {aside}" for aside in checkpoint.clear_after(path)]
            notes.append(f"resumed from {path} at {trainer.images / 1000:g} kimg")
        last = schedule.phases[-1].resolution
        if last < config.resolution:
            notes.append(f"the run ends at {last}x{last}: a larger --kimg takes it further")
        # The first file of a run: whoever finds others alone cannot tell whose they are.
        write_config(folder, config, system.program)
        if not run.resume:
            image_names.write(folder, own_files(config, lists))
        return loop.run(*notes)
