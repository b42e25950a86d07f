"""Residual networks of WGAN-GP and SNGAN, with what later papers add (arXiv 1704.00028, 1802.05957).

SNGAN's tables 4 to 6 of 32, 48 and 128 px; attention of SAGAN (1805.08318), conditional batch norm of SNGAN with
projection (1802.05637), self-modulation (1810.01365).
"""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import partial
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from gan_ops.objectives import Scores
from models.parts.attending import attention_after
from models.parts.heads import Head, takes_labels
from models.parts.labels import one_hot
from models.parts.modulation import Modulated, Unmodulated, zero_linear
from models.parts.norms import reparametrized
from models.parts.residual import UPSAMPLINGS, Conv2d, DownBlock, UpBlock, d_multiples, g_multiples

G_WIDTHS = {8: 2 * (4,), 16: 3 * (4,), 32: 4 * (4,), 48: (8, 4, 2, 1), 64: (16, 8, 4, 2, 1), 128: (16, 16, 8, 4, 2, 1)}
"""Feature maps of the dense layer and of each block, by resolution, as multiples of ``width``."""
D_WIDTHS = {
    8: 4 * (2,),
    16: 4 * (2,),
    32: 4 * (2,),
    48: (1, 2, 4, 8, 16),
    64: (1, 2, 4, 8, 16),
    128: (1, 2, 4, 8, 16, 16),
}
D_HALVINGS = {8: 2, 16: 2, 32: 2, 48: 4, 64: 5, 128: 5}
"""Of the discriminator's blocks, the first so many."""
RESOLUTIONS = tuple(G_WIDTHS)
d_blocks = partial(d_multiples, D_WIDTHS, D_HALVINGS)
"""Multiples of D's blocks, and how many of these halve, of (resolution, pyramid)."""
POOLS = ("sum", "mean")


class Generator(nn.Module):
    """Latents z [N, latent_dim] → images [N, image_channels, resolution, resolution] in (−1, 1).

    Its norms are batch norms. With ``num_classes`` their scales and shifts are the class's, all but the last one's;
    with ``self_modulation`` they are a function of z, the last one's too.

    Args:
        resolution: one of :data:`RESOLUTIONS`.
        width: maps are multiples of it (:data:`G_WIDTHS`). SNGAN's is 64 at every resolution; WGAN-GP has 32 at 32 px.
        pyramid: up to 32 px the multiples are those of :func:`models.parts.residual.pyramid_widths`.
        num_classes: of the labels int64 [N] that are given with z; 0 for none.
        self_modulation: units of the hidden layer of each norm (Chen et al. 2019: 32); 0 for none. With labels it sees
            z' = z + E(y) + z·E'(y), E and E' learnt vectors of the classes, beside which the norms have no others.
        spectral: spectral norm of all convolutions and dense layers (Zhang et al. 2019, section 3.2).
        attention: heights with attention, behind the block; SAGAN's is 32.
        scale: of the residual in each block; below 1 signals grow less with depth.
        upsampling: "nearest" or "bilinear".
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
        self_modulation: int = 0,
        spectral: bool = False,
        attention: Collection[int] = (),
        scale: float = 1.0,
        upsampling: str = "nearest",
    ):
        super().__init__()
        _check(resolution, scale)
        if upsampling not in UPSAMPLINGS:
            raise ValueError(f"upsampling={upsampling!r} is not one of {', '.join(UPSAMPLINGS)}")
        self.resolution, self.latent_dim, self.num_classes = resolution, latent_dim, num_classes
        self.self_modulation = self_modulation
        widths = [width * times for times in g_multiples(G_WIDTHS, resolution, pyramid)]
        heights = [resolution >> i for i in reversed(range(len(widths)))]  # of the dense layer and the blocks
        finish = partial(finished, norm="spectral" if spectral else "none")

        def norm(channels: int) -> nn.Module:
            if self_modulation:
                gain, bias = (zero_linear(self_modulation, channels, bias=True) for _ in range(2))
                return Modulated(channels, gain, bias, finished(nn.Linear(latent_dim, self_modulation), "none"))
            if num_classes:
                return Modulated(channels, *(zero_linear(num_classes, channels, bias=False) for _ in range(2)))
            return Unmodulated(channels)

        if self_modulation and num_classes:
            self.shift, self.product = (zero_linear(num_classes, latent_dim, bias=False) for _ in range(2))
        self.dense = finish(nn.Linear(latent_dim, heights[0] ** 2 * widths[0]))
        self.blocks = nn.ModuleList(
            UpBlock(before, after, norm, finish, scale=scale, upsampling=upsampling)
            for before, after in pairwise(widths)
        )
        self.attention = attention_after(heights[1:], widths[1:], attention, finish)
        self.norm = norm(widths[-1]) if self_modulation else Unmodulated(widths[-1])
        self.to_image = finish(Conv2d(widths[-1], image_channels, 3), gain=1.0)
        self._first = (widths[0], heights[0], heights[0])

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images of z, and of labels int64 [N] if there are classes."""
        if z.dim() != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(f"z is {list(z.shape)}, not [N, {self.latent_dim}]")
        if labels is not None and not self.num_classes:
            raise ValueError("labels were given to a generator with num_classes=0")
        y = one_hot(labels, self.num_classes, z) if self.num_classes else None
        if self.self_modulation:
            y = z if y is None else z + self.shift(y) + z * self.product(y)
        x = self.dense(z).unflatten(1, self._first)
        for i, block in enumerate(self.blocks):
            x = block(x, y)
            if str(i) in self.attention:
                x = self.attention[str(i)](x)
        return self.to_image(F.relu(self.norm(x, y), inplace=True)).tanh()


class Discriminator(nn.Module):
    """Images [N, image_channels, resolution, resolution] → :class:`Scores`.

    Args:
        width: maps are multiples of it (:data:`D_WIDTHS`), 64 in the papers.
        pyramid: up to 32 px the multiples are G's; the blocks end at 4×4, and the last one does not halve.
        norm: "spectral", "none", or one of :data:`models.parts.norms.D_NORMS` that sees each sample by itself, such as
            WGAN-GP's "layer".
        attention: heights with attention, behind the block.
        pool: how the last maps' pixels become features: "sum" in SNGAN, "mean" in WGAN-GP.
        condition, num_classes, outputs: see :class:`models.parts.heads.Head`.
        scale: of the residual in each block.
    """

    sees_batch = False

    def __init__(
        self,
        resolution: int,
        *,
        image_channels: int = 3,
        width: int = 64,
        pyramid: bool = False,
        norm: str = "spectral",
        attention: Collection[int] = (),
        pool: str = "sum",
        condition: str = "none",
        num_classes: int = 0,
        outputs: int = 1,
        scale: float = 1.0,
    ):
        super().__init__()
        _check(resolution, scale)
        if norm == "batch":
            raise ValueError("norm='batch': a score would depend on the other images")
        if pool not in POOLS:
            raise ValueError(f"pool={pool!r} is not one of {', '.join(POOLS)}")
        if condition == "cgan":
            raise ValueError("condition='cgan': labels meet the features in this discriminator, as 'projection' has it")
        self.resolution, self.image_channels, self.pool = resolution, image_channels, pool
        self.num_classes, self._takes_labels = num_classes, takes_labels(condition)
        finish = partial(finished, norm=norm)
        multiples, halvings = d_blocks(resolution, pyramid)
        widths = [image_channels, *(width * times for times in multiples)]
        self.blocks = nn.ModuleList(
            DownBlock(
                before,
                after,
                finish,
                hidden=before if i else after,
                first=i == 0,
                down=i < halvings,
                norm=norm,
                scale=scale,
            )
            for i, (before, after) in enumerate(pairwise(widths))
        )
        heights = [resolution >> min(i, halvings) for i in range(1, len(widths))]
        self.attention = attention_after(heights, widths[1:], attention, finish)
        self.head = Head(widths[-1], condition=condition, num_classes=num_classes, outputs=outputs, finish=finish)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Scores:
        """Scores of x, given labels int64 [N] with condition "projection"; ``maps`` are what the blocks give."""
        r = self.resolution
        if x.dim() != 4 or x.shape[1:] != (self.image_channels, r, r):
            raise ValueError(f"x is {list(x.shape)}, not [N, {self.image_channels}, {r}, {r}]")
        if labels is not None and not self._takes_labels:
            raise ValueError("labels were given to a discriminator that takes none")
        maps = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if str(i) in self.attention:
                x = self.attention[str(i)](x)
            maps.append(x)
        h = F.relu(x)
        h = h.sum((2, 3)) if self.pool == "sum" else h.mean((2, 3))
        return Scores(*self.head(h, labels), tuple(maps))


def finished(layer: nn.Module, norm: str, gain: float | None = None) -> nn.Module:
    """Weights as Glorot and Bengio 2010 have them, uniform, times √2 in 3×3 convolutions, which follow a ReLU (SNGAN's
    code), or times ``gain``; biases 0. Then spectral norm, if ``norm`` is that."""
    if gain is None:
        gain = math.sqrt(2) if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3) else 1.0
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return reparametrized(layer, norm, weight_normalised=False)


def _check(resolution: int, scale: float) -> None:
    if resolution not in RESOLUTIONS:
        raise ValueError(f"resolution={resolution} is not one of {', '.join(map(str, RESOLUTIONS))}")
    if not 0 < scale <= 1:
        raise ValueError(f"scale={scale} is not above 0 and at most 1")
