"""Options of games whose critic gives energies, of one resolution."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gan_ops.objectives import Magan
from train.base.errors import UsageError
from train.base.values import Decay, Share
from train.engine.schedule import Schedule
from train.gan.options import GanConfig
from train.run.options import Table

RESOLUTIONS = (16, 32, 64, 128)


@dataclass(frozen=True)
class EnergyConfig(GanConfig):
    """Options of BEGAN, EBGAN and MEG."""

    kimg: float = 1000.0
    """Thousands of images to train on."""
    batch: Table = "64"
    """Images in a step."""
    lr: Table = "0.0002"
    """Learning rate of all networks."""
    lr_decay: Share = 0.0
    """Last part of the run, over which the learning rate falls to 0 (1: all of it)."""
    beta1: Decay = 0.5
    """Adam's beta1, the decay rate of the mean gradient."""
    beta2: Decay = 0.999
    """Adam's beta2, the decay rate of the mean squared gradient."""

    def check(self) -> None:
        super().check()
        if self.resolution not in RESOLUTIONS:
            raise UsageError(f"resolution={self.resolution} is not one of {', '.join(map(str, RESOLUTIONS))}")
        self._check_techniques()

    def _check_techniques(self) -> None:
        if self.feature_matching:
            raise UsageError(
                f"feature_matching={self.feature_matching} cannot be combined with energies: it would take the place"
                " of G's loss, and no sample would be brought to a low energy"
            )
        if self.pack > 1:
            raise UsageError(f"pack={self.pack} cannot be combined with energies: an energy is of one image")
        if self.minibatch_discrimination:
            raise UsageError(
                f"minibatch_discrimination={self.minibatch_discrimination} cannot be combined with energies: an energy"
                " is of one image, whatever others there are"
            )

    def schedule(self) -> Schedule:
        """One phase at the full resolution; with MAGAN one of pretraining before it."""
        self.check()
        schedule, loss = self.in_packs(self.one_phase(self.lr_decay)), self.objective()
        return _pretrained(schedule, loss, self.d_steps) if isinstance(loss, Magan) else schedule


def _pretrained(schedule: Schedule, loss: Magan, d_steps: int) -> Schedule:
    """The only phase in two, between which the optimizers can forget their state."""
    (phase,) = schedule.phases
    length = loss.pretraining * loss.epoch * phase.batch * d_steps  # a step shows D so many batches
    if length >= phase.end:
        raise UsageError(
            f"loss with epoch={loss.epoch} and pretraining={loss.pretraining} pretrains D for {length / 1000:g} kimg,"
            f" and kimg={phase.end / 1000:g} leaves nothing for G"
        )
    first, rest = replace(phase, end=length, length=length), replace(phase, start=length, length=phase.end - length)
    return replace(schedule, phases=(first, rest))
