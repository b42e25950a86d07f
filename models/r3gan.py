"""Generator and discriminator of R3GAN (Huang et al. 2024, arXiv 2501.05441, section 3 and the authors' code).

Residual stages of ResNeXt's bottlenecks, without any norm: 1×1, grouped 3×3 and 1×1 convolutions, with a bias and a
leaky ReLU between them. The last convolution of a block starts at 0 (Fix-up, Zhang et al. 2019), so each block starts
as the identity. Images are resampled between stages by the filter [1, 3, 3, 1], and by a 1×1 convolution where widths
differ. Labels are embedded: beside z in the generator, and as what the discriminator's last features are projected on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from gan_ops import bias_act, conv2d, downsample2d, resample_conv2d, setup_filter, upsample2d
from gan_ops.objectives import Scores
from models.parts.heads import check_condition
from models.parts.labels import one_hot
from models.parts.precision import widened
from models.parts.r3gan_weights import from_authors as from_authors

SLOPE = 0.2
"""Of the leaky ReLU, below zero."""
FILTER = (0.125, 0.375, 0.375, 0.125)
Condition = Literal["none", "projection"]


class Generator(nn.Module):
    """Latents z [N, latent_dim] → images [N, image_channels, R, R], R = 4·2^(stages − 1), of any value.

    Args:
        widths: channels of each stage, from 4×4 on.
        blocks: residual blocks of a stage.
        group_width: channels that a 3×3 convolution mixes; divides ``expansion`` times each width.
        expansion: channels within a block, as a multiple of those outside.
        num_classes: labels [N] are given too; 0 for none.
        embedding: length of a class's embedding; None for ``latent_dim``.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        image_channels: int = 3,
        latent_dim: int = 64,
        blocks: int = 2,
        group_width: int = 16,
        expansion: int = 2,
        num_classes: int = 0,
        embedding: int | None = None,
    ):
        super().__init__()
        self.latent_dim, self.num_classes, self.image_channels = latent_dim, num_classes, image_channels
        self.resolution = 4 << (len(widths) - 1)
        length = latent_dim if embedding is None else embedding
        self.embed = _embedding(num_classes, length) if num_classes else None
        self.scale = _weight(widths[0], latent_dim + (length if num_classes else 0))
        self.basis = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        depth = blocks * len(widths)
        self.stages = nn.ModuleList(_blocks(width, blocks, expansion, group_width, depth) for width in widths)
        self.ups = nn.ModuleList(Up(before, after) for before, after in pairwise(widths))
        self.to_rgb = _weight(image_channels, widths[-1], 1, 1)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        if z.dim() != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(f"z is {list(z.shape)}, not [N, {self.latent_dim}]")
        if self.embed is not None:
            z = torch.cat([z, one_hot(labels, self.num_classes, z) @ self.embed], 1)
        elif labels is not None:
            raise ValueError("labels were given to a generator with num_classes=0")
        x = self.basis * nn.functional.linear(z, self.scale)[:, :, None, None]  # → [N, C, 4, 4]
        x = self.stages[0](x)
        for up, stage in zip(self.ups, self.stages[1:], strict=True):
            x = stage(up(x))
        return conv2d(x, self.to_rgb)


class Discriminator(nn.Module):
    """Images [N, image_channels, R, R], R = 4·2^(stages − 1) → :class:`Scores`.

    With the condition "projection" a score is ⟨embedding of the label, W·h⟩ of the last features h, without a term
    that is the same for all classes.

    Args:
        widths: channels of each stage, from 4×4 on, as the generator's.
        blocks, group_width, expansion: as there.
        num_classes: of the labels [N], for the condition.
        embedding: length of a class's embedding; None for ``widths[0]``.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        image_channels: int = 3,
        blocks: int = 2,
        group_width: int = 16,
        expansion: int = 2,
        num_classes: int = 0,
        condition: Condition = "none",
        embedding: int | None = None,
    ):
        super().__init__()
        check_condition(condition, num_classes)
        self.image_channels, self.num_classes = image_channels, num_classes
        self.resolution = 4 << (len(widths) - 1)
        large_to_small = widths[::-1]
        self.from_rgb = _weight(large_to_small[0], image_channels, 1, 1)
        depth = blocks * len(widths)
        self.stages = nn.ModuleList(_blocks(width, blocks, expansion, group_width, depth) for width in large_to_small)
        self.downs = nn.ModuleList(Down(before, after) for before, after in pairwise(large_to_small))
        self.basis = nn.Parameter(torch.randn(1, widths[0], 4, 4) / 4)
        length = widths[0] if embedding is None else embedding
        self.out = _weight(length if num_classes else 1, widths[0])
        self.embed = _embedding(num_classes, length, 1 / math.sqrt(length)) if num_classes else None

    def forward(self, x: Tensor, labels: Tensor | None = None, batches: int = 1) -> Scores:
        """Scores of x; ``maps`` are those of each stage, of heights R, … 8, 4. A score is of one image alone, however
        many minibatches x interleaves."""
        r = self.resolution
        if x.dim() != 4 or x.shape[1:] != (self.image_channels, r, r):
            raise ValueError(f"x is {list(x.shape)}, not [N, {self.image_channels}, {r}, {r}]")
        if labels is not None and self.embed is None:
            raise ValueError('labels were given to a discriminator with condition="none"')
        x = self.stages[0](conv2d(x, self.from_rgb))
        maps = [x]
        for down, stage in zip(self.downs, self.stages[1:], strict=True):
            x = stage(down(x))
            maps.append(x)
        h = (x * self.basis).sum((2, 3))  # [N, C, 4, 4] → [N, C]
        out = widened(nn.functional.linear(h, self.out))
        if self.embed is None:
            return Scores(out[:, 0], None, tuple(maps))
        score = (out * (one_hot(labels, self.num_classes, out) @ self.embed)).sum(1)
        return Scores(score, None, tuple(maps))


class Block(nn.Module):
    """x + f(x) of x [N, channels, H, W], f being 0 at the start.

    Args:
        depth: blocks of the whole network, whose changes add up: the weights of the first two convolutions start
            smaller by its fourth root.
    """

    def __init__(self, channels: int, hidden: int, group_width: int, depth: int):
        super().__init__()
        if hidden % group_width:
            raise ValueError(f"group_width={group_width} does not divide the {hidden} channels of a block")
        gain = math.sqrt(2 / (1 + SLOPE**2)) * depth**-0.25
        self.groups = hidden // group_width
        self.enter = _weight(hidden, channels, 1, 1, gain=gain)
        self.enter_bias = nn.Parameter(torch.zeros(hidden))
        self.mix = _weight(hidden, group_width, 3, 3, gain=gain)
        self.mix_bias = nn.Parameter(torch.zeros(hidden))
        self.leave = nn.Parameter(torch.zeros(channels, hidden, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = bias_act(conv2d(x, self.enter), self.enter_bias, SLOPE)
        h = bias_act(conv2d(h, self.mix, padding=1, groups=self.groups), self.mix_bias, SLOPE)
        return x + conv2d(h, self.leave)


class _Resampler(nn.Module):
    """Changes the size by the filter, and the width where ``before`` and ``after`` differ."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.register_buffer("filter", setup_filter(FILTER, normalize=False), persistent=False)
        self.weight = _weight(after, before, 1, 1) if before != after else None


class Up(_Resampler):
    """[N, before, H, W] → [N, after, 2H, 2W]."""

    def forward(self, x: Tensor) -> Tensor:
        if self.weight is None:
            return upsample2d(x, self.filter)
        return resample_conv2d(x, self.weight, self.filter, up=2)


class Down(_Resampler):
    """[N, before, H, W] → [N, after, H/2, W/2]."""

    def forward(self, x: Tensor) -> Tensor:
        if self.weight is None:
            return downsample2d(x, self.filter)
        return resample_conv2d(x, self.weight, self.filter, down=2)


def _blocks(width: int, count: int, expansion: int, group_width: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*(Block(width, expansion * width, group_width, depth) for _ in range(count)))


def _weight(*shape: int, gain: float = 1.0) -> nn.Parameter:
    """~ N(0, gain²/fan-in) (He et al. 2015), of a layer [outputs, inputs, *]."""
    return nn.Parameter(torch.randn(shape) * (gain / math.sqrt(math.prod(shape[1:]))))


def _embedding(num_classes: int, length: int, gain: float = 1.0) -> nn.Parameter:
    """[num_classes, length]: a dense layer of one-hot labels."""
    return nn.Parameter(torch.randn(num_classes, length) * (gain / math.sqrt(num_classes)))
