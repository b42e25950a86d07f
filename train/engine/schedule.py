"""Which resolution, fade, batch and learning rate a run uses, as a function of the images shown so far.

A schedule is a list of phases. Progressive growing (Karras et al. 2018, section 2) starts with a phase at the first
resolution; each later resolution has a phase that fades its layers in and one that stabilises them. A network that
does not grow has one phase. Nothing here remembers anything: the count of images alone says where a run stands, so a
resumed run goes on exactly where it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from train.base.errors import UsageError
from train.base.processes import share_named, share_of
from train.base.tables import lookup
from train.base.values import LARGEST, is_power_of_two, wrong_resolution
from train.engine.curve import Cosine


@dataclass(frozen=True)
class Phase:
    """A stretch of the run with one resolution; positions and lengths count images."""

    resolution: int
    fading: bool
    start: int
    end: int
    length: int
    """The planned length, by which the fade runs; ``end`` may cut it short or stretch it."""
    batch: int
    microbatch: int
    """Images of a process's share of the batch that it handles at once."""
    lr: float


@dataclass(frozen=True)
class Position:
    """What one step uses."""

    images: int
    phase: int
    resolution: int
    fade: float
    """Falls from 1, where only the layers of the resolution before are seen, to 0."""
    batch: int
    microbatch: int
    lr: float
    due: frozenset[str] = frozenset()
    """The lazy moves that are made in this step."""


@dataclass(frozen=True)
class Schedule:
    """Phases one after another.

    Attributes:
        lr_ramp: images over which each phase ramps its learning rate up.
        lr_decay: part of the whole run, its last, over which the learning rate falls linearly to 0 (0: it never does).
        lr_curve: what multiplies the learning rate; None for 1.
    """

    phases: tuple[Phase, ...]
    lr_ramp: int = 0
    lr_decay: float = 0.0
    lr_curve: Cosine | None = None

    @property
    def total(self) -> int:
        """Images shown in the whole run."""
        return self.phases[-1].end

    def position(self, images: int) -> Position:
        """Where a run stands that has shown so many images; beyond the end it stays in the last phase."""
        index = next((i for i, phase in enumerate(self.phases) if images < phase.end), len(self.phases) - 1)
        phase = self.phases[index]
        done = images - phase.start
        fade = max(0.0, 1.0 - done / phase.length) if phase.fading else 0.0
        # The ramp is taken at the end of the step: at its start the first step would have no effect at all.
        ramp = min(1.0, (done + phase.batch) / self.lr_ramp) if self.lr_ramp else 1.0
        if decay := self.lr_decay * self.total:
            ramp *= max(0.0, min(1.0, (self.total - images) / decay))
        if self.lr_curve:
            ramp *= self.lr_curve.at(images)
        return Position(images, index, phase.resolution, fade, phase.batch, phase.microbatch, phase.lr * ramp)

    def table(self) -> str:
        """The phases for people to read, one a line."""
        rows = [("phase", "resolution", "", "kimg from", "to", "batch", "microbatch", "lr")]
        for i, p in enumerate(self.phases):
            kind = "fade" if p.fading else "stabilise"
            size = f"{p.resolution}x{p.resolution}"
            kimg = (f"{p.start / 1000:g}", f"{p.end / 1000:g}")
            rows.append((str(i), size, kind, *kimg, str(p.batch), str(p.microbatch), f"{p.lr:g}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows)


def growing_schedule(
    first: int,
    last: int,
    *,
    fade: dict[int, float],
    stable: dict[int, float],
    batch: dict[int, int],
    microbatch: dict[int, int],
    lr: dict[int, float],
    lr_ramp: float = 0.0,
    lr_decay: float = 0.0,
    total: float = 0.0,
) -> Schedule:
    """The schedule that grows from resolution ``first`` to ``last``, doubling.

    Args:
        fade: thousands of images over which a resolution's layers fade in (0: at once).
        stable: thousands of images for which they then train.
        batch: images of a step.
        microbatch: images that a step handles at once in a process (0: its whole share of the batch).
        lr: learning rate.
        lr_ramp: thousands of images over which each phase ramps its learning rate up from 0.
        lr_decay: part of the run, its last, over which the learning rate falls to 0.
        total: thousands of images of the run (0: the sum of its phases). The last phase is stretched, or the run cut.

    Raises:
        UsageError: if images have no such size, a length is no number, or a batch has no equal shares and microbatches.
    """
    for name, size in (("resolution", last), ("start_resolution", first)):
        if wrong := wrong_resolution(size):
            raise UsageError(f"{name}={size} {wrong}")
    if first > last:
        raise UsageError(f"start_resolution={first} is above resolution={last}")
    if last % first or not is_power_of_two(last // first):
        raise UsageError(f"resolution={last} is not start_resolution={first} times a power of two")

    for name, length in (("kimg", total), ("lr_ramp_kimg", lr_ramp)):
        if not 0 <= length <= LARGEST:
            raise UsageError(f"{name}={length:g} is not a finite number of at least 0")

    phases: list[Phase] = []
    start, resolution = 0, first
    while resolution <= last:
        n = lookup(batch, resolution)
        if n < 1:
            raise UsageError(f"batch={n} at {resolution}x{resolution}: at least 1 image is needed")
        share = share_of(n, f" at {resolution}x{resolution}")
        part = min(lookup(microbatch, resolution) or share, share)
        if share % part:
            whole = share_named(n)
            raise UsageError(f"microbatch={part} does not divide the {whole} at {resolution}x{resolution}")
        for fading, kimg in ((True, lookup(fade, resolution)), (False, lookup(stable, resolution))):
            length = round(kimg * 1000)
            if length and not (fading and resolution == first):
                end = start + length
                phases.append(Phase(resolution, fading, start, end, length, n, part, lookup(lr, resolution)))
                start = end
        resolution *= 2
    if not phases:
        raise UsageError("the schedule is empty: every phase has 0 kimg")
    return Schedule(_fit(phases, round(total * 1000)), round(lr_ramp * 1000), lr_decay)


def _fit(phases: list[Phase], total: int) -> tuple[Phase, ...]:
    """The phases cut at ``total`` images, or the last one stretched to it; 0 leaves them."""
    if total == 0:
        return tuple(phases)
    kept = [phase for phase in phases if phase.start < total]
    return (*kept[:-1], replace(kept[-1], end=total))
