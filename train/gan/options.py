"""Options of every game of a generator and a discriminator, and the parts of the game that they stand for.

Each technique is one option, off unless a preset or the user turns it on, and its help line gives the paper with the
value used there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, get_args

import torch
import tyro

from gan_ops.objectives import FeatureMatching, GradientNorm, Objective, Penalty
from train.base.errors import UsageError
from train.base.processes import share_named, share_of
from train.base.specs import listing, parse_spec, parse_specs
from train.base.values import Range, Share, Size, check_values
from train.engine.curve import Cosine
from train.engine.game import Role, Update
from train.engine.optimizers import Adam, Optimistic, OptimisticAdam, OptimizerChoice, RMSProp
from train.engine.schedule import Phase, Schedule
from train.gan.augmentation import Augmentation, InstanceNoise
from train.gan.augmentation.choice import KINDS, Augmenting
from train.gan.losses import LOSSES, PENALTIES, Loss, Penalties
from train.run.options import ImagesConfig

OPTIMIZERS: Mapping[str, OptimizerChoice] = {
    "adam": Adam(),
    "rmsprop": RMSProp(),
    "optimistic": Optimistic(),
    "optimistic-adam": OptimisticAdam(),
}

GRADIENT_NORMS = get_args(GradientNorm)
D_NORM = tyro.conf.arg(
    help="Norm of D; batch: Ioffe 2015; instance: Ulyanov 2016; layer: Ba 2016; group: Wu 2018; gradient, gradient-v2:"
    " of its scores, by their gradients (GN-GAN: Wu 2021, GraN-GAN: Bhaskara 2022). Not virtual: too costly (Salimans"
    " 2016, 3.5)."
)


def parted(d_norm: str) -> tuple[str, str]:
    """What normalises D's scores and what its layers, of which the option ``d_norm`` names one: a name of
    :data:`GRADIENT_NORMS` or nothing, and a norm of layers or "none"."""
    return (d_norm, "none") if d_norm in GRADIENT_NORMS else ("", d_norm)


OptimizerName = Annotated[
    str,
    tyro.conf.arg(
        metavar="OPTIMIZER",
        help=f"How G and D follow their gradients: {listing(OPTIMIZERS)} (rmsprop: Arjovsky 2017, with lr 5e-5;"
        " optimistic, optimistic-adam: Daskalakis et al. 2018, mirror descent and algorithm 1).",
    ),
]


Augment = Annotated[
    str,
    tyro.conf.arg(
        metavar="AUGMENTATION",
        help="Random changes of all images that D sees; values are parts of augment-p, none is left out:"
        " diffaugment (Zhao et al. 2020), or categories of ADA (Karras et al. 2020; there bgc):"
        f" {', '.join(name for name in KINDS if name != 'diffaugment')}; such as bgc(color=0.5,cutout=1).",
    ),
]


@dataclass(frozen=True)
class Techniques:
    """Options of any two players."""

    loss: Loss = "non-saturating"
    penalty: Penalties = ""
    feature_matching: int = 0
    """G matches means of D's feature maps of this height (Salimans et al. 2016, 3.1; DCGAN's last: 4; 0: off)."""
    minibatch_discrimination: Annotated[int, Range(0, 2**20)] = 0
    """Number of kernels in D's minibatch discrimination (Salimans et al. 2016, 3.2; authors' code: 100)."""
    minibatch_dim: Size = 5
    """Length of each kernel's output (Salimans et al. 2016, 3.2; authors' code: 5)."""
    historical_averaging: float = 0.0
    """Weight of the squared distance from the mean of past parameters (Salimans et al. 2016, 3.3)."""
    instance_noise: float = 0.0
    """Initial standard deviation of the normal noise on all images that D sees (Sønderby et al. 2017: 0.1)."""
    instance_noise_kimg: float = 0.0
    """Thousands of images over which the noise falls to 0 (Sønderby et al. 2017 anneal it; 0: the whole run)."""
    ttur: float = 1.0
    """D's learning rate divided by G's: two time scales (Heusel et al. 2017; Zhang et al. 2019: 4)."""
    optimizer: OptimizerName = "adam"
    d_steps: Annotated[int, Range(1, 1000)] = 1
    """Updates of D for each update of G, each with new images (Arjovsky et al. 2017: 5)."""
    pack: Annotated[int, Range(1, 64)] = 1
    """Images that D judges as one, joined along their channels (PacGAN, Lin et al. 2018: 2 to 4)."""
    update: Update = "alternating"
    """alternating: G uses the updated D; joint: both start from the same state; merged: joint, one pass through G."""

    LOSSES: ClassVar[Mapping[str, Objective]] = LOSSES
    """What ``loss`` may name, with the values that it has unless told."""
    AUTOENCODES: ClassVar[bool] = False
    """Whether D is an autoencoder, whose scores are minus an energy."""

    def _loss(self) -> Objective:
        return parse_spec(self.loss, self.LOSSES, "loss")

    def _rule(self) -> OptimizerChoice:
        return parse_spec(self.optimizer, OPTIMIZERS, "optimizer")

    def objective(self) -> Objective:
        """What the players minimise, but for the penalties; UsageError if ``loss`` says it wrongly."""
        return FeatureMatching(self._loss(), self.feature_matching) if self.feature_matching else self._loss()

    def penalties(self) -> tuple[Penalty, ...]:
        """Those that the loss brings along, then the others."""
        return (*self._loss().penalties, *parse_specs(self.penalty, PENALTIES, "penalty"))

    def clip(self) -> float:
        """The bound of D's weights; 0 for none."""
        return self._loss().clip

    def roles(self, betas: tuple[float, float | Cosine]) -> dict[str, Role]:
        """Both players' optimizers."""
        rule = self._rule()
        shared = {"betas": betas, "historical_averaging": self.historical_averaging, "optimizer": rule}
        return {"D": Role(("D",), lr=self.ttur, clip=self.clip(), **shared), "G": Role(("G",), **shared)}

    def check(self) -> None:
        """UsageError for a value out of range and for options that contradict each other, with the reason."""
        check_finite(self, "historical_averaging", "instance_noise", "instance_noise_kimg", "ttur")
        kinds = [type(penalty) for penalty in self.penalties()]
        if len(set(kinds)) < len(kinds):
            raise UsageError(f"penalty={self.penalty!r} with loss={self.loss!r} has the same penalty twice")
        if self.clip() and self.minibatch_discrimination:
            raise UsageError(
                f"loss={self.loss!r} cannot be combined with minibatch_discrimination={self.minibatch_discrimination}:"
                f" with weights of at most {self.clip()} all images look alike to its kernels"
            )
        if getattr(self._loss(), "reconstruction", 0) and not self.AUTOENCODES:
            raise UsageError(f"loss={self.loss!r}: D is no autoencoder, so reconstruction must be 0 (see train.ebgan)")
        if self.d_steps > 1 and self.update != "alternating":
            raise UsageError(
                f"d_steps={self.d_steps} cannot be combined with update={self.update!r}, where both players are"
                " updated once from one state"
            )
        self._rule()  # only to say at once what is wrong with it
        if not self.ttur > 0:
            raise UsageError(f"ttur={self.ttur}: D's learning rate must be positive")
        check_values(self)
        if self.minibatch_discrimination * self.minibatch_dim > 2**20:
            raise UsageError(
                f"minibatch_discrimination={self.minibatch_discrimination} with minibatch_dim={self.minibatch_dim}:"
                f" together they may have at most {2**20} values"
            )
        size = self.feature_matching
        if size and (size < 4 or size & (size - 1)):
            raise UsageError(f"feature_matching={size}: D's maps have heights 4, 8, 16, …")

    def check_packs(self, rows: int, what: str) -> None:
        """UsageError unless so many images are whole packs, and enough of them for the loss."""
        if rows % self.pack:
            raise UsageError(f"pack={self.pack} does not divide the {what}")
        least, of = self._loss().least, "packs of images" if self.pack > 1 else "images"
        if rows < least * self.pack:
            raise UsageError(f"loss={self.loss!r} compares at least {least} {of}, and the {what} has fewer")

    def check_labelled(self, option: str) -> None:
        """UsageError for what cannot be combined with an option by which D uses labels."""
        if self.pack > 1:
            raise UsageError(f"pack={self.pack} cannot be combined with {option}: a pack has no label of its own")

    def check_g_batches(self, g_batches: int) -> None:
        """UsageError for what cannot be combined with an option by which G learns from more fakes than D sees reals."""
        if g_batches == 1:
            return
        alone = f"g_batches={g_batches} cannot be combined with"
        if self.objective().compares:
            option = f"feature_matching={self.feature_matching}" if self.feature_matching else f"loss={self.loss!r}"
            raise UsageError(f"{alone} {option}, which compares G's fakes with as many reals")
        if self.update == "merged":
            raise UsageError(f"{alone} update='merged': both players learn from the same fakes")

    def check_norms(self, g_norm: str, d_norm: str, weight_norm: bool) -> None:
        """UsageError where the networks' norms exclude each other or the loss."""
        if d_norm in GRADIENT_NORMS:
            self._check_gradient_norm(d_norm)
        if self.penalties() and d_norm == "batch":
            option = f"penalty={self.penalty!r}" if self.penalty else f"loss={self.loss!r}"
            raise UsageError(
                f"{option} cannot be combined with d_norm='batch': the penalty is on the gradient of each image's own"
                " score, but with batch norm this score depends on the other images (Gulrajani et al. 2017, 4;"
                " their choice is d_norm='layer')"
            )
        if weight_norm and "spectral" in (g_norm, d_norm):
            raise UsageError(
                "weight_norm cannot be combined with the norm 'spectral': both determine the scale of the weights"
            )
        if self.clip() and (weight_norm or d_norm == "spectral"):
            other = "weight_norm" if weight_norm else "d_norm='spectral'"
            raise UsageError(
                f"loss={self.loss!r} cannot be combined with {other}: clipping bounds parameters, which are not the"
                " weights there"
            )

    def _check_gradient_norm(self, d_norm: str) -> None:
        if self.penalties():
            option = f"penalty={self.penalty!r}" if self.penalty else f"loss={self.loss!r}"
            why = (
                "the penalised gradient is that of scores which contain a gradient, so it would take third derivatives"
            )
        elif self.minibatch_discrimination:
            option = f"minibatch_discrimination={self.minibatch_discrimination}"
            why = "each score is normalised by its own image's gradient, but with it scores depend on other images"
        elif self._loss().outputs > 1:
            option, why = f"loss={self.loss!r}", "its critic gives vectors, which have no gradient"
        else:
            return
        raise UsageError(f"d_norm={d_norm!r} cannot be combined with {option}: {why}")


@dataclass(frozen=True)
class GanConfig(Techniques, ImagesConfig):
    """Options for training two players on images."""

    latent: Size = 64
    """Length of the latent vector."""
    class_weight: float = 1.0
    """Weight of the classification loss, if D gives class logits (Odena et al. 2017: 1)."""
    augment: Augment = "none"
    augment_p: str = "auto"
    """Probability of changes: auto (diffaugment: 1; else by D's sign), held-out, 0.3, or 0:0.55 along a cosine."""
    augment_target: Share = 0.6
    """Where an adapted augment-p keeps the mean sign of D's scores (ADA, 3.1: 0.6), or held-out's r."""
    augment_kimg: float = 500.0
    """Thousands of images in which an adapted augment-p can go from 0 to 1 (ADA, 3.1: 500)."""
    held_out: Annotated[int, Range(0)] = 0
    """Number of images that no network learns from: D's scores of them are logged (ADA, figure 1)."""

    SIZES = ("latent", "minibatch_discrimination", "minibatch_dim")

    def check(self) -> None:
        Techniques.check(self)
        ImagesConfig.check(self)
        check_finite(self, "class_weight", "augment_kimg")
        self._augmenting().check(self.loss, self.objective(), self.held_out)

    def _augmenting(self) -> Augmenting:
        return Augmenting(self.augment, self.augment_p, self.augment_target, self.augment_kimg)

    def curve(self, start: float, end: float, schedule: Schedule) -> Cosine:
        """From one value to another in the whole run."""
        return Cosine(start, end, schedule.total)

    def augmentation(self, schedule: Schedule, device: torch.device) -> Augmentation:
        """What stands before D."""
        noise = InstanceNoise(self.instance_noise, 1000 * self.instance_noise_kimg or schedule.total)
        return self._augmenting().make(noise, partial(self.curve, schedule=schedule), device)

    def in_packs(self, schedule: Schedule) -> Schedule:
        """The schedule; UsageError unless its microbatches are whole packs."""
        for phase in schedule.phases:
            self.check_packs(phase.microbatch, microbatch_named(phase))
        return schedule

    def in_groups(self, schedule: Schedule, size: int) -> Schedule:
        """The schedule; UsageError unless its microbatches are whole groups of so many packs, if fewer than these have
        not a group of their own (0: they have)."""
        for phase in schedule.phases:
            packs = phase.microbatch // self.pack
            if size and packs % min(size, packs):
                what = microbatch_named(phase)
                what = what if self.pack == 1 else f"{packs} packs of the {what}"
                raise UsageError(f"group_size={size} does not divide the {what}")
        return schedule


def microbatch_named(phase: Phase) -> str:
    """``"batch of 8 at 4x4"``, or what else a process handles at once."""
    whole = phase.microbatch == share_of(phase.batch)
    what = share_named(phase.batch) if whole else f"microbatch of {phase.microbatch}"
    return f"{what} at {phase.resolution}x{phase.resolution}"


def check_finite(options: Techniques, *names: str) -> None:
    """UsageError unless these options are finite numbers of at least 0."""
    for name in names:
        if not 0 <= getattr(options, name) < math.inf:
            raise UsageError(f"{name}={getattr(options, name)} is not a finite number of at least 0")
