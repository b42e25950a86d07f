"""Options and presets of ``python -m train.pggan``; every default of progressive growing is here."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from train.base.errors import UsageError
from train.base.tables import parse_table
from train.base.values import Size, check_values
from train.engine.schedule import Schedule, growing_schedule
from train.gan.config import GanConfig
from train.gan.options import Loss
from train.run.options import Table, check_at_least


def half_life(batch: int, decay: float) -> float:
    """Thousands of images after which an average with this decay per step has forgotten half."""
    return batch / 1000 * math.log(0.5) / math.log(decay)


def half_lives(batches: dict[int, int], decay: float) -> str:
    """TABLE of the half-life at each resolution for the same decay at every step."""
    return ",".join(f"{resolution}:{half_life(batch, decay):.4g}" for resolution, batch in batches.items())


@dataclass(frozen=True)
class PgganConfig(GanConfig):
    """Options of progressive growing."""

    start_resolution: int = 0
    """First resolution (equal to resolution: no growing; 0: 4, or with init-from the one reached there)."""
    fade_kimg: Table = "4:8,16:12,32:15"
    """Thousands of images over which a resolution fades in."""
    stable_kimg: Table = "4:8,16:12,32:25"
    """Thousands of images to train on at each resolution after its fade."""
    lr_ramp_kimg: float = 0.0
    """Thousands of images over which each phase ramps its learning rate up."""
    reset_optimizer: bool = False
    """Reset the optimizers' state whenever the set of active resolutions changes."""
    loss: Loss = "wgan-gp"
    """wgan-gp, lsgan (Karras et al. 2018); also minimax, non-saturating (Goodfellow 2014), hinge (Miyato 2018)."""
    drift: float = 0.001
    """Weight of the mean squared score of real images (wgan, wgan-gp; Karras et al. 2018: 0.001)."""
    conditioning: Literal["auto", "none", "concat", "acgan"] = "none"
    """Use of labels: none; joined to inputs (concat); classifier (acgan; Odena 2017); auto: concat if there are any."""
    fmap_base: Size = 512
    """Feature maps at resolution r are min(2 fmap-base / r^fmap-decay, fmap-max)."""
    fmap_decay: float = 1.0
    """How fast the number of feature maps falls with resolution."""
    fmap_max: Size = 64
    """Maximum number of feature maps of a layer."""
    group_size: int = 4
    """Images in a group of the minibatch standard deviation (0: the whole batch)."""

    SIZES = (*GanConfig.SIZES, "fmap_base", "fmap_decay", "fmap_max")

    @property
    def first_resolution(self) -> int:
        """Where growing starts."""
        return self.start_resolution or 4

    def begun_at(self, resolution: int) -> PgganConfig:
        """Growing goes on from the resolution reached, unless the options name another start."""
        return self if self.start_resolution else replace(self, start_resolution=min(resolution, self.resolution))


_PAPER_BATCH = {4: 16, 256: 14, 512: 6, 1024: 3}

# The numbers are those of the paper's reference implementations; see their table in Karras et al. 2018, appendix A.
PRESETS: dict[str, PgganConfig] = {
    # Sized for two CPU cores: about nine minutes.
    "glyphs": PgganConfig(
        precision="auto",
        fade_kimg="4:6,16:8,32:10",
        stable_kimg="4:6,16:14,32:56",
        batch="4:16,32:8",
        ema_kimg="2",
        latent=64,
        fmap_base=512,
        fmap_max=64,
    ),
    "celebahq-1024": PgganConfig(
        preset="celebahq-1024",
        data="data/celeba-hq",
        resolution=1024,
        kimg=12000.0,
        fade_kimg="600",
        stable_kimg="600",
        batch="4:128,32:64,64:32,128:16,256:8,512:4",
        lr="4:0.001,1024:0.0015",
        ema_kimg="10",
        latent=512,
        fmap_base=8192,
        fmap_max=512,
        group_size=4,
        log_kimg="4:40,32:20,128:10,512:4",
        image_kimg="4:200,128:100,512:40",
        checkpoint_kimg="4:200,128:100,512:40",
    ),
    "celebahq-1024-paper": PgganConfig(
        preset="celebahq-1024-paper",
        data="data/celeba-hq",
        resolution=1024,
        kimg=19000.0,
        fade_kimg="800",
        stable_kimg="800",
        batch=",".join(f"{resolution}:{batch}" for resolution, batch in _PAPER_BATCH.items()),
        lr="0.001",
        lr_ramp_kimg=40.0,
        reset_optimizer=True,
        ema_kimg=half_lives(_PAPER_BATCH, 0.999),
        latent=512,
        fmap_base=8192,
        fmap_max=512,
        group_size=0,
        log_kimg="4:40,32:20,128:10,512:4",
        image_kimg="4:200,128:100,512:40",
        checkpoint_kimg="4:200,128:100,512:40",
    ),
    "cifar10": PgganConfig(
        preset="cifar10",
        data="cifar10",
        mirror=False,
        kimg=20000.0,
        fade_kimg="400",
        stable_kimg="400",
        batch="16",
        lr="0.001",
        reset_optimizer=True,
        update="joint",
        ema_kimg=f"{half_life(16, 0.999):.4g}",
        gp_target=750.0,
        latent=128,
        fmap_base=4096,
        fmap_max=128,
        group_size=0,
        log_kimg="20",
        image_kimg="200",
        checkpoint_kimg="200",
    ),
}


def schedule_of(config: PgganConfig) -> Schedule:
    """The schedule that the options describe, checked against the groups of the minibatch deviation."""
    check_values(config)
    check_at_least(config, 0, "group_size")
    if not 0 <= config.fmap_decay <= 16:
        raise UsageError(f"fmap_decay={config.fmap_decay} is not from 0 to 16")
    if config.feature_matching > config.resolution:
        raise UsageError(f"feature_matching={config.feature_matching}: D's maps have heights 4 to {config.resolution}")
    if config.conditioning == "concat" and config.feature_matching:
        raise UsageError(
            f"feature_matching={config.feature_matching} cannot be combined with conditioning='concat': the maps to"
            " match come before the labels, so G would have no reason to follow its own (conditioning='acgan' has a"
            " loss for that)"
        )
    schedule = growing_schedule(
        config.first_resolution,
        config.resolution,
        fade=parse_table(config.fade_kimg, float, "fade_kimg"),
        stable=parse_table(config.stable_kimg, float, "stable_kimg"),
        batch=parse_table(config.batch, int, "batch"),
        microbatch=parse_table(config.microbatch, int, "microbatch"),
        lr=parse_table(config.lr, float, "lr"),
        lr_ramp=config.lr_ramp_kimg,
        total=config.kimg,
    )
    if config.loss == "wgan":
        raise UsageError(
            "loss='wgan' clips D's parameters, which are not the weights where the learning rate is equalized: each is"
            " multiplied by a constant of its layer (Karras et al. 2018, 4.1)"
        )
    if config.group_size:
        for phase in schedule.phases:
            if phase.microbatch % min(config.group_size, phase.microbatch):
                what = "batch" if phase.microbatch == phase.batch else "microbatch"
                raise UsageError(
                    f"group_size={config.group_size} does not divide the {what} of {phase.microbatch}"
                    f" at {phase.resolution}x{phase.resolution}"
                )
    return schedule
