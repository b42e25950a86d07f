"""Generator and discriminator of StyleGAN (Karras et al. 2019, arXiv 1812.04948), which grow as PGGAN's do.

A mapping network makes a style w of the latent, and adaptive instance norms bring it into each layer of the synthesis
network, which starts from a constant and adds noise. Networks of every resolution up to the last exist from the start.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gan_ops import bias_act, fade_in, resample_conv2d, setup_filter
from models import pggan
from models.parts.adain import adain
from models.parts.equalized import GAINS, SLOPE, Conv, Dense
from models.parts.growing import Growing
from models.parts.mapping import Mapping
from models.parts.noise import noise_maps
from models.parts.precision import widened
from models.parts.styles import mixed, styles_of
from models.stylegan2 import FILTER, DownBlock, Drawn


class Generator(Growing):
    """Latents z [N, latent_dim] → images [N, image_channels, r, r] at the present resolution r, of any value.

    Args:
        resolution: the highest that it can grow to; it starts at 4.
        fmap_base, fmap_decay, fmap_max: see :func:`models.pggan.feature_maps`.
        mapping_layers: of the mapping network (8 in the paper).
        num_classes: labels int64 [N] are given too; 0 for none.
        w_beta: what the mean of w keeps of itself in a step.
    """

    def __init__(
        self,
        resolution: int,
        *,
        image_channels: int = 3,
        latent_dim: int = 512,
        w_dim: int = 512,
        mapping_layers: int = 8,
        fmap_base: int = 8192,
        fmap_decay: float = 1.0,
        fmap_max: int = 512,
        num_classes: int = 0,
        w_beta: float = 0.995,
    ):
        super().__init__(resolution)
        self.latent_dim, self.num_classes, self.image_channels = latent_dim, num_classes, image_channels
        maps = widths(resolution, fmap_base, fmap_decay, fmap_max)
        self.mapping = Mapping(latent_dim, w_dim, layers=mapping_layers, num_classes=num_classes, w_beta=w_beta)
        self.basis = nn.Parameter(torch.ones(1, maps[4], 4, 4))
        self.first = Epilogue(maps[4], w_dim, 4)
        self.conv = AdaptiveConv(maps[4], maps[4], w_dim, 4)
        self.blocks = nn.ModuleDict(
            {
                str(r): nn.ModuleList(
                    [AdaptiveConv(maps[r // 2], maps[r], w_dim, r, up=2), AdaptiveConv(maps[r], maps[r], w_dim, r)]
                )
                for r in maps
                if r > 4
            }
        )
        self.to_rgb = nn.ModuleDict({str(r): Conv(maps[r], image_channels, 1, act="linear") for r in maps})

    @property
    def layers(self) -> int:
        """How many styles an image of the present resolution is made of."""
        return 2 * (1 + len(self._resolutions()))

    @property
    def noise_heights(self) -> list[int]:
        """Of the noise of each layer."""
        return [height for height in (4, *self._resolutions()) for _ in range(2)]

    @property
    def noise_values(self) -> int:
        """How many values the noise of an image has."""
        return sum(height**2 for height in self.noise_heights)

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
        """Images of z; arguments and result are those of :meth:`models.stylegan2.Generator.forward`."""
        styles = styles_of(self.mapping, z, labels, self.layers, psi=psi, cutoff=cutoff)
        if other is not None:
            others = styles_of(self.mapping, other, labels, self.layers, psi=psi, cutoff=cutoff)
            styles = mixed(styles, others, cutoffs)
        images = self.synthesis(styles, noise)
        return Drawn(images, styles) if with_styles else images

    def synthesis(self, styles: Tensor, noise: Tensor | None = None) -> Tensor:
        """Images of a style w for each layer [N, layers, w_dim], and maybe noise [N, noise_values]."""
        if styles.dim() != 3 or styles.shape[1] != self.layers:
            raise ValueError(f"styles are {list(styles.shape)}, not [N, {self.layers}, {self.mapping.w_dim}]")
        w = styles.unbind(1)
        added = [None] * self.layers if noise is None else noise_maps(noise, self.noise_heights)
        x = self.first(self.basis.expand(styles.shape[0], -1, -1, -1), w[0], added[0])
        x = self.conv(x, w[1], added[1])
        before, layer = x, 2
        for r in self._resolutions():
            before = x
            for conv in self.blocks[str(r)]:
                x = conv(x, w[layer], added[layer])
                layer += 1
        images = widened(self.to_rgb[str(self.resolution)](x))
        if not self._fading():
            return images
        return fade_in(images, widened(self.to_rgb[str(self.resolution // 2)](before)), self.fade)

    def active_parameters(self) -> list[nn.Parameter]:
        return [self.basis, *super().active_parameters()]

    def _active_modules(self) -> list[nn.Module]:
        rgb = [self.resolution, self.resolution // 2] if self._fading() else [self.resolution]
        blocks = (self.blocks[str(r)] for r in self._resolutions())
        return [self.mapping, self.first, self.conv, *blocks, *(self.to_rgb[str(r)] for r in rgb)]


class Epilogue(nn.Module):
    """x [N, C, R, R] and w [N, w_dim] → x + noise, bias, leaky ReLU, and adaptive instance norm: [N, C, R, R].

    Noise is one map for all channels, times a learnt strength of each, 0 at the start.
    """

    def __init__(self, channels: int, w_dim: int, resolution: int):
        super().__init__()
        self.affine = Dense(w_dim, 2 * channels)
        self.strength = nn.Parameter(torch.zeros(channels))
        self.register_buffer("constant", torch.randn(resolution, resolution))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None) -> Tensor:
        """``noise`` [N, 1, R, R] takes the place of the layer's own."""
        noise = self.constant if noise is None else noise
        x = torch.addcmul(x, noise.to(x.dtype), self.strength.to(x.dtype)[:, None, None])
        x = bias_act(x, self.bias, SLOPE, GAINS["lrelu"])
        scale, shift = self.affine(w).chunk(2, 1)
        return adain(x, scale, shift)


class AdaptiveConv(nn.Module):
    """A 3×3 convolution with an equalised learning rate and its epilogue: x [N, inputs, H, W] → [N, outputs, R, R], R
    = H·up. Images are enlarged by the filter [1, 3, 3, 1], which is pixels repeated and then blurred by [1, 2, 1]."""

    def __init__(self, inputs: int, outputs: int, w_dim: int, resolution: int, *, up: int = 1):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.register_buffer("filter", setup_filter(FILTER, normalize=False), persistent=False)
        self.epilogue = Epilogue(outputs, w_dim, resolution)
        self.up, self.scale = up, (9 * inputs) ** -0.5

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None) -> Tensor:
        weight = (self.weight * self.scale).to(x.dtype)
        return self.epilogue(resample_conv2d(x, weight, self.filter, up=self.up, padding=1), w, noise)


class Discriminator(pggan.Discriminator):
    """PGGAN's, which halves images by the filter [1, 3, 3, 1]; its arguments are those."""

    def __init__(
        self,
        resolution: int,
        *,
        fmap_base: int = 8192,
        fmap_decay: float = 1.0,
        fmap_max: int = 512,
        **options: Any,
    ):
        sizes = {"fmap_base": fmap_base, "fmap_decay": fmap_decay, "fmap_max": fmap_max}
        super().__init__(resolution, **sizes, **options)
        maps = widths(resolution, **sizes)
        self.blocks = nn.ModuleDict({str(r): DownBlock(maps[r], maps[r // 2], residual=False) for r in maps if r > 4})


def widths(resolution: int, fmap_base: int, fmap_decay: float, fmap_max: int) -> dict[int, int]:
    """Feature maps at each resolution from 4 on."""
    heights = [2**r for r in range(2, resolution.bit_length())]
    return {r: pggan.feature_maps(r.bit_length() - 2, fmap_base, fmap_decay, fmap_max) for r in heights}
