"""The networks of each preset of :mod:`train.semi_supervised`, and what a trained one says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.semi_supervised import Classifier, ConvClassifier, ConvGenerator, DenseClassifier, DenseGenerator
from train.data import to_float


@dataclass(frozen=True)
class Dense:
    """Networks of §6.1, for images in [0, 1]."""

    hidden: tuple[int, ...] = (1000, 500, 250, 250, 250)
    generator_hidden: tuple[int, ...] = (500, 500)
    input_noise: float = 0.3
    noise: float = 0.5

    def build(self, shape: tuple[int, int, int], num_classes: int, compare_batch: bool) -> tuple[Classifier, nn.Module]:
        """Discriminator and generator for images [C, H, W]."""
        channels, height, width = shape
        classifier = DenseClassifier(
            channels * height * width,
            num_classes,
            hidden=self.hidden,
            input_noise=self.input_noise,
            noise=self.noise,
            compare_batch=compare_batch,
        )
        return classifier, DenseGenerator(shape, hidden=self.generator_hidden)

    def input_of(self, pixels: Tensor) -> Tensor:
        """uint8 [N, C, H, W] → float32 in the networks' range."""
        return (to_float(pixels) + 1) / 2


@dataclass(frozen=True)
class Convolutional:
    """Networks of §6.2, for images in [−1, 1]."""

    width: int
    generator_width: int = 512

    def build(self, shape: tuple[int, int, int], num_classes: int, compare_batch: bool) -> tuple[Classifier, nn.Module]:
        """Discriminator and generator for images [C, H, W]."""
        channels, resolution, _ = shape
        classifier = ConvClassifier(channels, num_classes, width=self.width, compare_batch=compare_batch)
        return classifier, ConvGenerator(resolution, channels, width=self.generator_width)

    def input_of(self, pixels: Tensor) -> Tensor:
        """uint8 [N, C, H, W] → float32 in the networks' range."""
        return to_float(pixels)


NETWORKS: Mapping[str, Dense | Convolutional] = {
    "digits": Dense(hidden=(300, 150, 100), generator_hidden=(200, 200), input_noise=0.2, noise=0.15),
    "glyphs": Convolutional(width=16, generator_width=64),
    "mnist": Dense(),
    "svhn": Convolutional(width=64),
    "cifar10": Convolutional(width=96),
}


@torch.no_grad()
def probabilities(network: nn.Module, images: Tensor, batch: int) -> Tensor:
    """Softmax over the K classes for images [N, C, H, W] → [N, K], on the CPU.

    Batches are all of one size where there are enough images (the last goes back over some of those before it): with
    minibatch discrimination a sample's classes depend on the size.
    """
    device = next(network.parameters()).device
    result: list[Tensor] = []
    for start in range(0, len(images), batch):
        first = max(0, min(start, len(images) - batch))
        logits = network(images[first : first + batch].to(device)).logits[start - first :]
        result.append(logits.softmax(1).cpu())
    return torch.cat(result)
