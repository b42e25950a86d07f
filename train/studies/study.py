"""What all studies share: results that are kept one by one, so that the same command continues, and their tables.

A study is a list of tasks, each of which gives a result. Tasks and results are named tuples of plain values. A study
has a folder to itself, with the options that all its results depend on and a line of JSON for each result.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, BinaryIO, Generic, TypeVar, get_type_hints

from train.base.errors import TrainingError, UsageError
from train.base.files import write_atomically
from train.base.lock import LOCK, locked
from train.base.values import complaint
from train.studies.processes import Stopped, stoppable

CONFIG, RESULTS = "config.json", "results.jsonl"

Task = TypeVar("Task", bound=tuple)
Result = TypeVar("Result", bound=tuple)


class Study(Generic[Task, Result]):
    """What a study has found so far; :func:`opened` makes it.

    Attributes:
        results: by task.
        failures: why tasks have none that were tried this time.
        lock: the folder's, open.
    """

    def __init__(self, folder: Path, lock: BinaryIO, task: type[Task], result: type[Result]) -> None:
        self.folder, self.lock = folder, lock
        self.results: dict[Task, Result] = {}
        self.failures: list[str] = []
        self._path = folder / RESULTS
        whole, newline, half = self._path.read_bytes().rpartition(b"\n") if self._path.exists() else (b"", b"", b"")
        for number, line in enumerate(whole.split(b"\n") if newline else [], 1):
            try:
                self._read(line, task, result)
            except (ValueError, RecursionError) as error:
                raise UsageError(f"{self._path} is damaged in line {number}: {error}") from None
        if half:  # of a study that was killed
            write_atomically(self._path, lambda file: file.write(whole + newline))

    def _read(self, line: bytes, task: type[Task], result: type[Result]) -> None:
        values = json.loads(line)
        kinds = {**get_type_hints(task), **get_type_hints(result)}
        if not isinstance(values, dict) or values.keys() != kinds.keys():
            raise ValueError(f"it has not the values {', '.join(kinds)}")
        for name, kind in kinds.items():
            if wrong := complaint(values[name], kind):
                raise ValueError(f"{name}={values[name]!r} {wrong}")
        key, found = (kind(**{name: values[name] for name in kind._fields}) for kind in (task, result))
        self.results[key] = found

    def add(self, task: Task, result: Result) -> None:
        """Keeps a result."""
        with open(self._path, "a") as file:
            file.write(json.dumps({**task._asdict(), **result._asdict()}) + "\n")
        self.results[task] = result

    def found(self, tasks: Iterable[Task]) -> dict[Task, Result]:
        """The results of those of the tasks that have one, in their order."""
        return {task: self.results[task] for task in tasks if task in self.results}

    def complete(
        self,
        tasks: Sequence[Task],
        train: Callable[[Sequence[Task]], Iterator[tuple[int, Result | Exception]]],
        told: Callable[[Task, Result], str],
        is_whole: Callable[[Task], bool] = lambda task: True,
    ) -> int:
        """Trains those of the tasks that have no result, and keeps what comes.

        Args:
            train: gives indices of the tasks that it is given, with their results or with errors, as they end.
            told: what a line of progress says of a result.
            is_whole: whether what a task leaves beside its result is still there.

        Returns:
            0, or 128 plus the number of the signal that stopped it.
        """
        missing = [task for task in tasks if task not in self.results or not is_whole(task)]
        for task in missing:
            self.results.pop(task, None)
        done = len(tasks) - len(missing)
        _say(f"{done} of {len(tasks)} results are already done")
        try:
            with stoppable():
                for index, result in train(missing):
                    task, done = missing[index], done + 1
                    if isinstance(result, Exception):
                        said = f"failed: {result}"
                        self.failures.append(f"{task}: {result}")
                    else:
                        said = told(task, result)
                        self.add(task, result)
                    _say(f"[{done}/{len(tasks)}] {task}: {said}")
        except Stopped as stop:
            _say(f"stopped; the same command continues in {self.folder}")
            return 128 + stop.number
        return 0


@contextlib.contextmanager
def opened(
    folder: Path, options: Mapping[str, Any], task: type[Task], result: type[Result], *, begun: bool = False
) -> Iterator[Study[Task, Result]]:
    """The study in a folder, which is made if it is not there, for this process alone.

    Args:
        options: what all results depend on, as JSON has it. A folder in which nothing has come of them takes others.
        begun: whether something has come of them even if there are no results.

    Raises:
        UsageError: if the folder holds other things, results of other options, or damaged ones, or if another study
            is at work there.
        TrainingError: at the end, if tasks failed.
    """
    config = folder / CONFIG
    if not config.exists() and (folder.is_file() or any(path.name != LOCK for path in folder.glob("*"))):
        raise UsageError(f"--out {folder} is not empty and holds no results of a study: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "study") as lock:
        study = Study(folder, lock, task, result)
        if config.exists() and (changed := _changed(config, options)) and (begun or study.results):
            raise UsageError(f"{folder} holds results with {changed}: choose another --out")
        write_atomically(config, lambda file: file.write(json.dumps(options, indent=2).encode() + b"\n"))
        yield study
    if study.failures:
        count = f"{len(study.failures)} training{'s' if len(study.failures) > 1 else ''} failed"
        raise TrainingError(f"{count} (the same command tries again): {'; '.join(study.failures)}")


def _changed(config: Path, options: Mapping[str, Any]) -> str:
    """``"lr=0.1, not lr=0.2"`` for the first option that is not the one in the file, or nothing; UsageError if that is
    damaged."""
    try:
        theirs, ours = json.loads(config.read_text()), json.loads(json.dumps(options))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{config} is damaged: {error}") from None
    if not isinstance(theirs, dict):
        raise UsageError(f"{config} is damaged: it is not an object that holds options")

    for name in {**ours, **theirs}:
        was, now = (f"{name}={of[name]!r}" if name in of else f"no {name}" for of in (theirs, ours))
        if was != now:
            return f"{was}, not {now}"
    return ""


def chosen(only: str, names: Collection[str]) -> list[str]:
    """Those of ``names`` that the option ``only`` lists, separated by semicolons, in their order; all if it is empty.
    UsageError for an unknown one."""
    wanted = [name.strip() for name in only.split(";") if name.strip()]
    if unknown := [name for name in wanted if name not in names]:
        raise UsageError(f"only: {unknown[0]!r} is not one of {'; '.join(names)}")
    return [name for name in names if not wanted or name in wanted]


def page_file(page: Path | None, default: Path) -> Path:
    """The file that the option ``page`` names; UsageError if it is none of Markdown."""
    text = page or default
    if text.suffix != ".md" or text.is_dir():
        raise UsageError(f"page={text} is not a Markdown file's name, such as {default.name}")
    return text


def command_of(prog: str, options: Any, *names: str) -> list[str]:
    """The words that start a program with those of its options that have another value than unless told."""
    changed = {name: value for name in names if (value := getattr(options, name)) != getattr(type(options), name)}
    return [*prog.split(), *(word for name, value in changed.items() for word in (f"--{name}", f"{value:.9g}"))]


def table(rows: Sequence[Sequence[str]], names: int = 1, remarks: int = 0) -> str:
    """Rows of cells, the heading first, as Markdown aligned for people; the first ``names`` and the last ``remarks``
    columns are text."""
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    texts = [i < names or i >= len(widths) - remarks for i in range(len(widths))]

    def line(cells: Sequence[str]) -> str:
        sized = zip(cells, widths, texts, strict=True)
        padded = [cell.ljust(width) if text else cell.rjust(width) for cell, width, text in sized]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * width if text else "-" * (width - 1) + ":" for width, text in zip(widths, texts, strict=True)]
    return "\n".join([line(rows[0]), line(rule), *map(line, rows[1:])])


def spread(values: Sequence[float], places: int) -> str:
    """A cell: mean ± sample deviation, the value itself if there is only one, a dash if there is none."""
    if not values:
        return "–"
    deviation = f" ± {stdev(values):.{places}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{places}f}{deviation}"


def flags(options: Mapping[str, Any]) -> list[str]:
    """Options as a command line has them."""
    words = []
    for name, value in options.items():
        option = name.replace("_", "-")
        words += [f"--{'' if value else 'no-'}{option}"] if isinstance(value, bool) else [f"--{option}", str(value)]
    return words


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
