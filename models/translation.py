"""Translators of images and critics of patches: CycleGAN's networks (Zhu et al. 2017, arXiv 1703.10593, section 4).

The translator is that of Johnson et al. 2016 with instance norm, the critic that of Isola et al. 2017.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, get_args

from torch import Tensor, nn

from gan_ops.objectives import Scores
from models.parts.norms import norm_layer
from models.parts.precision import widened

Norm = Literal["instance", "layer", "group"]
"""Those of each sample by itself. The paper's is instance norm. It takes from each map its mean and its scale, and so
from a picture of two flat colours what these are; where that is to stay, layer norm keeps it."""
SLOPE = 0.2
"""Of the critic's leaky ReLU, below zero."""
WIDEST = 8
"""A critic's layers have at most so many times the feature maps of its first (Isola et al. 2017, appendix 6.1.2)."""


class Residual(nn.Module):
    """x + f(x), f two 3x3 convolutions with a norm each; no activation after the sum (appendix 7.2)."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1),
            _started(nn.Conv2d(channels, channels, 3, bias=False)),
            _normed(norm, channels),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1),
            _started(nn.Conv2d(channels, channels, 3, bias=False)),
            _normed(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Translator(nn.Module):
    """Images x [N, image_channels, resolution, resolution] in [-1, 1] → images of the same shape in (-1, 1).

    A 7x7 convolution, two of stride 2, residual blocks at a quarter of the resolution, two transposed convolutions and
    a last 7x7 one. It has no noise: a picture has one translation.

    Args:
        resolution: a multiple of 4 from 8 up.
        width: feature maps of the first convolution; blocks have four times as many.
        blocks: 9 from 256 px on, 6 at 128 (section 4).
        norm: one of :data:`Norm`.
    """

    def __init__(
        self, resolution: int, *, image_channels: int = 3, width: int = 64, blocks: int = 9, norm: str = "instance"
    ) -> None:
        super().__init__()
        if resolution < 8 or resolution % 4:
            raise ValueError(f"resolution={resolution} is not a multiple of 4 from 8 on")
        self.resolution, self.image_channels = resolution, image_channels

        def finished(convolution: nn.Module, channels: int) -> list[nn.Module]:
            return [_started(convolution), _normed(norm, channels), nn.ReLU(inplace=True)]

        layers: list[nn.Module] = [nn.ReflectionPad2d(3)]
        layers += finished(nn.Conv2d(image_channels, width, 7, bias=False), width)
        widths = (width, 2 * width, 4 * width)
        for before, after in pairwise(widths):
            layers += finished(nn.Conv2d(before, after, 3, 2, 1, bias=False), after)
        layers += [Residual(widths[-1], norm) for _ in range(blocks)]
        for before, after in pairwise(widths[::-1]):
            up = nn.ConvTranspose2d(before, after, 3, 2, 1, output_padding=1, bias=False)
            layers += finished(up, after)
        layers += [nn.ReflectionPad2d(3), _started(nn.Conv2d(width, image_channels, 7)), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """The translation, in float32 or wider."""
        _check(x, self)
        return widened(self.layers(x))


class PatchCritic(nn.Module):
    """Images x [N, image_channels, resolution, resolution] → :class:`Scores`, with one score for each of the
    overlapping patches: ``score`` [N, h, w].

    Objectives take means of functions of a score, and so those over all patches of all images. ``maps`` are those after
    each activation.

    Args:
        width: feature maps of the first layer; each next has twice as many, up to 8 times.
        layers: convolutions of stride 2; two of stride 1 follow. Patches are 70x70 pixels with 3, 34x34 with 2 and
            16x16 with 1.
        norm: one of :data:`Norm`.
    """

    def __init__(
        self, resolution: int, *, image_channels: int = 3, width: int = 64, layers: int = 3, norm: str = "instance"
    ) -> None:
        super().__init__()
        if not 1 <= layers <= (most := most_layers(resolution)):
            raise ValueError(f"layers={layers} is not from 1 to {most}, which leave a score at resolution={resolution}")
        self.resolution, self.image_channels = resolution, image_channels
        widths = [image_channels, *(width * min(2**i, WIDEST) for i in range(layers + 1))]
        self.blocks = nn.ModuleList()
        for i, (before, after) in enumerate(pairwise(widths)):
            # No norm in the first layer, which sees the colours themselves.
            convolution = _started(nn.Conv2d(before, after, 4, 2 if i < layers else 1, 1, bias=i == 0))
            between = [_normed(norm, after)] if i else []
            self.blocks.append(nn.Sequential(convolution, *between, nn.LeakyReLU(SLOPE, inplace=True)))
        self.out = _started(nn.Conv2d(widths[-1], 1, 4, 1, 1))

    def forward(self, x: Tensor) -> Scores:
        _check(x, self)
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return Scores(widened(self.out(x))[:, 0], maps=tuple(maps))


def most_layers(resolution: int) -> int:
    """Layers of stride 2 of the deepest critic of such images. They have to leave maps of height 3, of which the two of
    stride 1 leave a score."""
    return max(resolution // 3, 1).bit_length() - 1


def _check(x: Tensor, network: Translator | PatchCritic) -> None:
    shape = [network.image_channels, network.resolution, network.resolution]
    if x.dim() != 4 or list(x.shape[1:]) != shape:
        raise ValueError(f"x is {list(x.shape)}, not [N, {', '.join(map(str, shape))}]")


def _normed(norm: str, channels: int) -> nn.Module:
    """The layer; instance norm learns nothing, as in the authors' code."""
    if norm not in get_args(Norm):
        raise ValueError(f"norm={norm!r} is not one of {', '.join(get_args(Norm))}")
    return nn.InstanceNorm2d(channels) if norm == "instance" else norm_layer(norm, channels)[0]


def _started(layer: nn.Module) -> nn.Module:
    """Weights ~ N(0, 0.02²) and biases 0 (appendix 7.1)."""
    nn.init.normal_(layer.weight, 0.0, 0.02)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
