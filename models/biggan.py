"""BigGAN and BigGAN-deep: residual networks of classes (Brock et al. 2019, arXiv 1809.11096, appendix B)."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ops.objectives import Scores
from models.parts.attending import attention_after
from models.parts.biggan_weights import from_authors as from_authors
from models.parts.bottlenecks import DownBottleneck, UpBottleneck
from models.parts.heads import Head, takes_labels
from models.parts.labels import one_hot
from models.parts.modulation import Modulated, Unmodulated
from models.parts.norms import spectral
from models.parts.residual import Conv2d, DownBlock, UpBlock, d_multiples, g_multiples

_SMALL = {size: (4,) * times for size, times in ((8, 2), (16, 3), (32, 4))}
G_WIDTHS = {**_SMALL, 64: (16, 16, 8, 4, 2), 128: (16, 16, 8, 4, 2, 1), 256: (16, 16, 8, 8, 4, 2, 1)}
"""Feature maps of the dense layer and behind each doubling, by resolution, as multiples of ``width``."""
D_WIDTHS = {size: (4, 4, 4, 4) for size in _SMALL}
D_WIDTHS |= {64: (1, 2, 4, 8, 16), 128: (1, 2, 4, 8, 16, 16), 256: (1, 2, 4, 8, 8, 16, 16)}
D_HALVINGS = {**dict.fromkeys(_SMALL, 2), 64: 4, 128: 5, 256: 6}
RESOLUTIONS = tuple(G_WIDTHS)
d_blocks = partial(d_multiples, D_WIDTHS, D_HALVINGS)
"""Multiples of D's blocks, and how many of these halve, of (resolution, pyramid)."""
BOTTOM = 4
"""Height of the first maps."""


class Generator(nn.Module):
    """Latents z [N, latent_dim] → images [N, image_channels, resolution, resolution] in (−1, 1).

    Scales and shifts of all batch norms but the last are linear maps of the sample's conditions: its class, a part of
    z, or both. Layers with weights have spectral norm, but for tables of class vectors. Weights start orthogonal.

    Args:
        resolution: one of :data:`RESOLUTIONS`.
        width: maps are multiples of it (:data:`G_WIDTHS`): 96 in the paper at 128 px, 128 in BigGAN-deep, 64 in the
            authors' code for CIFAR-10.
        pyramid: up to 32 px the multiples are those of :func:`models.parts.residual.pyramid_widths`.
        num_classes: of the labels int64 [N] that are given with z; 0 for none.
        embedding: length of the classes' vectors, which all norms share (the paper's: 128); 0: each norm has its own.
        hierarchical: z is cut into as many chunks as there are doublings and one more; the first goes into the dense
            layer, each other one into the conditions of a block's norms. Must divide latent_dim.
        deep: BigGAN-deep: two bottlenecks for each doubling, and all of z in the conditions of all norms.
        attention: heights with attention, behind the block; the paper's is 64.
    """

    def __init__(
        self,
        resolution: int,
        *,
        image_channels: int = 3,
        latent_dim: int = 128,
        width: int = 64,
        pyramid: bool = False,
        num_classes: int = 0,
        embedding: int = 0,
        hierarchical: bool = False,
        deep: bool = False,
        attention: Collection[int] = (),
    ):
        super().__init__()
        _check_resolution(resolution)
        widths = [width * times for times in g_multiples(G_WIDTHS, resolution, pyramid)]
        _check_conditions(latent_dim, len(widths), num_classes, embedding, hierarchical, deep)
        self.resolution, self.latent_dim, self.num_classes = resolution, latent_dim, num_classes
        self.chunks, self.deep = len(widths) if hierarchical else 1, deep
        if embedding:
            self.embed = finished(nn.Linear(num_classes, embedding, bias=False), normed=False)
        of_class = embedding or num_classes
        of_latent = latent_dim if deep else latent_dim // self.chunks if hierarchical else 0

        def norm(channels: int) -> nn.Module:
            if not of_class + of_latent:
                return Unmodulated(channels)
            table = not (embedding or of_latent)  # one-hot vectors choose its columns
            maps = (nn.Linear(of_class + of_latent, channels, bias=False) for _ in range(2))
            return Modulated(channels, *(finished(layer, normed=not table) for layer in maps))

        self.dense = finished(nn.Linear(latent_dim // self.chunks + of_class * deep, BOTTOM**2 * widths[0]))
        self.blocks = nn.ModuleList()
        for before, after in pairwise(widths):
            block = (
                UpBottleneck(before, after, norm, finished, up=True) if deep else UpBlock(before, after, norm, finished)
            )
            first = [UpBottleneck(before, before, norm, finished, up=False)] if deep else []
            self.blocks.append(nn.ModuleList([*first, block]))
        heights = [BOTTOM << i for i in range(1, len(widths))]
        self.attention = attention_after(heights, widths[1:], attention, finished)
        self.norm = Unmodulated(widths[-1])
        self.to_image = finished(Conv2d(widths[-1], image_channels, 3))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images of z, and of labels int64 [N] if there are classes."""
        if z.dim() != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(f"z is {list(z.shape)}, not [N, {self.latent_dim}]")
        if labels is not None and not self.num_classes:
            raise ValueError("labels were given to a generator with num_classes=0")
        first, conditions = self._conditions(z, labels)
        x = self.dense(first).unflatten(1, (-1, BOTTOM, BOTTOM))
        for i, (stage, y) in enumerate(zip(self.blocks, conditions, strict=True)):
            for block in stage:
                x = block(x, y)
            if str(i) in self.attention:
                x = self.attention[str(i)](x)
        return self.to_image(F.relu(self.norm(x), inplace=True)).tanh()

    def _conditions(self, z: Tensor, labels: Tensor | None) -> tuple[Tensor, list[Tensor | None]]:
        """What the dense layer is given, and the conditions y [N, F] of the norms behind it, for each doubling."""
        of_class = []
        if self.num_classes:
            chosen = one_hot(labels, self.num_classes, z)
            of_class = [self.embed(chosen) if hasattr(self, "embed") else chosen]
        count = len(self.blocks)
        if self.deep:
            y = torch.cat([*of_class, z], 1)
            return y, [y] * count
        if self.chunks > 1:
            first, *others = z.chunk(self.chunks, 1)
            return first, [torch.cat([*of_class, chunk], 1) for chunk in others]
        return z, (of_class or [None]) * count


class Discriminator(nn.Module):
    """Images [N, image_channels, resolution, resolution] → :class:`Scores`.

    All layers have spectral norm; weights start orthogonal.

    Args:
        width: maps are multiples of it (:data:`D_WIDTHS`).
        pyramid: up to 32 px the multiples are G's; the blocks end at 4×4, and the last one does not halve.
        condition, num_classes, outputs: see :class:`models.parts.heads.Head`; the paper's is "projection".
        deep: BigGAN-deep: two bottlenecks for each halving.
        attention: heights with attention, behind the block; the paper's is 64.
    """

    sees_batch = False

    def __init__(
        self,
        resolution: int,
        *,
        image_channels: int = 3,
        width: int = 64,
        pyramid: bool = False,
        condition: str = "none",
        num_classes: int = 0,
        outputs: int = 1,
        deep: bool = False,
        attention: Collection[int] = (),
    ):
        super().__init__()
        _check_resolution(resolution)
        if condition == "cgan":
            raise ValueError("condition='cgan': labels meet the features in this discriminator, as 'projection' has it")
        self.resolution, self.image_channels = resolution, image_channels
        self.num_classes, self._takes_labels = num_classes, takes_labels(condition)
        multiples, halvings = d_blocks(resolution, pyramid)
        first, *widths = [width * times for times in multiples]
        self.from_image = finished(Conv2d(image_channels, first, 3)) if deep else nn.Identity()
        pairs = list(pairwise([first, *widths] if deep else [image_channels, first, *widths]))
        self.blocks = nn.ModuleList()
        for i, (before, after) in enumerate(pairs):
            if deep:
                second = DownBottleneck(after, after, finished, down=False)
                stage = [DownBottleneck(before, after, finished, down=i < halvings), second]
            else:
                stage = [DownBlock(before, after, finished, hidden=after, first=i == 0, down=i < halvings)]
            self.blocks.append(nn.ModuleList(stage))
        heights = [resolution >> min(i, halvings) for i in range(1, len(pairs) + 1)]
        self.attention = attention_after(heights, [after for _, after in pairs], attention, finished)
        self.head = Head(pairs[-1][1], condition=condition, num_classes=num_classes, outputs=outputs, finish=finished)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Scores:
        """Scores of x, given labels int64 [N] with condition "projection"; ``maps`` are what the stages give."""
        r = self.resolution
        if x.dim() != 4 or x.shape[1:] != (self.image_channels, r, r):
            raise ValueError(f"x is {list(x.shape)}, not [N, {self.image_channels}, {r}, {r}]")
        if labels is not None and not self._takes_labels:
            raise ValueError("labels were given to a discriminator that takes none")
        maps = []
        x = self.from_image(x)
        for i, stage in enumerate(self.blocks):
            for block in stage:
                x = block(x)
            if str(i) in self.attention:
                x = self.attention[str(i)](x)
            maps.append(x)
        return Scores(*self.head(F.relu(x).sum((2, 3)), labels), tuple(maps))


def finished(layer: nn.Module, normed: bool = True) -> nn.Module:
    """Orthogonal weights (Saxe et al. 2014) and biases 0; then spectral norm."""
    nn.init.orthogonal_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return spectral(layer) if normed else layer


def _check_resolution(resolution: int) -> None:
    if resolution not in RESOLUTIONS:
        raise ValueError(f"resolution={resolution} is not one of {', '.join(map(str, RESOLUTIONS))}")


def _check_conditions(
    latent_dim: int, chunks: int, num_classes: int, embedding: int, hierarchical: bool, deep: bool
) -> None:
    if embedding and not num_classes:
        raise ValueError(f"embedding={embedding} is of classes, and num_classes=0")
    if hierarchical and deep:
        raise ValueError("hierarchical=True with deep=True, which gives all of z to all blocks")
    if (hierarchical or deep) and num_classes and not embedding:
        raise ValueError(
            f"embedding=0: z joins the vectors that all norms share, and num_classes={num_classes} has none"
        )
    if hierarchical and latent_dim % chunks:
        raise ValueError(f"latent_dim={latent_dim} is no multiple of the {chunks} chunks that hierarchical=True makes")
