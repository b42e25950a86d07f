"""Generator and discriminator of "Progressive Growing of GANs" (Karras et al. 2018, arXiv 1710.10196, tables 2 and 6).

Networks of every resolution up to the last exist from the start: growing changes which of them run, never a parameter
or its name, so optimizers and moving averages survive it. Activations are channels_last, which is the faster layout on
CPU and, in half precision, on CUDA.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ops import bias_act, bias_act_pixel_norm, fade_in
from gan_ops import nn as gnn
from gan_ops.objectives import Scores
from models.parts.codes import Codes
from models.parts.generators import with_labels
from models.parts.growing import Growing, is_fading
from models.parts.heads import Head, takes_labels
from models.parts.labels import with_planes
from models.parts.precision import widened

SLOPE = 0.2
"""Of every leaky ReLU, below zero."""


def feature_maps(stage: int, fmap_base: int = 8192, fmap_decay: float = 1.0, fmap_max: int = 512) -> int:
    """min(fmap_base / 2^(stage·fmap_decay), fmap_max); layers at resolution 2^r have those of stage r − 1."""
    maps = min(int(fmap_base / 2 ** (stage * fmap_decay)), fmap_max)
    if maps < 1:
        raise ValueError(
            f"fmap_base={fmap_base}, fmap_decay={fmap_decay}, fmap_max={fmap_max} leave no feature map at stage {stage}"
        )
    return maps


def fade_reals(x: Tensor, fade: float | Tensor) -> Tensor:
    """Real images [N, C, H, W] as soft as the generator's are in mid-fade: lerp(x, up(down(x)), fade).

    ``fade`` is a number or a 0-d tensor, as in :meth:`Generator.grow`; H and W are even.
    """
    return fade_in(x, _down(x), fade) if is_fading(fade) else x


class Generator(Growing):
    """Latents z [N, latent_dim] → images [N, image_channels, r, r] at the present resolution r.

    Images lie roughly in [−1, 1], as real ones do. ``resolution`` is the highest that it can grow to; it starts at 4.
    With ``num_classes`` the labels' one-hot vectors are joined to z; ``categorical`` and ``continuous`` are codes that
    the last latents are made, see :class:`models.parts.codes.Codes`.
    """

    def __init__(
        self,
        resolution: int,
        *,
        image_channels: int = 3,
        latent_dim: int = 512,
        fmap_base: int = 8192,
        fmap_decay: float = 1.0,
        fmap_max: int = 512,
        num_classes: int = 0,
        categorical: Sequence[int] = (),
        continuous: int = 0,
    ):
        super().__init__(resolution)
        self.latent_dim, self.num_classes = latent_dim, num_classes
        self.codes = Codes(categorical, continuous)
        maps = {2**r: feature_maps(r - 1, fmap_base, fmap_decay, fmap_max) for r in range(2, resolution.bit_length())}
        self.norm = gnn.PixelNorm()
        self.dense = _DenseTo4x4(latent_dim + num_classes, maps[4])
        self.conv = gnn.EqualizedConv2d(maps[4], maps[4], 3, padding=1, negative_slope=SLOPE, pixel_norm=True)
        self.blocks = nn.ModuleDict({str(r): _generator_block(maps[r // 2], maps[r]) for r in maps if r > 4})
        self.to_rgb = nn.ModuleDict({str(r): gnn.EqualizedConv2d(maps[r], image_channels, 1, gain=1) for r in maps})

    def forward(self, z: Tensor, labels: Tensor | None = None, *, placed: bool = False) -> Tensor:
        """z [N, latent_dim], labels int64 [N] → images, float32 (float64 of float64) also under autocast. With
        ``placed`` the codes stand in z themselves."""
        if z.dim() != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(f"z is {list(z.shape)}, not [N, {self.latent_dim}]")
        z = with_labels(z if placed else self.codes.placed(z), labels, self.num_classes)
        x = self.conv(self.dense(self.norm(z)))  # → [N, C, 4, 4]
        before = x
        for r in self._resolutions():
            before = x
            x = self.blocks[str(r)](x)
        images = widened(self.to_rgb[str(self.resolution)](x))
        if not self._fading():
            return images
        return fade_in(images, widened(self.to_rgb[str(self.resolution // 2)](before)), self.fade)

    def _active_modules(self) -> list[nn.Module]:
        rgb = [self.resolution, self.resolution // 2] if self._fading() else [self.resolution]
        return [
            self.dense,
            self.conv,
            *(self.blocks[str(r)] for r in self._resolutions()),
            *(self.to_rgb[str(r)] for r in rgb),
        ]


class Discriminator(Growing):
    """Images [N, image_channels, r, r] at the present resolution r → :class:`Scores`.

    ``resolution`` is the highest that it can grow to; it starts at 4. ``group_size`` is the minibatch stddev's, None
    for the whole batch. ``condition`` is the head's, see :class:`models.parts.heads.Head`; with "cgan" the labels'
    one-hot planes are joined to the features at 4×4. ``minibatch_kernels`` of ``minibatch_dim`` values each are those
    of a minibatch discrimination before the head (Salimans et al. 2016, §3.2; 0: none). Scores are [N], or [N,
    ``outputs``] of more than one.
    """

    sees_batch = True
    """The deviation of each group, and minibatch discrimination: minibatches must not mix."""

    def __init__(
        self,
        resolution: int,
        *,
        image_channels: int = 3,
        fmap_base: int = 8192,
        fmap_decay: float = 1.0,
        fmap_max: int = 512,
        num_classes: int = 0,
        condition: str = "none",
        group_size: int | None = 4,
        minibatch_kernels: int = 0,
        minibatch_dim: int = 5,
        outputs: int = 1,
    ):
        super().__init__(resolution)
        self.image_channels = image_channels
        self.num_classes = num_classes
        self.condition = condition
        maps = {2**r: feature_maps(r - 1, fmap_base, fmap_decay, fmap_max) for r in range(2, resolution.bit_length())}
        hidden = feature_maps(0, fmap_base, fmap_decay, fmap_max)
        planes = num_classes if condition == "cgan" else 0
        self.from_rgb = nn.ModuleDict(
            {str(r): gnn.EqualizedConv2d(image_channels, maps[r], 1, negative_slope=SLOPE) for r in maps}
        )
        self.blocks = nn.ModuleDict({str(r): _discriminator_block(maps[r], maps[r // 2]) for r in maps if r > 4})
        self.stddev = gnn.MinibatchStddev(group_size)
        in_channels = maps[4] + self.stddev.num_channels + planes
        self.conv = gnn.EqualizedConv2d(in_channels, maps[4], 3, padding=1, negative_slope=SLOPE)
        self.dense = _DenseFrom4x4(maps[4], hidden)
        self.minibatch = None
        if minibatch_kernels:
            self.minibatch = gnn.MinibatchDiscrimination(hidden, minibatch_kernels, minibatch_dim)
        self.head = Head(
            hidden + minibatch_kernels,
            condition=condition,
            num_classes=num_classes,
            outputs=outputs,
            linear=partial(gnn.EqualizedLinear, gain=1),
        )

    def forward(self, x: Tensor, labels: Tensor | None = None, batches: int = 1) -> Scores:
        """Scores of x [N, image_channels, r, r]; labels int64 [N] are for the conditions "cgan" and "projection" alone.

        ``maps`` are those of heights r, r/2, … 4. With ``batches`` > 1, x interleaves that many minibatches (sample n
        belongs to minibatch n mod ``batches``), and the result is what they would give one by one, in one pass.
        """
        h, maps = self._hidden(x, labels, batches)
        if self.minibatch is not None:
            h = self.minibatch(h, batches)  # → [N, hidden + minibatch_kernels]
        return Scores(*self.head(h, labels, batches), maps)

    def _hidden(self, x: Tensor, labels: Tensor | None, batches: int = 1) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The dense layer's activations [N, hidden], and the maps before it."""
        r = self.resolution
        if x.dim() != 4 or x.shape[1:] != (self.image_channels, r, r):
            raise ValueError(f"x is {list(x.shape)}, not [N, {self.image_channels}, {r}, {r}]")
        if labels is not None and not takes_labels(self.condition):
            raise ValueError(f"labels were given to a discriminator with condition={self.condition!r}")

        h = self.from_rgb[str(r)](x)
        maps = [h]
        for i in reversed(self._resolutions()):
            h = self.blocks[str(i)](h)
            if i == r and self._fading():
                fade = self.fade.to(h) if isinstance(self.fade, Tensor) else self.fade
                h = torch.lerp(h, self.from_rgb[str(r // 2)](_down(x)), fade)
            maps.append(h)
        h = self.stddev(h, batches)  # [N, C, 4, 4] → [N, C + 1, 4, 4]
        if self.condition == "cgan":
            h = with_planes(h, labels, self.num_classes)  # → [N, C + 1 + num_classes, 4, 4]
        return self.dense(self.conv(h)), tuple(maps)

    @torch.no_grad()
    def fit_minibatch(self, x: Tensor, labels: Tensor | None = None) -> None:
        """Scales the minibatch discrimination's kernels to images x of the present resolution, as its authors do.

        See its ``fit_scale``; x and labels are those of :meth:`forward`, of which as many are used as there are whole
        groups of the minibatch stddev.
        """
        if self.minibatch is not None:
            n = len(x)
            n -= n % min(self.stddev.group_size or n, n)
            self.minibatch.fit_scale(self._hidden(x[:n], None if labels is None else labels[:n])[0])

    def _active_modules(self) -> list[nn.Module]:
        rgb = [self.resolution, self.resolution // 2] if self._fading() else [self.resolution]
        return [
            *(self.from_rgb[str(r)] for r in rgb),
            *(self.blocks[str(r)] for r in self._resolutions()),
            self.conv,
            self.dense,
            *([] if self.minibatch is None else [self.minibatch]),
            self.head,
        ]


def _generator_block(in_channels: int, out_channels: int) -> nn.Sequential:
    """[N, C, H, W] → [N, C', 2H, 2W]: up, then twice conv → leaky ReLU → pixel norm."""
    epilogue = {"negative_slope": SLOPE, "pixel_norm": True}
    conv0 = gnn.EqualizedUpConv2d(in_channels, out_channels, **epilogue)
    conv1 = gnn.EqualizedConv2d(out_channels, out_channels, 3, padding=1, **epilogue)
    return nn.Sequential(OrderedDict(conv0=conv0, conv1=conv1))


def _discriminator_block(in_channels: int, out_channels: int) -> nn.Sequential:
    """[N, C, H, W] → [N, C', H/2, W/2]: twice conv → leaky ReLU, then down."""
    conv0 = gnn.EqualizedConv2d(in_channels, in_channels, 3, padding=1, negative_slope=SLOPE)
    conv1 = gnn.EqualizedConv2d(in_channels, out_channels, 3, padding=1, negative_slope=SLOPE)
    return nn.Sequential(OrderedDict(conv0=conv0, conv1=conv1, down=nn.AvgPool2d(2)))


class _DenseTo4x4(nn.Module):
    """Equalized dense layer from z to a 4×4 image, bias (one a channel), leaky ReLU, pixel norm: [N, L] → [N, C, 4, 4].

    The weight's columns are ordered (row, column, channel): the product is a channels_last image as it stands.
    """

    def __init__(self, in_features: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(in_features, 16 * channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        # √2/4 and not √2: the gain of the paper's first implementation.
        self.scale = math.sqrt(2) / 4 / math.sqrt(in_features)

    def forward(self, z: Tensor) -> Tensor:
        z, weight, scale = gnn.scaled_before_epilogue(z, self.weight, self.scale)
        x = torch.mm(z, weight).view(-1, 4, 4, len(self.bias)).permute(0, 3, 1, 2)  # [N, 16·C] → [N, C, 4, 4]
        return bias_act_pixel_norm(x, self.bias, SLOPE, scale=scale)


class _DenseFrom4x4(nn.Module):
    """Equalized dense layer over a whole 4×4 image, and its leaky ReLU: [N, C, 4, 4] → [N, out_features].

    The weight is [16·C, out_features], its rows ordered (row, column, channel) as a channels_last image is.
    """

    def __init__(self, channels: int, out_features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16 * channels, out_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.scale = math.sqrt(2) / math.sqrt(channels * 16)

    def forward(self, x: Tensor) -> Tensor:
        x, weight, scale = gnn.scaled_before_epilogue(x, self.weight, self.scale)
        return bias_act(torch.mm(x.permute(0, 2, 3, 1).flatten(1), weight), self.bias, SLOPE, scale=scale)


def _down(x: Tensor) -> Tensor:
    """2×2 box filter: [N, C, H, W] → [N, C, H/2, W/2]."""
    return F.avg_pool2d(x, 2)
