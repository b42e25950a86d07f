"""What a run leaves in its folder and says on the way."""

import io
import json
import sys
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from train import pggan
from train.base.errors import UsageError, run_program
from train.engine.schedule import Phase, Schedule
from train.measure.pictures import grid
from train.pggan import PRESETS, PgganConfig
from train.run import checkpoint
from train.run.cadence import Cadence, due
from train.run.folder import new_folder, run_name
from train.run.logs import RunLog, duration
from train.run.loop import Loop
from train.run.pace import time_left

from .runs import to_the_end, weights


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A tiny run's folder and what it printed."""
    made = {}

    def make(options):
        if not made:
            folder = tmp_path_factory.mktemp("output") / "run"
            screen = io.StringIO()
            before, sys.stdout = sys.stdout, screen
            try:
                assert pggan.main(options(out=folder, tensorboard=True)) == 0
            finally:
                sys.stdout = before
            made.update(folder=folder, printed=screen.getvalue())
        return made["folder"], made["printed"]

    return make


def test_the_folder_holds_everything(finished, tiny_options):
    folder, _ = finished(tiny_options)
    names = {p.name.split(".")[0] if "tfevents" not in p.name else "events" for p in folder.iterdir()}
    assert {"config", "log", "stats", "reals", "fakes_000000", "events", "checkpoint_000000048"} <= names
    assert not list(folder.glob("*.tmp"))


def test_every_line_of_stats_says_where_training_stands(finished, tiny_options):
    folder, _ = finished(tiny_options)
    lines = [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]
    assert [line["images"] for line in lines] == [8, 16, 24, 32, 40, 48]
    assert [line["resolution"] for line in lines] == [4, 4, 8, 8, 8, 8]
    assert {"d_loss", "g_loss", "skipped", "seconds_per_kimg", "images_per_second", "memory_bytes"} <= lines[0].keys()
    assert all(isinstance(line["d_loss"], float) and line["skipped"] == 0 for line in lines)


def test_the_progress_line_has_what_people_ask_for(finished, tiny_options):
    folder, printed = finished(tiny_options)
    (line,) = [line for line in printed.splitlines() if line.startswith("8x8") and "fade 0.25" in line]
    for part in ("kimg 0.0/0.048", "s/kimg", "img/s", "GB", "left", "D ", "G ", "skipped 0"):
        assert part in line
    assert (folder / "log.txt").read_text() == printed


def test_grids_have_the_size_of_the_last_images_from_the_start(finished, tiny_options):
    folder, _ = finished(tiny_options)
    assert {Image.open(path).size for path in folder.glob("*.png")} == {(3 * 8, 2 * 8)}


@pytest.mark.parametrize(("half_life", "moves"), [("1e9", False), ("0", True)])
def test_fakes_are_drawn_from_the_average_with_the_same_latents_every_time(tiny_options, tmp_path, half_life, moves):
    options = {"resolution": 4, "batch": 100, "kimg": 2, "image_kimg": 1, "checkpoint_kimg": 0, "log_kimg": 0}
    assert pggan.main(tiny_options(out=tmp_path, ema_kimg=half_life, **options)) == 0
    first, second = ((tmp_path / f"fakes_00000{kimg}.png").read_bytes() for kimg in (1, 2))
    assert (first != second) == moves


def test_only_the_newest_checkpoints_stay(finished, tiny_options):
    folder, _ = finished(tiny_options)
    assert [p.name for p in checkpoint.checkpoints(folder)] == ["checkpoint_000000032.pt", "checkpoint_000000048.pt"]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tiny_trainer):
    def trained(seed):
        return weights(to_the_end(tiny_trainer(seed=seed)).game.networks["G"])

    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))


def test_a_folder_with_something_in_it_is_not_overwritten(tmp_path, tiny_options, capsys):
    (tmp_path / "precious").touch()
    assert run_program(lambda: pggan.main(tiny_options(out=tmp_path))) == 2
    assert f"--out {tmp_path} is not empty" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["precious"]


def test_runs_get_fresh_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [str(new_folder(None, "glyphs-32")) for _ in range(2)] == ["runs/glyphs-32-1", "runs/glyphs-32-2"]
    with pytest.raises(UsageError):
        (tmp_path / "file").touch()
        new_folder(tmp_path / "file", "x")


def test_a_run_is_named_after_its_preset_or_its_data():
    assert run_name(PgganConfig(), PRESETS["glyphs"]) == "glyphs-32"
    assert run_name(PgganConfig(data="pictures/cats.zip", resolution=64), PRESETS["glyphs"]) == "cats-64"


def test_without_tensorboard_one_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    screen = io.StringIO()
    RunLog(tmp_path, screen=screen).close()
    (line,) = screen.getvalue().splitlines()
    assert "TensorBoard is not installed" in line


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_progress_replaces_itself_and_the_file_keeps_all(tmp_path):
    screen = Terminal()
    log = RunLog(tmp_path, tensorboard=False, screen=screen)
    log.progress("one")
    log.progress("two")
    log.line("note")
    log.close()
    assert screen.getvalue() == "\r\x1b[Kone\r\x1b[Ktwo\r\x1b[Knote\n"
    assert (tmp_path / "log.txt").read_text() == "one\ntwo\nnote\n"


def test_a_step_that_passes_a_multiple_is_due():
    assert [due({4: 1.0}, before, before + 300, 4) for before in (0, 600, 700, 900, 1000)] == [0, 0, 1, 1, 0]
    assert not due({4: 0.0}, 0, 10**6, 4)


def test_time_left_counts_coming_resolutions_at_the_growth_seen_so_far():
    def phase(resolution, start):
        return Phase(resolution, False, start, start + 100, 100, 4, 4, 0.001)

    schedule = Schedule((phase(4, 0), phase(8, 100), phase(16, 200), phase(32, 300)))
    assert time_left(schedule, 50, {4: 1.0}) == 50 + 200 + 400 + 800
    assert time_left(schedule, 150, {4: 1.0, 8: 3.0}) == 50 * 3 + 900 + 2700
    assert time_left(schedule, 400, {4: 1.0, 8: 3.0, 16: 6.0, 32: 9.0}) == 0


def test_compiling_does_not_count_as_the_speed_of_training(
    tiny_trainer, tiny_config, tiny_images, tmp_path, monkeypatch
):
    now = [0.0]
    for module in ("loop", "pace"):
        monkeypatch.setattr(f"train.run.{module}.time", SimpleNamespace(perf_counter=lambda: now[0]))
    trainer = tiny_trainer()
    step = trainer.step

    def slow_step():
        if trainer.images == 0:
            now[0] += 1000
            trainer.say("compiled")
        now[0] += 1  # four images a second
        return step()

    monkeypatch.setattr(trainer, "step", slow_step)
    Loop(trainer, {"images": tiny_images}, tmp_path, Cadence.of(tiny_config()), description={}, tensorboard=False).run()
    lines = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert {line["images_per_second"] for line in lines} == {4.0}


def test_durations_for_people():
    assert [duration(s) for s in (5, 65, 3725, 100000)] == ["0m 05s", "1m 05s", "1h 02m", "1d 03h"]


def test_a_grid_repeats_pixels_and_fills_up_with_black():
    images = torch.arange(1, 4, dtype=torch.uint8).view(3, 1, 1, 1)
    assert grid(images, columns=2, size=2)[0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 0, 0], [3, 3, 0, 0]]
