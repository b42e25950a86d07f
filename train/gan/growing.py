"""Options of networks that grow from low resolutions up (Karras et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from models.pggan import Discriminator
from train.base.errors import UsageError
from train.base.values import Range, Size, is_power_of_two
from train.engine.schedule import Schedule, growing_schedule
from train.gan.conditions import ConditionalConfig
from train.run.options import Table


@dataclass(frozen=True)
class GrowingConfig(ConditionalConfig):
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
    fmap_base: Size = 512
    """Feature maps at resolution r are min(2 fmap-base / r^fmap-decay, fmap-max)."""
    fmap_decay: float = 1.0
    """How fast the number of feature maps falls with resolution."""
    fmap_max: Size = 64
    """Maximum number of feature maps of a layer."""
    group_size: Annotated[int, Range(0)] = 4
    """Images in a group of the minibatch standard deviation (0: the whole batch)."""

    SIZES = (*ConditionalConfig.SIZES, "fmap_base", "fmap_decay", "fmap_max")

    def begun_at(self, resolution: int) -> GrowingConfig:
        """Growing goes on from the resolution reached, unless the options name another start."""
        return self if self.start_resolution else replace(self, start_resolution=min(resolution, self.resolution))

    def check(self) -> None:
        super().check()
        for name in ("resolution", "start_resolution"):
            size = getattr(self, name)
            if size > 0 and not is_power_of_two(size):
                raise UsageError(f"{name}={size} is not a power of two")
        if not 0 <= self.fmap_decay <= 16:
            raise UsageError(f"fmap_decay={self.fmap_decay} is not from 0 to 16")
        if self.feature_matching > self.resolution:
            raise UsageError(f"feature_matching={self.feature_matching}: D's maps have heights 4 to {self.resolution}")
        if self.clip():
            raise UsageError(
                f"loss={self.loss!r} clips D's parameters, which are not the weights where the learning rate is"
                " equalized: each is multiplied by a constant of its layer (Karras et al. 2018, 4.1)"
            )

    def maps(self) -> dict[str, Any]:
        """Arguments of both networks: what their feature maps are."""
        return {name: getattr(self, name) for name in ("resolution", "fmap_base", "fmap_decay", "fmap_max")}

    def discriminator(
        self, kind: type[Discriminator], image_channels: int, num_classes: int, condition: str
    ) -> Discriminator:
        """PGGAN's, or one of its kind, grown to the first resolution."""
        made = kind(
            **self.maps(),
            image_channels=self.pack * image_channels,
            num_classes=num_classes,
            condition=condition,
            group_size=self.group_size or None,
            minibatch_kernels=self.minibatch_discrimination,
            minibatch_dim=self.minibatch_dim,
            outputs=self.objective().outputs,
        )
        made.grow(self.start_resolution or 4)
        return made

    def schedule(self) -> Schedule:
        """The phases, checked against the groups of the minibatch deviation."""
        self.check()
        schedule = self.in_packs(
            growing_schedule(
                self.start_resolution or 4,
                self.resolution,
                fade=self.table("fade_kimg"),
                stable=self.table("stable_kimg"),
                batch=self.table("batch", int),
                microbatch=self.table("microbatch", int),
                lr=self.table("lr"),
                lr_ramp=self.lr_ramp_kimg,
                total=self.kimg,
            )
        )
        return self.in_groups(schedule, self.group_size)
