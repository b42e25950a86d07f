"""From parsed options to a finished run: what the programs of all systems share."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from train.base import processes
from train.base.device import describe, resolve_device, resolve_precision, set_determinism
from train.base.errors import UsageError, listed
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

SHOWN = 40  # names of classes in the log


def train_as_told(system: System, args: Sequence[str] | None = None) -> int:
    """A system's whole program: what the arguments (None: the command line's) say is checked, and then done; returns
    the exit code. Under torchrun, in all processes together.

    Raises:
        UsageError, DataError: what the user can mend, another training in the folder included; exit code 2.
        TrainingError, OSError: what failed on the way; exit code 1.
        OtherFailed: one of these in another process.
    """
    with processes.joined(), contextlib.ExitStack() as held:
        with processes.agreeing():
            started = _start(system, sys.argv[1:] if args is None else args, held)
        if started is None:
            return 0
        loop, notes = started
        return loop.run(*notes)


def _start(system: System, args: Sequence[str], held: contextlib.ExitStack) -> tuple[Loop, list[str]] | None:
    """What runs, and what it says first; None where the arguments ask for no run. ``held`` gets the folder's lock."""
    # A run that is resumed has its networks already, and does not need those that it began with.
    source = None if option_value(args, "--resume") else option_value(args, "--init-from")
    origin = open_origin(Path(source), system) if source else None
    inherited = {**system.options.BEGUN, **origin.sizes} if origin else None
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
        return None

    processes.check_same({**to_dict(config), "device": device.type, "resume": str(run.resume)})
    first = processes.is_first()
    if run.resume:
        folder = run.resume if run.resume.is_dir() else run.resume.parent
        if first:
            held.enter_context(locked(folder, "training"))
    saved = _checkpoint(run.resume) if run.resume else None
    lists = training_images(config)
    processes.check_same({f"number of images in {config.lists()[n]}": len(images) for n, images in lists.items()})
    notes = [describe(device)]
    if run.resume:
        notes += changed_images(folder, config, lists, system.program)
    set_determinism(config.deterministic)
    trainer, generator_options = system.build(config, lists, device)
    origins = take_over(trainer, origin) if origin else []
    view = system.view(sampler=trainer.game.sampler)
    evaluate, left_out = None, []
    if config.metrics:
        sampler = trainer.averages.get(trainer.game.sampler)
        classes = 0 if sampler is None or view.takes else sampler.num_classes
        evaluate, left_out = follow(config, lists, view, device, classes)
    if not run.resume:
        name = run_name(config, system.presets.get(config.preset, config))
        folder = processes.from_first(lambda: new_folder(run.out, name))
        if first:
            held.enter_context(locked(folder, "training"))
    loop = Loop(
        trainer,
        lists,
        folder,
        cadence,
        views=system.views_of_images,
        evaluate=evaluate,
        description={
            "system": system.name,
            "config": to_dict(config),
            "generator_options": generator_options,
            "class_names": list(lists[view.like].class_names),
        },
        fixed=system.options.FIXED,
        seed=config.seed,
        tensorboard=config.tensorboard,
    )
    for name, images in lists.items():
        which = f"{name}: " if len(lists) > 1 else ""
        notes += [f"{which}{len(images)} images of {images.name} for {folder}"]
        notes += [f"{which}labels: {images.describe_labels()}"]
        if images.class_names:
            notes += [f"{which}classes: {listed(images.class_names, SHOWN)}"]
    notes += [*left_out, *origins]
    if saved:
        path, state, warnings = saved
        loop.restore(path, state)
        notes += [f"warning: {warning}" for warning in warnings]
        if first:
            notes += [f"set aside: {aside}" for aside in checkpoint.clear_after(path)]
        notes.append(f"resumed from {path} at {trainer.images / 1000:g} kimg")
        notes += checkpoint.other_processes(state)
    last = schedule.phases[-1].resolution
    if last < config.resolution:
        notes.append(f"the run ends at {last}x{last}: a larger --kimg takes it further")
    if first:
        # The first file of a run: whoever finds others alone cannot tell whose they are.
        write_config(folder, config, system.program)
        if not run.resume:
            image_names.write(folder, own_files(config, lists))
    return loop, notes


def _checkpoint(source: Path) -> tuple[Path, dict[str, Any], list[str]]:
    """As :func:`train.run.checkpoint.find`; the first process chooses, and the others read the same."""
    found = checkpoint.find(source) if processes.is_first() else None
    path, warnings = processes.from_first(lambda: (found[0], found[2]))
    return found or (path, checkpoint.load(path), warnings)
