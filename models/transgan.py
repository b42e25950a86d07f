"""Generator and discriminator of TransGAN (Jiang et al. 2021, arXiv 2102.07074): transformers without convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ops import nn as gnn
from gan_ops.objectives import Scores
from models.parts.heads import Head, takes_labels
from models.parts.labels import one_hot
from models.parts.precision import widened
from models.parts.transformer import (
    STD,
    Block,
    Stage,
    as_maps,
    as_tokens,
    cell_height,
    position_parameter,
    shuffled,
    token_norm,
)

Upsampling = Literal["shuffle", "bicubic"]
LARGEST_BICUBIC = 32
"""Up to this height maps keep their width, if they are to at all, as in the paper."""


class Generator(nn.Module):
    """Latents z [N, latent_dim] → images [N, image_channels, resolution, resolution], which no layer bounds.

    A dense layer gives the first map; each next stage has maps of twice the height ("memory-friendly generator").

    Args:
        resolution: 2^(stages − 1) times the height of the first maps, which the paper has at 8 (STL-10: 12).
        width: channels of the first stage.
        blocks: of each stage.
        window: height of the cells of grid self-attention; see :class:`models.parts.transformer.Stage`.
        upsampling: between stages. "shuffle" turns channels into pixels, so that each stage has a quarter of the width
            of the one before; "bicubic" does so only beyond 32×32, and keeps the width before that.
        num_classes: labels' one-hot vectors of this length are joined to z.
    """

    def __init__(
        self,
        resolution: int,
        *,
        image_channels: int = 3,
        latent_dim: int = 256,
        width: int = 1024,
        blocks: Sequence[int] = (5, 4, 2),
        heads: int = 4,
        window: int = 16,
        norm: str = "pixel",
        upsampling: Upsampling = "shuffle",
        num_classes: int = 0,
    ):
        super().__init__()
        heights, widths = generator_stages(resolution, width, len(blocks), upsampling, heads, window)
        self.resolution, self.latent_dim, self.num_classes = resolution, latent_dim, num_classes
        self.dense = nn.Linear(latent_dim + num_classes, heights[0] ** 2 * width)
        self.stages = nn.ModuleList(
            Stage(channels, count, heads=heads, height=height, window=window, norm=norm)
            for channels, count, height in zip(widths, blocks, heights, strict=True)
        )
        self.shuffles = [after < before for before, after in pairwise(widths)]
        self.to_rgb = _started(nn.Linear(widths[-1], image_channels))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z [N, latent_dim], labels int64 [N] → images, float32 (float64 of float64) also under autocast."""
        if z.dim() != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(f"z is {list(z.shape)}, not [N, {self.latent_dim}]")
        if self.num_classes:
            z = torch.cat((z, one_hot(labels, self.num_classes, z)), 1)
        elif labels is not None:
            raise ValueError("labels were given to a generator with num_classes=0")
        first, *others = self.stages
        x = first(self.dense(z).unflatten(1, (first.height**2, -1)))
        for stage, shuffle in zip(others, self.shuffles, strict=True):
            before = stage.height // 2
            x = shuffled(x, before) if shuffle else _enlarged(x, before)
            x = stage(x)
        return widened(as_maps(self.to_rgb(x), self.resolution))


class Discriminator(nn.Module):
    """Images [N, image_channels, resolution, resolution] → :class:`Scores`: a transformer of several scales
    ("multi-scale discriminator").

    The first stage has tokens of ``patch``² pixels and three quarters of the width. Before each next stage maps are
    halved by 2×2 means, and tokens of patches twice as high are joined to them, whose channels share the last quarter.
    A class token then attends to all tokens in one more block, and is judged.

    Args:
        width: channels of the last stage, a multiple of 4·(scales − 1).
        blocks: of each stage.
        scales: number of stages; 1 for patches of one size, all of the width.
        window, norm: see :class:`Generator`.
        condition: of the head for ``num_classes``, see :class:`models.parts.heads.Head`; not "cgan".
        minibatch_kernels: those of a minibatch discrimination (Salimans et al. 2016, §3.2) of the class token, of
            ``minibatch_dim`` values each; 0 for none.
        outputs: values of a score: [N], or [N, outputs] of more than one.
    """

    def __init__(
        self,
        resolution: int,
        *,
        image_channels: int = 3,
        width: int = 384,
        blocks: int = 3,
        patch: int = 2,
        scales: int = 2,
        heads: int = 4,
        window: int = 16,
        norm: str = "pixel",
        condition: str = "none",
        num_classes: int = 0,
        minibatch_kernels: int = 0,
        minibatch_dim: int = 5,
        outputs: int = 1,
    ):
        super().__init__()
        if condition == "cgan":
            raise ValueError("condition='cgan': this discriminator has no maps that labels are joined to")
        heights, widths = discriminator_stages(resolution, width, patch, scales, heads, window)
        parts = [widths[0], *(after - before for before, after in pairwise(widths))]
        self.image_channels, self.resolution, self.condition = image_channels, resolution, condition
        self.patches = [patch << i for i in range(scales)]
        self.from_rgb = nn.ModuleList(
            _patch_layer(image_channels, part, side) for part, side in zip(parts, self.patches, strict=True)
        )
        self.stages = nn.ModuleList(
            Stage(channels, blocks, heads=heads, height=height, window=window, norm=norm)
            for channels, height in zip(widths, heights, strict=True)
        )
        self.token = position_parameter(1, 1, width)
        self.last = Block(width, heads, 0, norm)
        self.norm = token_norm(norm, width)
        self.minibatch = None
        if minibatch_kernels:
            self.minibatch = gnn.MinibatchDiscrimination(width, minibatch_kernels, minibatch_dim)
        self.sees_batch = self.minibatch is not None
        features = width + minibatch_kernels
        self.head = Head(features, condition=condition, num_classes=num_classes, outputs=outputs)
        for module in [*self.stages.modules(), *self.last.modules(), *self.head.modules()]:
            if isinstance(module, nn.Linear):  # as the authors' discriminators begin; their generators, as torch has it
                nn.init.trunc_normal_(module.weight, std=STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, labels: Tensor | None = None, batches: int = 1) -> Scores:
        """Scores of x; ``maps`` are what the stages give, the largest first. Labels int64 [N] are for the condition
        "projection" alone.

        With ``batches`` > 1, x interleaves that many minibatches (sample n belongs to minibatch n mod ``batches``), and
        the result is what they would give one by one.
        """
        if labels is not None and not takes_labels(self.condition):
            raise ValueError(f"labels were given to a discriminator with condition={self.condition!r}")
        features, maps = self._features(x)
        if self.minibatch is not None:
            features = self.minibatch(features, batches)  # joined to what it compares
        return Scores(*self.head(features, labels), maps)

    def _features(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The class token [N, width] after the last block, and the stages' maps."""
        r = self.resolution
        if x.dim() != 4 or x.shape[1:] != (self.image_channels, r, r):
            raise ValueError(f"x is {list(x.shape)}, not [N, {self.image_channels}, {r}, {r}]")
        maps: list[Tensor] = []
        for stage, layer, side in zip(self.stages, self.from_rgb, self.patches, strict=True):
            tokens = layer(as_tokens(F.pixel_unshuffle(x, side)))  # [N, C·side², h, h] → [N, h², part]
            if maps:
                tokens = torch.cat([as_tokens(F.avg_pool2d(maps[-1], 2)), tokens], 2)
            maps.append(as_maps(stage(tokens), stage.height))
        tokens = as_tokens(maps[-1])
        tokens = torch.cat([self.token.expand(len(x), -1, -1).to(tokens.dtype), tokens], 1)
        return self.norm(self.last(tokens)[:, 0]), tuple(maps)

    @torch.no_grad()
    def fit_minibatch(self, x: Tensor, labels: Tensor | None = None) -> None:
        """Scales the minibatch discrimination's kernels to images x, as its authors do; see its ``fit_scale``."""
        if self.minibatch is not None:
            self.minibatch.fit_scale(self._features(x)[0])


def generator_stages(
    resolution: int, width: int, stages: int, upsampling: str, heads: int, window: int
) -> tuple[list[int], list[int]]:
    """Heights and widths of the generator's stages; ValueError where sizes do not come out even."""
    if upsampling not in ("shuffle", "bicubic"):
        raise ValueError(f"upsampling={upsampling!r} is neither shuffle nor bicubic")
    if stages < 1 or resolution % (1 << stages - 1) or resolution >> stages - 1 < 2:
        raise ValueError(f"resolution={resolution} is no first height of 2 or more, doubled by {stages} stages")
    heights, widths = [resolution >> stages - 1 - i for i in range(stages)], [width]
    for height in heights[1:]:
        shuffle = upsampling == "shuffle" or height > LARGEST_BICUBIC
        if shuffle and widths[-1] % 4:
            raise ValueError(f"width={width} cannot be divided by 4 once more before the stage at {height}x{height}")
        widths.append(widths[-1] // 4 if shuffle else widths[-1])
    return _even(heights, widths, heads, window)


def discriminator_stages(
    resolution: int, width: int, patch: int, scales: int, heads: int, window: int
) -> tuple[list[int], list[int]]:
    """Heights and widths of the discriminator's stages; ValueError where sizes do not come out even."""
    if scales < 1 or resolution % (patch << scales - 1):
        raise ValueError(f"patch={patch}, doubled for each of scales={scales}, does not divide resolution={resolution}")
    heights = [resolution // (patch << i) for i in range(scales)]
    if scales == 1:
        return _even(heights, [width], heads, window)
    if width % (4 * (scales - 1)):
        raise ValueError(f"width={width} is not divisible by {4 * (scales - 1)}, as scales={scales} has it")
    part = width // 4 // (scales - 1)
    return _even(heights, [width - part * (scales - 1 - i) for i in range(scales)], heads, window)


def _even(heights: list[int], widths: list[int], heads: int, window: int) -> tuple[list[int], list[int]]:
    """Heights and widths of stages; ValueError unless their attention can be had."""
    for height, width in zip(heights, widths, strict=True):
        cell_height(height, window)
        if width % heads:
            raise ValueError(f"heads={heads} does not divide the {width} channels at {height}x{height}")
    return heights, widths


def _patch_layer(image_channels: int, channels: int, side: int) -> nn.Linear:
    """Patches [..., image_channels·side²] → [..., channels]."""
    return _started(nn.Linear(image_channels * side * side, channels), side)


def _started(layer: nn.Linear, side: int = 1) -> nn.Linear:
    """Weights as Glorot and Bengio 2010 would have them in a convolution over patches of so many rows and columns."""
    nn.init.xavier_uniform_(layer.weight.data.view(len(layer.weight), -1, side, side))
    return layer


def _enlarged(x: Tensor, height: int) -> Tensor:
    """[N, height², C] → [N, (2·height)², C], by bicubic interpolation."""
    return as_tokens(F.interpolate(as_maps(x, height), scale_factor=2, mode="bicubic"))
