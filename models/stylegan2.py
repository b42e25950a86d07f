"""Generator and discriminator of StyleGAN2 (Karras et al. 2020, arXiv 1912.04958, and StyleGAN2-ADA, 2006.06676).

A mapping network makes a style w of the latent, and a style modulates each layer of the synthesis network, which starts
from a constant. Each resolution adds to the image what is enlarged from the one before. The discriminator is residual.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from gan_ops import setup_filter, upsample2d
from gan_ops.nn import MinibatchStddev
from gan_ops.objectives import Scores
from models.parts.equalized import Conv, Dense
from models.parts.heads import check_condition
from models.parts.mapping import Mapping
from models.parts.noise import noise_maps
from models.parts.precision import computing, entering, widened
from models.parts.styled import StyledConv, ToRgb
from models.parts.stylegan2_weights import from_authors as from_authors
from models.parts.styles import mixed, styles_of

FILTER = (0.125, 0.375, 0.375, 0.125)
HALF_FROM = 8
"""Below this height layers are never in half precision."""
Condition = Literal["none", "projection"]


class Drawn(NamedTuple):
    """Images [N, C, R, R], and the styles [N, layers, w_dim] that they were made of."""

    images: Tensor
    styles: Tensor


class Generator(nn.Module):
    """Latents z [N, latent_dim] → images [N, image_channels, R, R], R = 4·2^(len(widths) − 1), of any value.

    Args:
        widths: channels at each resolution, from 4×4 on.
        mapping_layers: of the mapping network (8 in the paper, 2 in StyleGAN2-ADA's ``auto``).
        num_classes: labels int64 [N] are given too; 0 for none.
        w_beta: what the mean of w keeps of itself in a step.
        half: how many of the highest resolutions are in half precision, where autocast is on.
        clamp: the largest magnitude of maps, so that they fit into half precision; None for no bound.

    Attributes:
        layers: how many styles an image is made of.
        noise_values: how many values the noise of an image has.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        image_channels: int = 3,
        latent_dim: int = 512,
        w_dim: int = 512,
        mapping_layers: int = 8,
        num_classes: int = 0,
        w_beta: float = 0.995,
        half: int = 4,
        clamp: float | None = None,
    ):
        super().__init__()
        self.latent_dim, self.num_classes, self.image_channels = latent_dim, num_classes, image_channels
        self.heights = [4 << i for i in range(len(widths))]
        self.resolution, self.layers = self.heights[-1], 2 * len(widths)
        self.half_from = lowest_in_half(self.resolution, half)
        self.mapping = Mapping(latent_dim, w_dim, layers=mapping_layers, num_classes=num_classes, w_beta=w_beta)
        self.register_buffer("filter", setup_filter(FILTER, normalize=False), persistent=False)
        self.basis = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        convs = [StyledConv(widths[0], widths[0], w_dim, 4, clamp=clamp)]
        for height, (before, after) in zip(self.heights[1:], pairwise(widths), strict=True):
            convs.append(StyledConv(before, after, w_dim, height, up=2, filter=self.filter, clamp=clamp))
            convs.append(StyledConv(after, after, w_dim, height, clamp=clamp))
        self.convs = nn.ModuleList(convs)
        self.to_rgb = nn.ModuleList(ToRgb(width, image_channels, w_dim, clamp=clamp) for width in widths)
        self.noise_heights = [4, *(height for height in self.heights[1:] for _ in range(2))]  # of each convolution
        self.noise_values = sum(height**2 for height in self.noise_heights)

    def forward(
        self,
        z: Tensor,
        labels: Tensor | None = None,
        *,
        psi: float = 1.0,
        cutoff: int | None = None,
        other: Tensor | None = None,
        cutoffs: Tensor | None = None,
        noise: Tensor | None = None,
        with_styles: bool = False,
    ) -> Tensor | Drawn:
        """Images of z, and of labels if there are classes; float32 (float64 of float64) also under autocast.

        Args:
            psi, cutoff: truncation of the first ``cutoff`` layers' styles (None: of all).
            other: latents [N, latent_dim] whose styles the layers from ``cutoffs``, int64 [N], on have.
            noise: all layers' [N, noise_values]; None for that which they keep.
            with_styles: give the styles too.
        """
        styles = styles_of(self.mapping, z, labels, self.layers, psi=psi, cutoff=cutoff)
        if other is not None:
            others = styles_of(self.mapping, other, labels, self.layers, psi=psi, cutoff=cutoff)
            styles = mixed(styles, others, cutoffs)
        images = self.synthesis(styles, noise)
        return Drawn(images, styles) if with_styles else images

    def synthesis(self, styles: Tensor, noise: Tensor | None = None) -> Tensor:
        """Images of a style w for each layer [N, layers, w_dim]."""
        if styles.dim() != 3 or styles.shape[1] != self.layers:
            raise ValueError(f"styles are {list(styles.shape)}, not [N, {self.layers}, {self.mapping.w_dim}]")
        w = styles.unbind(1)
        added = [None] * len(self.convs) if noise is None else noise_maps(noise, self.noise_heights)
        x, image = self.basis.expand(styles.shape[0], -1, -1, -1), None
        for i, height in enumerate(self.heights):
            half = height >= self.half_from
            with computing(x, half):
                x = entering(x, half)
                for layer in range(2 * i - 1, 2 * i + 1) if i else (0,):
                    x = self.convs[layer](x, w[layer], added[layer])
                # The next resolution's first layer has the same style.
                colours = widened(self.to_rgb[i](x, w[2 * i + 1]))
            image = colours if image is None else upsample2d(image, self.filter) + colours
        return image


class Discriminator(nn.Module):
    """Images [N, image_channels, R, R], R = 4·2^(len(widths) − 1) → :class:`Scores`.

    With the condition "projection" a score is ⟨m(y), W·h⟩/√C of the last features h and a mapping m of the labels y
    (Miyato and Koyama 2018, without the term that is the same for all classes), both with C = ``widths[0]`` values.

    Args:
        widths: channels at each resolution, from 4×4 on.
        residual: blocks have skips (StyleGAN2), or none (that of StyleGAN2-ADA for CIFAR-10).
        group_size: images in a group of the minibatch standard deviation; None for the whole minibatch.
        num_classes: of the labels int64 [N], for the condition.
        half, clamp: see :class:`Generator`.
    """

    sees_batch = True

    def __init__(
        self,
        widths: Sequence[int],
        *,
        image_channels: int = 3,
        residual: bool = True,
        group_size: int | None = 4,
        num_classes: int = 0,
        condition: Condition = "none",
        half: int = 4,
        clamp: float | None = None,
    ):
        super().__init__()
        check_condition(condition, num_classes)
        self.image_channels, self.num_classes = image_channels, num_classes
        self.resolution = 4 << (len(widths) - 1)
        self.half_from = lowest_in_half(self.resolution, half)
        large_to_small = widths[::-1]
        self.from_rgb = Conv(image_channels, large_to_small[0], 1, clamp=clamp)
        self.blocks = nn.ModuleList(
            DownBlock(before, after, residual=residual, clamp=clamp) for before, after in pairwise(large_to_small)
        )
        self.stddev = MinibatchStddev(group_size)
        last = widths[0]
        self.conv = Conv(last + self.stddev.num_channels, last, 3, clamp=clamp)
        self.dense = Dense(16 * last, last, act="lrelu")
        self.out = Dense(last, last if num_classes else 1)
        self.mapping = Mapping(0, last, num_classes=num_classes, w_beta=None) if num_classes else None

    def forward(self, x: Tensor, labels: Tensor | None = None, batches: int = 1) -> Scores:
        """Scores of x; ``maps`` are those of heights R, R/2, … 4. x may interleave ``batches`` minibatches, whose
        deviations stay apart."""
        r = self.resolution
        if x.dim() != 4 or x.shape[1:] != (self.image_channels, r, r):
            raise ValueError(f"x is {list(x.shape)}, not [N, {self.image_channels}, {r}, {r}]")
        if labels is not None and self.mapping is None:
            raise ValueError('labels were given to a discriminator with condition="none"')
        maps = []
        for i, block in enumerate(self.blocks):
            half = r >> i >= self.half_from
            with computing(x, half):
                x = entering(x, half)
                x = x if i else self.from_rgb(x)
                maps.append(x)
                x = block(x)
        with computing(x, False):
            x = entering(x, False)
            x = x if len(self.blocks) else self.from_rgb(x)
            maps.append(x)
            h = self.dense(self.conv(self.stddev(x, batches)).flatten(1))  # [N, C, 4, 4] → [N, C]
        out = self.out(h)
        if self.mapping is None:
            return Scores(out[:, 0], None, tuple(maps))
        score = (out * self.mapping(None, labels)).sum(1) / math.sqrt(out.shape[1])  # [N, C] → [N]
        return Scores(score, None, tuple(maps))

    def freezable(self) -> list[nn.Module]:
        """The layers of the blocks, from the image on, in the order in which Freeze-D takes them."""
        return [self.from_rgb, *(layer for block in self.blocks for layer in block.children())]

    def freeze(self, layers: int) -> None:
        """Makes constants of the first so many layers (Mo et al. 2020, arXiv 2002.10964)."""
        there = self.freezable()
        if not 0 <= layers <= len(there):
            raise ValueError(f"layers={layers} is not between 0 and {len(there)}")
        for layer in there[:layers]:
            layer.requires_grad_(False)


class DownBlock(nn.Module):
    """[N, before, H, W] → [N, after, H/2, W/2]: two 3×3 convolutions, and if ``residual`` a 1×1 one beside them.

    Both branches are then multiplied by √½, so that their sum has the variance of one (Karras et al. 2020, appendix B).
    """

    def __init__(self, before: int, after: int, *, residual: bool = True, clamp: float | None = None):
        super().__init__()
        filter = setup_filter(FILTER, normalize=False)
        self.conv0 = Conv(before, before, 3, clamp=clamp)
        self.conv1 = Conv(before, after, 3, down=2, filter=filter, clamp=clamp)
        if residual:
            self.skip = Conv(before, after, 1, bias=False, act="linear", down=2, filter=filter)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        if not self.residual:
            return self.conv1(self.conv0(x))
        return self.conv1(self.conv0(x), gain=math.sqrt(0.5)) + self.skip(x, gain=math.sqrt(0.5))


def lowest_in_half(resolution: int, half: int) -> float:
    """The height from which on layers may be in half precision, where so many of the highest resolutions may."""
    return max(resolution >> (half - 1), HALF_FROM) if half else math.inf
