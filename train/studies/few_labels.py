"""``python -m train.studies.few_labels``: classifiers from few labels and many images (Salimans et al. 2016, §5)."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train.base.capacity import check_fits
from train.base.device import resolve_device
from train.base.errors import TrainingError, run_program
from train.base.files import write_atomically
from train.base.seeds import stream_seed
from train.data.few_labels import SemiData, balanced_labels, load_semi_data
from train.run.folder import RUNS
from train.studies.baselines import label_spreading, logistic_regression, require_sklearn
from train.studies.few_labels_options import NETWORKS, SemiOptions, parse_command_line
from train.studies.few_labels_results import Result, Results, Task, opened, summary, table
from train.studies.few_labels_training import as_input, probabilities, train_classifier
from train.studies.processes import in_processes

PROG = "python -m train.studies.few_labels"
BASELINES = {"label-spreading": label_spreading, "logistic-regression": logistic_regression}


def tasks_of(options: SemiOptions) -> list[Task]:
    """All that the options ask for; an ensemble's further members come last."""
    seeds = range(options.seed, options.seed + options.repeats)
    methods = ["gan", *(["supervised", *BASELINES] if options.baselines else [])]
    tasks = [Task(method, labels, seed) for seed in seeds for labels in options.labels for method in methods]
    members = range(1, options.ensemble)
    return tasks + [
        Task("gan", labels, seed, member) for seed in seeds for member in members for labels in options.labels
    ]


def perform(task: Task, options: SemiOptions, data: SemiData, results: Results, progress: bool) -> Result:
    """Trains and tests. Networks leave their probabilities in the results' folder."""
    start = time.perf_counter()
    labelled = balanced_labels(data.pool_labels, task.labels, data.num_classes, task.seed)
    if task.method in BASELINES:
        tested, pool = BASELINES[task.method](data, labelled)
    else:
        tested, pool = _by_network(task, options, data, labelled, results.probabilities_file(task), progress)
    wrong = int((tested != data.test_labels).sum())
    unlabelled = torch.ones(len(data.pool), dtype=torch.bool)
    unlabelled[labelled] = False
    missed = (pool != data.pool_labels)[unlabelled]
    pool_error = float(missed.float().mean()) if len(missed) else None
    seconds = round(time.perf_counter() - start, 2)
    return Result(*task, wrong, len(tested), wrong / len(tested), pool_error, seconds)


def _by_network(
    task: Task, options: SemiOptions, data: SemiData, labelled: Tensor, file: Path, progress: bool
) -> tuple[Tensor, Tensor]:
    """Classes of the test images and of the pool [N]."""
    networks = NETWORKS[options.preset]
    network = train_classifier(
        options,
        networks,
        data,
        labelled,
        # The same start with and without adversary, but for what is fitted on the images that the network sees (the
        # pool, or the labelled ones alone): hidden layers' scales, which stay, and biases. With the adversarial loss
        # the GAN has minibatch discrimination besides.
        stream_seed(task.seed, "network", task.member),
        adversary=task.method == "gan",
        device=resolve_device(options.device),
        progress=str(task) if progress else None,
    )
    tested, pool = (probabilities(network, as_input(part, networks), options.batch) for part in (data.test, data.pool))
    if not (tested.isfinite().all() and pool.isfinite().all()):
        raise TrainingError(f"{task}: the network diverged, its probabilities are not finite")
    write_atomically(file, lambda out: np.save(out, tested.numpy()))
    return tested.argmax(1), pool.argmax(1)


def perform_all(tasks: list[Task], options: SemiOptions, data: SemiData, results: Results) -> Iterator[Result]:
    """Results as they come, of ``options.jobs`` tasks at a time."""
    if options.jobs == 1 or len(tasks) < 2:
        for task in tasks:
            yield perform(task, options, data, results, progress=True)
        return
    jobs = min(options.jobs, len(tasks))
    threads = max(1, torch.get_num_threads() // jobs)
    given = (threads, options, data, results)
    for _, result in in_processes(jobs, _perform_here, [(task,) for task in tasks], prepare=_prepare, given=given):
        yield result


_here: tuple[SemiOptions, SemiData, Results]  # in a process of several


def _prepare(threads: int, *here: object) -> None:
    global _here
    torch.set_num_threads(threads)
    _here = here


def _perform_here(task: Task) -> Result:
    return perform(task, *_here, progress=False)


def main(args: Sequence[str] | None = None) -> int:
    options = parse_command_line(list(sys.argv[1:] if args is None else args), PROG)
    device = resolve_device(options.device)
    if options.baselines:
        require_sklearn()
    data = load_semi_data(options.preset, options.data_root, options.download)
    images = 3 * options.batch * data.pool[0].numel()  # of a step, float32
    check_fits(4 * images, device, f"batch={options.batch}")
    for labels in options.labels:
        balanced_labels(data.pool_labels, labels, data.num_classes, options.seed)  # only to say at once what is wrong
    with opened(options.out or RUNS / f"semi_supervised-{options.preset}", options) as results:
        return _complete(results, options, data)


def _complete(results: Results, options: SemiOptions, data: SemiData) -> int:
    tasks = tasks_of(options)
    shape = len(data.test), data.num_classes
    rest = [task for task in tasks if not results.is_finished(task, shape)]
    done = len(tasks) - len(rest)
    counts = f"{len(data.pool)} training images, {len(data.test)} test images"
    _say(f"{counts}; {done} of {len(tasks)} results are already done")
    try:
        for result in perform_all(rest, options, data, results):
            results.add(result)
            done += 1
            _say(f"[{done}/{len(tasks)}] {result.task}: error {result.error:.2%}, {result.seconds:.1f} s")
    except KeyboardInterrupt:
        _say("interrupted: the same command continues from here")
        return 130
    every = [results.finished[task] for task in tasks]
    if options.ensemble:
        every += [
            results.ensemble(task, options.ensemble, data.test_labels)
            for task in tasks
            if task.method == "gan" and task.member == 0
        ]
    print(json.dumps(_as_json(options, data, every), indent=2) if options.json else table(every, options.ensemble))
    return 0


def _as_json(options: SemiOptions, data: SemiData, results: list[Result]) -> dict[str, Any]:
    """Every error, and what the table says."""
    return {
        "options": options.what_results_depend_on(),
        "pool": len(data.pool),
        "test": len(data.test),
        "torch": torch.__version__,
        "ensemble": options.ensemble,
        "results": [asdict(result) for result in results],
        "summary": summary(results),
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(run_program(main))
