"""Options of every program that trains a generator and a discriminator on images."""

from __future__ import annotations

from dataclasses import dataclass

from train.base.values import Size
from train.gan.options import Techniques
from train.run.options import Table, TrainConfig


@dataclass(frozen=True)
class GanConfig(Techniques, TrainConfig):
    """Options for training both networks, of any family."""

    batch: Table = "16"
    """Images in a step."""
    microbatch: Table = "0"
    """Images to process at once; gradients are summed; batch statistics are of these only (0: the whole batch)."""
    lr: Table = "0.002"
    """Learning rate of both networks."""
    ema_kimg: Table = "1"
    """Half-life of the averaged generator, in thousands of images."""
    latent: Size = 64
    """Length of the latent vector."""
    class_weight: float = 1.0
    """Weight of the classification loss, if D gives class logits (Odena et al. 2017: 1)."""
    init_from: str = ""
    """Run folder or checkpoint to start from: a new run takes the weights whose names and shapes match."""

    SIZES = ("latent", "minibatch_discrimination", "minibatch_dim")
    """Options that decide on the shapes of the networks' tensors."""

    def begun_at(self, resolution: int) -> GanConfig:
        """The options for networks that have reached a resolution already."""
        return self
