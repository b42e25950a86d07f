"""Options of every program that trains a generator and a discriminator on images."""

from __future__ import annotations

from dataclasses import dataclass

from train.config import Table, TrainConfig
from train.techniques import Techniques
from train.values import Size


@dataclass(frozen=True)
class GanConfig(Techniques, TrainConfig):
    """What both networks' training can be told, whatever their family."""

    batch: Table = "16"
    """Images of a step."""
    microbatch: Table = "0"
    """Images to handle at once, adding gradients up; batch statistics see these only (0: the batch)."""
    lr: Table = "0.002"
    """Learning rate of both networks."""
    ema_kimg: Table = "1"
    """Half-life of the averaged generator, in thousands of images."""
    latent: Size = 64
    """Length of the latent vector."""
    class_weight: float = 1.0
    """Weight of the classification loss, where D gives class logits (Odena et al. 2017: 1)."""
