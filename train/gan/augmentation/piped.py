"""Images changed at random before D (gan_ops.augmentation), so that few of them last longer."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_ops.augmentation import Pipe
from train.engine.game import Batch, Stats
from train.engine.schedule import Position
from train.gan.augmentation.base import Augmentation
from train.gan.augmentation.noise import InstanceNoise
from train.gan.augmentation.probability import Probability


class Piped(Augmentation):
    """All images, real and generated, through the same kinds of change, and then through noise.

    Args:
        pipe: on the device of the images.
        probability: how probable each change of an image is.
    """

    def __init__(self, pipe: Pipe, probability: Probability, noise: InstanceNoise) -> None:
        self.pipe, self.probability, self.noise = pipe, probability, noise
        self.state = probability.state

    def draw(self, like: dict[str, Tensor], at: Position, random: torch.Generator) -> Batch:
        """Columns "<name> <transformation>", and "D/p", the probability."""
        p = self.probability.at(at)
        first = next(iter(like.values()))
        rows = [len(images) for images in like.values()]
        drawn = self.pipe.draw((sum(rows), *first.shape[1:]), p, random)
        # What a loss reports is computed in its graph, and a number of the host's would be a constant there.
        columns = {"D/p": torch.zeros(len(like["D/real"]), device=first.device) + p}
        for kind, numbers in drawn.items():
            parts = zip(like, numbers.split(rows), strict=True)
            columns |= {f"{name} {kind}": part for name, part in parts}
        return columns | self.noise.draw(like, at, random)

    def __call__(self, images: Tensor, batch: Batch, name: str) -> Tensor:
        drawn = {t.name: batch[f"{name} {t.name}"] for t in self.pipe.transformations}
        return self.noise(self.pipe(images, drawn), batch, name)

    def arrange(self, shown: int) -> None:
        self.probability.arrange(shown)

    def after(self, stats: Stats) -> None:
        self.probability.after(stats)
