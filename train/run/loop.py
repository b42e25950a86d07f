"""Runs a trainer to the end of its schedule: progress, statistics, grids, checkpoints, and stopping in good order."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

from train.base import processes
from train.base.errors import TrainingError
from train.base.interrupt import StopSignals
from train.data import ImageSet
from train.engine.schedule import Position
from train.engine.trainer import Trainer
from train.measure.metric_names import is_lower_better
from train.measure.pictures import save_png
from train.run import checkpoint
from train.run.cadence import Cadence, due
from train.run.divergence import divergence, streak
from train.run.grids import real_grid, sample_grid
from train.run.logs import STATS, NoLog, RunLog, duration, peak_memory
from train.run.pace import Pace, time_left
from train.run.system import Networks, View


@dataclass
class Loop:
    """One run in its folder, to which the first process alone writes."""

    trainer: Trainer
    lists: Mapping[str, ImageSet]  # what it learns from, for the grids
    folder: Path  # the run's, which exists
    cadence: Cadence
    _: KW_ONLY
    description: Mapping[str, Any]  # plain types that go into every checkpoint: what is needed to rebuild the networks
    views: Mapping[str, View] = field(default_factory=dict)  # what it makes of images, for the grids
    evaluate: Callable[[Networks], dict[str, Any]] | None = None  # measures the averaged networks
    fixed: Sequence[str] = ()  # options that a resumed run must keep
    seed: int = 0  # of the grids
    tensorboard: bool = True

    def __post_init__(self) -> None:
        self._best: dict[str, Any] | None = None
        self._seconds = 0.0
        self._pace = Pace()
        self._sizes: dict[str, int] | None = None
        self._last_saved = -1

    def restore(self, path: Path, state: Mapping[str, Any]) -> None:
        """Takes over what :func:`train.run.checkpoint.load` read; raises as its ``check_continues`` does."""
        with checkpoint.reading(path):
            checkpoint.check_continues(state, path, self.trainer, self.description, self.fixed)
            self.trainer.load_state_dict(state["trainer"])
            self._seconds = float(state["seconds"])
            self._pace.rates = {int(resolution): float(rate) for resolution, rate in state["rates"].items()}
            self._sizes = {str(name): int(size) for name, size in state["log_sizes"].items()}
            kinds = {"metric": str, "value": float, "images": int}
            best = state.get("best")
            self._best = best and {name: kind(best[name]) for name, kind in kinds.items()}
            self._last_saved = self.trainer.images

    def run(self, *notes: str) -> int:
        """Trains to the end and returns 0, or to a signal and returns 128 plus its number.

        ``notes`` are said first. A resumed run's logs are cut back to its checkpoint. One that was at its end already
        is evaluated if it is to be and has not been.

        Raises:
            TrainingError: when training has diverged; the checkpoints from before that stay.
            OSError: when something cannot be written; the checkpoints written before stay.
        """
        trainer = self.trainer
        purge = None if self._sizes is None else trainer.images
        first = processes.is_first()
        self._log, trainer.say = NoLog(), self._say
        try:
            with processes.agreeing():
                if first:
                    self._log = RunLog(self.folder, sizes=self._sizes, purge_step=purge, tensorboard=self.tensorboard)
                for note in notes:
                    self._log.line(note)
                if first and not (self.folder / "reals.png").exists():
                    save_png(self.folder / "reals.png", real_grid(self.lists, self.cadence, self.seed))
            return self._train()
        finally:
            self._log.close()

    def _train(self) -> int:
        trainer, cadence = self.trainer, self.cadence
        self._pace.restart(trainer.images)
        if trainer.done and self.evaluate and not self._is_evaluated():  # it failed, or was not asked for then
            self._last_saved = -1  # the checkpoint is to hold what comes of it
            self._evaluate()
            self._save()
            return 0
        if trainer.done:
            self._log.line(f"nothing left to do after {trainer.images / 1000:g} kimg: give a larger --kimg to continue")
            return 0
        start = time.perf_counter() - self._seconds
        position, owed = trainer.position, False
        with StopSignals() as stop:
            while not trainer.done and (stopped := stop.agreed()) is None:
                if trainer.position.resolution != position.resolution:
                    self._pace.restart(trainer.images)  # else its speed is a mixture
                before = trainer.images
                position = trainer.step()
                step = before, trainer.images, position.resolution
                self._seconds = time.perf_counter() - start
                if due(cadence.log, *step) or trainer.done:
                    self._tick(position)
                if due(cadence.image, *step) or trainer.done:
                    self._save_grid()
                if self.evaluate and (due(cadence.metrics, *step) or trainer.done):
                    try:
                        self._evaluate()
                    except processes.ProcessLost:
                        raise
                    except Exception:
                        self._save()  # what was trained is not lost with the measurement
                        raise
                owed = owed or due(cadence.checkpoint, *step)
                if trainer.done or (owed and self._settled()):
                    self._save()
                    owed = False
            if not trainer.done:
                self._save()
        if trainer.done:
            self._log.line(f"done: {trainer.images / 1000:g} kimg in {duration(self._seconds)}, in {self.folder}")
            return 0
        reason = f"stopped by {signal.Signals(stopped).name} after {trainer.images / 1000:g} kimg"
        self._log.line(f"{reason}; to continue: {checkpoint.resuming(self.description, self.folder)}")
        return 128 + stopped

    def _say(self, line: str) -> None:
        self._log.line(line)
        self._pace.restart(self.trainer.images)  # compiling is not the speed of training

    def _tick(self, position: Position) -> None:
        """Reads the meters and says how training goes."""
        trainer = self.trainer
        values = trainer.measurements()  # waits for the device
        skipped, in_a_row = trainer.skipped()
        per_image = self._pace.measure(trainer.images, position.resolution)
        left = time_left(trainer.schedule, trainer.images, self._pace.rates)
        memory = peak_memory(trainer.device)

        named = {name.removesuffix("_loss").upper(): loss for name, loss in values.items() if name.endswith("_loss")}
        losses = "  ".join(f"{move} {loss:.3f}" for move, loss in named.items())
        kimg, total = trainer.images / 1000, trainer.schedule.total / 1000
        with processes.agreeing():
            self._log.progress(
                f"{position.resolution}x{position.resolution}  fade {position.fade:.2f}  kimg {kimg:.1f}/{total:g}"
                f"  {1000 * per_image:.2f} s/kimg  {1 / per_image:.0f} img/s  {memory / 2**30:.2f} GB"
                f"  left {duration(left)}  {losses}  skipped {skipped}"
            )
            self._log.stats(
                trainer.images,
                {
                    "kimg": kimg,
                    "step": trainer.steps,
                    "resolution": position.resolution,
                    "fade": position.fade,
                    "batch": position.batch,
                    "lr": position.lr,
                    # JSON has no NaN.
                    **{name: value if value == value else None for name, value in values.items()},
                    "skipped": skipped,
                    "seconds": self._seconds,
                    "seconds_per_kimg": 1000 * per_image,
                    "images_per_second": 1 / per_image,
                    "memory_bytes": memory,
                    "seconds_left": left,
                },
            )
        if in_a_row:
            self._settled()

    def _settled(self) -> bool:
        """Whether the last update was not skipped: else the run may be diverging, and no checkpoint is worth keeping.

        Raises:
            TrainingError: where it has diverged.
        """
        if not self.trainer.skipped()[1]:
            return True
        self._check(self.trainer.state_dict())
        return False

    def _check(self, state: Mapping[str, Any]) -> None:
        """TrainingError where the trainer's state has diverged, with the command that goes on from before that."""
        with processes.agreeing():  # they all see the same, and the first says it
            self._check_alone(state)

    def _check_alone(self, state: Mapping[str, Any]) -> None:
        if not (why := divergence(state)):
            return
        kimg, lr = self.trainer.images / 1000, self.trainer.position.lr
        healthy = checkpoint.newest_healthy(self.folder)
        advice = "no checkpoint is from before that: start again with a lower --lr"
        if healthy:
            path, earlier = healthy
            lower = earlier if earlier != self.description["config"]["lr"] else f"{lr / 2:g}"
            command = f"{checkpoint.resuming(self.description, path)} --lr {lower}"
            advice = f"to continue from before that with another learning rate: {command}"
        raise TrainingError(f"training has diverged at {kimg:g} kimg (lr={lr:g}): {why}; {advice}")

    def _save_grid(self) -> None:
        """As :func:`train.run.grids.sample_grid`, of the same inputs every time."""
        self.trainer.average_statistics()
        with processes.agreeing():
            if processes.is_first():
                picture = sample_grid(self.trainer, self.lists, self.views, self.cadence, self.seed)
                save_png(self.folder / f"fakes_{self.trainer.images // 1000:06d}.png", picture)
                self._log.image("fakes", picture, self.trainer.images)

    def _evaluate(self) -> None:
        """Measures the averaged networks; if they are the best so far, their checkpoint is written and stays."""
        start = time.perf_counter()
        images = self.trainer.images
        self.trainer.average_statistics()
        with processes.agreeing():
            evaluation = self.evaluate(self.trainer.averages)
            values = evaluation.pop("metrics")
            finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
            self._log.stats(images, {"kimg": images / 1000, **finite, "evaluation": evaluation})
            shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
            self._log.line(f"metrics  kimg {images / 1000:.1f}  {shown}  in {time.perf_counter() - start:.0f} s")
        leading, value = next(iter(values.items()))
        if math.isfinite(value) and self._is_best(leading, value) and self._settled():
            self._best = {"metric": leading, "value": value, "images": images}
            self._save()
        self._pace.leave_out(time.perf_counter() - start)  # the next line's speed is that of training
        if self.trainer.done and self._best:
            metric, best, at = self._best.values()
            where = f"at {at / 1000:g} kimg, in {checkpoint.path_for(self.folder, at).name}"
            self._log.line(f"best {metric} {best:.4g} {where}; last {values.get(metric, math.nan):.4g}")

    def _is_evaluated(self) -> bool:
        """Whether the statistics hold an evaluation of this moment."""

        def found() -> bool:
            lines = map(json.loads, (self.folder / STATS).read_text().splitlines())
            return any("evaluation" in line and line["images"] == self.trainer.images for line in lines)

        with processes.agreeing():
            return processes.from_first(found)

    def _is_best(self, metric: str, value: float) -> bool:
        if not self._best or self._best["metric"] != metric:
            return True
        return value < self._best["value"] if is_lower_better(metric) else value > self._best["value"]

    def _save(self) -> None:
        """Writes a checkpoint, unless this moment has one; TrainingError instead where training has diverged."""
        if self.trainer.images == self._last_saved:
            return
        trainer = self.trainer.state_dict()
        self._check(trainer)
        with processes.agreeing():
            if processes.is_first():
                self._write(trainer)
        self._last_saved = self.trainer.images

    def _write(self, trainer: Mapping[str, Any]) -> None:
        """Writes the checkpoint of a trainer's state, and removes older ones."""
        state = {
            **self.description,
            "sampler": self.trainer.game.sampler,
            "trainer": trainer,
            "seconds": self._seconds,
            "rates": dict(self._pace.rates),
            "log_sizes": self._log.sizes(),
            "best": self._best,
        }
        checkpoint.save(checkpoint.path_for(self.folder, self.trainer.images), state)
        if not streak(trainer):  # else the run may be diverging, and needs the older ones
            best = self._best and checkpoint.path_for(self.folder, self._best["images"])
            checkpoint.prune(self.folder, self.cadence.keep, spare=best)
