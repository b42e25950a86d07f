"""What all studies share: results that stay, what is trained again and refused, how a study stops, and its table."""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from train.base.errors import TrainingError, UsageError
from train.studies.sheet import FONT_SIZE, GAP, sheet
from train.studies.study import flags, opened, spread, table


class Task(NamedTuple):
    name: str
    seed: int


class Result(NamedTuple):
    error: float | None


TASKS = [Task("a", 0), Task("a", 1), Task("b", 0)]
OPTIONS = {"lr": 0.5, "widths": (3, 2)}
LINES = '{"name": "a", "seed": 0, "error": 0.0}\n{"name": "a", "seed": 1, "error": 1.0}\n'


class Started(NamedTuple):
    code: int
    trained: list[Task]
    results: dict[Task, Result]


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Started]:
    """start() → what a study of three tasks comes to, in tmp_path / "out"; a task's error is its seed."""

    def run(
        train: Callable[[int, Task], Result | Exception] = lambda _, task: Result(float(task.seed)),
        options: dict = OPTIONS,
        begun: bool = False,
        is_whole: Callable[[Task], bool] = lambda task: True,
    ) -> Started:
        trained: list[Task] = []

        def train_all(missing: Sequence[Task]) -> Iterator[tuple[int, Result | Exception]]:
            for index, task in enumerate(missing):
                trained.append(task)
                yield index, train(index, task)

        with opened(tmp_path / "out", options, Task, Result, begun=begun) as study:
            code = study.complete(TASKS, train_all, lambda task, result: f"error {result.error}", is_whole)
        return Started(code, trained, study.results)

    return run


def test_what_is_finished_is_not_done_again(start, capsys) -> None:
    results = {task: Result(float(task.seed)) for task in TASKS}
    assert start() == (0, TASKS, results)
    said = capsys.readouterr().err.splitlines()
    assert (
        said[0] == "0 of 3 results are already done" and said[2].startswith("[2/3] ") and said[2].endswith("error 1.0")
    )
    assert start() == (0, [], results)
    assert capsys.readouterr().err == "3 of 3 results are already done\n"


def test_what_has_lost_something_beside_its_result_is_trained_again(start) -> None:
    start()
    assert start(is_whole=lambda task: task.name != "b").trained == TASKS[2:]


@pytest.mark.parametrize("half", ["", '{"name": "b", "se', '{"name": "b", "seed": 0, "error": 0.0}'])
def test_half_a_line_of_a_killed_study_is_cut_off(start, tmp_path, half) -> None:
    whole = start()
    path = tmp_path / "out" / "results.jsonl"
    text = path.read_text()
    path.write_text(LINES + half)
    assert start() == (0, TASKS[2:], whole.results)
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{}", "it has not the values name, seed, error"),
        ("[]", "it has not the values"),
        ('{"name": "b", "seed": 0, "error": 0.0, "more": 1}', "it has not the values"),
        ('{"name": "b", "seed": [], "error": 0.0}', "seed=[] is not a whole number"),
        ('{"name": "b", "seed": 0, "error": NaN}', "error=nan is not a finite number"),
        ('{"name"', "Expecting"),
        ("", "Expecting value"),
        ("\udcff", "can't decode"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_damaged_line_is_named_and_kept(start, tmp_path, line, reason) -> None:
    start()
    path = tmp_path / "out" / "results.jsonl"
    damaged = f"{LINES}{line}\n{{".encode(errors="surrogateescape")
    path.write_bytes(damaged)
    with pytest.raises(UsageError, match=r"results\.jsonl is damaged in line 3: ") as error:
        start()
    assert reason in str(error.value) and path.read_bytes() == damaged


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({**OPTIONS, "lr": 0.1}, "holds results with lr=0.5, not lr=0.1: choose another --out"),
        ({"lr": 0.5}, "holds results with widths=[3, 2], not no widths"),
        ({**OPTIONS, "noise": 1}, "holds results with no noise, not noise=1"),
    ],
)
def test_results_of_other_options_are_refused(start, options, message) -> None:
    start()
    with pytest.raises(UsageError) as error:
        start(options=options)
    assert message in str(error.value)


def test_options_that_came_to_nothing_do_not_keep_the_folder(start) -> None:
    def diverge(_: int, task: Task) -> Exception:
        return TrainingError("diverged")

    with pytest.raises(TrainingError):
        start(diverge, options={"lr": 9})
    with pytest.raises(UsageError, match="lr=9, not lr=0"):
        start(begun=True)
    assert start().code == 0


@pytest.mark.parametrize("text", ["", "[]", '{"lr": 0.'])
def test_damaged_options_are_named(start, tmp_path, text) -> None:
    start()
    (tmp_path / "out" / "config.json").write_text(text)
    with pytest.raises(UsageError, match=r"config\.json is damaged"):
        start()


def test_a_folder_of_other_things_is_left_alone(start, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="is not empty and holds no results of a study: choose another folder"):
        start()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["letter.txt"]


def test_two_at_work_in_one_folder_are_refused(start, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    with open(tmp_path / "out" / "lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another study is already running in"):
            start()
    assert start().code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_there_is_and_says_how_to_continue(start, tmp_path, capsys, number) -> None:
    def interrupted(index: int, task: Task) -> Result:
        if index == 1:
            os.kill(os.getpid(), number)
        return Result(float(task.seed))

    assert start(interrupted).code == 128 + number
    assert capsys.readouterr().err.splitlines()[-1] == f"stopped; the same command continues in {tmp_path / 'out'}"
    assert start().trained == TASKS[1:]


def test_a_training_that_fails_stops_no_other_and_is_reported_at_the_end(start, capsys) -> None:
    with pytest.raises(TrainingError) as error:
        start(lambda index, task: TrainingError("diverged") if index else Result(0.0))
    named = [f"{task}: diverged" for task in TASKS[1:]]
    assert str(error.value) == f"2 trainings failed (the same command tries again): {'; '.join(named)}"
    assert "failed: diverged" in capsys.readouterr().err
    assert start().trained == TASKS[1:]


def test_a_line_holds_a_task_and_its_result(start, tmp_path) -> None:
    start()
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{**t._asdict(), "error": t.seed} for t in TASKS]


def test_a_table_is_markdown_with_columns_of_one_width() -> None:
    rows = [["technique", "", "error"], ["none", "`--a`", "1.00 ± 0.25"], ["a longer name", "", "–"]]
    assert table(rows, names=2).splitlines() == [
        "| technique     |       |       error |",
        "| ------------- | ----- | ----------: |",
        "| none          | `--a` | 1.00 ± 0.25 |",
        "| a longer name |       |           – |",
    ]
    assert table([["x", "y", "z"], ["a", "1.00", "b"]], remarks=1).splitlines() == [
        "| x   |    y | z   |",
        "| --- | ---: | --- |",
        "| a   | 1.00 | b   |",
    ]


@pytest.mark.parametrize(
    ("values", "cell"), [([1, 2, 3], "2.0 ± 1.0"), ([0.25, 0.75], "0.5 ± 0.4"), ([2], "2.0"), ([], "–")]
)
def test_a_cell_is_a_mean_and_the_deviation_of_a_sample(values, cell) -> None:
    assert spread(values, 1) == cell


def test_options_are_written_as_one_types_them() -> None:
    assert flags({"lr": 0.1, "weight_norm": True, "g_norm": "batch", "labels": False}) == [
        *("--lr", "0.1", "--weight-norm", "--g-norm", "batch", "--no-labels")
    ]


def test_a_sheet_has_each_picture_beside_its_name_and_names_of_columns_above(tmp_path) -> None:
    for name, colour in (("a.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (64, 20), colour).save(tmp_path / name)
    whole = sheet([("a", tmp_path / "a.png"), ("a longer name", tmp_path / "b.png")], ("first", "second"))
    top, left = FONT_SIZE + 2 * GAP, whole.width - 64
    assert whole.height == top + 20 + GAP + 20
    for y, colour in ((top, (255, 0, 0)), (top + 20 + GAP, (0, 0, 255))):
        assert whole.crop((left, y, whole.width, y + 20)).getcolors() == [(64 * 20, colour)]
    for box in ((0, top, left, top + 20), (left, 0, left + 32, top), (left + 32, 0, whole.width, top)):
        assert whole.crop(box).convert("L").getextrema()[0] < 128  # something is written
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"b\.png is damaged"):
        sheet([("b", tmp_path / "b.png")])
