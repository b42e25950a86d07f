"""Networks of "Improved Techniques for Training GANs" for few labels (Salimans et al. 2016, §6.1 to §6.3).

A classifier with one logit for each class of the data is the discriminator too (see
:mod:`gan_ops.objectives.semi_supervised`). The sizes that are not in the paper are those of its authors' code. All
weights in classifiers are normalised (Salimans & Kingma 2016); hidden layers have weights of a fixed scale, which
:meth:`Classifier.fit_scale` chooses.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from gan_ops import nn as gnn
from gan_ops.objectives import Scores
from gan_ops.objectives.semi_supervised import real_score
from models.parts.generators import doubling

SLOPE = 0.2
"""Of the convolutional classifier's leaky ReLUs, below zero."""


class Classifier(nn.Module):
    """Hidden layers ``body``, with ``compare_batch`` minibatch discrimination on them, and a layer of K logits."""

    def __init__(self, body: nn.Module, features: int, before_head: nn.Module, num_classes: int, compare_batch: bool):
        super().__init__()
        self.body = body
        self.sees_batch = compare_batch  # whether an image's logits depend on the others of its minibatch
        self.compare = None
        if compare_batch:
            self.compare = gnn.MinibatchDiscrimination(features, include_self=False, weight_norm=True, bias=True)
            features += self.compare.weight.shape[1]
        self.before_head = before_head
        self.head = weight_norm(nn.Linear(features, num_classes))
        for layer in _weighted(self):
            nn.init.zeros_(layer.bias)
            layer.parametrizations.weight.original0.requires_grad_(layer is self.head)

    def forward(self, x: Tensor, batches: int = 1) -> Scores:
        """Images [N, C, H, W] → logits [N, K], their score as real images, and ``maps``: the last hidden layer [N, F].

        x may interleave several minibatches (image n belongs to minibatch n mod ``batches``), each to be compared
        within itself.
        """
        features = self.body(x)
        compared = features if self.compare is None else self.compare(features, batches)
        logits = self.head(self.before_head(compared))
        return Scores(real_score(logits), logits, (features,))

    @torch.no_grad()
    def fit_scale(self, x: Tensor) -> None:
        """Scales and shifts each layer so that its outputs for x [N, C, H, W] have mean 0 and variance 1.

        The data-dependent start of weight normalisation (Salimans & Kingma 2016, §3), from the first layer to the
        last. In training mode the noise is part of what the layers see. ValueError for fewer than two images.
        """
        if len(x) < 2:
            raise ValueError(f"x must have two images at least, but has {len(x)}")

        def fit(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
            axes = [0, *range(2, output.dim())]
            deviation, mean = torch.std_mean(output, axes, correction=0)
            scale = layer.parametrizations.weight.original0  # [F, 1, …]
            scale /= deviation.view_as(scale)
            layer.bias.copy_((layer.bias - mean) / deviation)
            shape = [1, -1, *[1] * (output.dim() - 2)]
            return (output - mean.view(shape)) / deviation.view(shape)

        hooks = [layer.register_forward_hook(fit) for layer in _weighted(self)]
        features = self.body(x)
        if self.compare is not None:
            self.compare.fit_scale(features)
            features = self.compare(features)
        self.head(self.before_head(features))
        for hook in hooks:
            hook.remove()


class DenseClassifier(Classifier):
    """For MNIST: ReLU layers with Gaussian noise on their inputs (§6.1). Images are in [0, 1].

    Args:
        in_features: C·H·W of the images.
        hidden: widths of the hidden layers.
        input_noise, noise: standard deviation of the noise on the images and on each layer's activations.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        hidden: Sequence[int] = (1000, 500, 250, 250, 250),
        input_noise: float = 0.3,
        noise: float = 0.5,
        compare_batch: bool = False,
    ):
        layers: list[nn.Module] = [nn.Flatten(), GaussianNoise(input_noise)]
        widths = [in_features, *hidden]
        for i, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
            if i:
                layers.append(GaussianNoise(noise))
            layers += [_normalised(nn.Linear(inputs, outputs), 0.1), nn.ReLU()]
        super().__init__(nn.Sequential(*layers), widths[-1], GaussianNoise(noise), num_classes, compare_batch)


class ConvClassifier(Classifier):
    """For CIFAR-10 and SVHN: nine convolutions, dropout before each three (§6.2). Images are in [−1, 1].

    Args:
        width: feature maps of the first three layers; the others have twice as many. 96 for CIFAR-10, 64 for SVHN.
    """

    def __init__(self, image_channels: int, num_classes: int, *, width: int = 96, compare_batch: bool = False):
        wide = 2 * width

        def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int = 1) -> nn.Sequential:
            layer = nn.Conv2d(inputs, outputs, kernel, stride, padding)
            return nn.Sequential(_normalised(layer, 0.05), nn.LeakyReLU(SLOPE))

        body = nn.Sequential(
            nn.Dropout(0.2),
            convolution(image_channels, width),
            convolution(width, width),
            convolution(width, width, stride=2),
            nn.Dropout(0.5),
            convolution(width, wide),
            convolution(wide, wide),
            convolution(wide, wide, stride=2),
            nn.Dropout(0.5),
            convolution(wide, wide, padding=0),
            convolution(wide, wide, kernel=1, padding=0),
            convolution(wide, wide, kernel=1, padding=0),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        super().__init__(body, wide, nn.Identity(), num_classes, compare_batch)


class DenseGenerator(nn.Sequential):
    """For MNIST: softplus layers with batch norm (§6.1); z [N, latent_dim] → images [N, C, H, W] in [0, 1].

    Batch norm takes the statistics of the minibatch in any mode.
    """

    def __init__(self, shape: Sequence[int], *, latent_dim: int = 100, hidden: Sequence[int] = (500, 500)):
        widths = [latent_dim, *hidden]
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(widths):
            norm = nn.BatchNorm1d(outputs, track_running_stats=False)
            layers += [nn.Linear(inputs, outputs, bias=False), norm, nn.Softplus()]
        last = weight_norm(nn.Linear(widths[-1], math.prod(shape)))
        super().__init__(*layers, last, nn.Sigmoid(), nn.Unflatten(1, tuple(shape)))
        self.latent_dim = latent_dim


class ConvGenerator(nn.Sequential):
    """For CIFAR-10 and SVHN: a dense layer to 4×4, then 5×5 transposed convolutions that double the resolution (§6.2).

    z [N, latent_dim] → images [N, image_channels, resolution, resolution] in [−1, 1]. Batch norm takes the statistics
    of the minibatch in any mode.

    Args:
        resolution: a power of two of at least 8; 32 makes the paper's four layers.
        width: feature maps at 4×4; each doubling halves them.
    """

    def __init__(self, resolution: int, image_channels: int, *, latent_dim: int = 100, width: int = 512):
        if resolution < 8 or resolution & (resolution - 1):
            raise ValueError(f"resolution={resolution} is not a power of two of at least 8")
        dense = _normal(nn.Linear(latent_dim, 16 * width, bias=False), 0.05)
        norm = nn.BatchNorm1d(16 * width, track_running_stats=False)
        layers: list[nn.Module] = [dense, norm, nn.ReLU(), nn.Unflatten(1, (width, 4, 4))]
        for _ in range(resolution.bit_length() - 4):
            layers.append(_normal(doubling(width, width // 2, 5, bias=False), 0.05))
            width //= 2
            layers += [nn.BatchNorm2d(width, track_running_stats=False), nn.ReLU()]
        last = _normal(doubling(width, image_channels, 5, bias=True), 0.05)
        super().__init__(*layers, weight_norm(last, dim=1), nn.Tanh())
        self.latent_dim = latent_dim


class GaussianNoise(nn.Module):
    """Adds normal noise of a standard deviation in training, as dropout does with its own."""

    def __init__(self, deviation: float):
        super().__init__()
        self.deviation = deviation

    def forward(self, x: Tensor) -> Tensor:
        return x + self.deviation * torch.randn_like(x) if self.training and self.deviation else x

    def extra_repr(self) -> str:
        return f"deviation={self.deviation}"


def _normal(layer: nn.Module, deviation: float) -> nn.Module:
    nn.init.normal_(layer.weight, std=deviation)
    return layer


def _normalised(layer: nn.Module, deviation: float) -> nn.Module:
    """With weight normalisation, its direction starting normal: the deviation sets how fast Adam turns it."""
    return weight_norm(_normal(layer, deviation))


def _weighted(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]


@dataclass(frozen=True)
class Dense:
    """A preset's networks of §6.1, for images in [0, 1]."""

    hidden: tuple[int, ...] = (1000, 500, 250, 250, 250)
    generator_hidden: tuple[int, ...] = (500, 500)
    input_noise: float = 0.3
    noise: float = 0.5

    def build(self, shape: tuple[int, int, int], num_classes: int, compare_batch: bool) -> tuple[Classifier, nn.Module]:
        """Discriminator and generator for images [C, H, W]."""
        layers = {"hidden": self.hidden, "input_noise": self.input_noise, "noise": self.noise}
        classifier = DenseClassifier(math.prod(shape), num_classes, **layers, compare_batch=compare_batch)
        return classifier, DenseGenerator(shape, hidden=self.generator_hidden)

    def input_of(self, images: Tensor) -> Tensor:
        """Images in [−1, 1] → in the networks' range."""
        return (images + 1) / 2


@dataclass(frozen=True)
class Convolutional:
    """A preset's networks of §6.2, for images in [−1, 1]."""

    width: int
    generator_width: int = 512

    def build(self, shape: tuple[int, int, int], num_classes: int, compare_batch: bool) -> tuple[Classifier, nn.Module]:
        """Discriminator and generator for images [C, H, W]."""
        classifier = ConvClassifier(shape[0], num_classes, width=self.width, compare_batch=compare_batch)
        return classifier, ConvGenerator(shape[1], shape[0], width=self.generator_width)

    def input_of(self, images: Tensor) -> Tensor:
        """Images in [−1, 1] → in the networks' range."""
        return images


NETWORKS: Mapping[str, Dense | Convolutional] = {
    "digits": Dense(hidden=(300, 150, 100), generator_hidden=(200, 200), input_noise=0.2, noise=0.15),
    "glyphs": Convolutional(width=16, generator_width=64),
    "mnist": Dense(),
    "svhn": Convolutional(width=64),
    "cifar10": Convolutional(width=96),
}
"""Of the presets of :mod:`train.semi_supervised`."""
