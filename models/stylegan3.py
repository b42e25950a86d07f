"""The generator of StyleGAN3 (Karras et al. 2021, arXiv 2106.12423), whose details move with what they belong to.

A picture of sine waves, on a grid that reaches beyond the image, goes through layers that only ever hold frequencies
their grid can carry: between two filters, the nonlinearity acts on an enlarged image. Configuration T (translations)
has 3×3 convolutions; R (and rotations) 1×1 ones, filters alike in all directions, and twice the channels. The
discriminator is StyleGAN2's.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gan_ops import filtered_lrelu, modulated_conv2d, scale_bias_act, upfirdn2d
from models.parts.bands import Band, bands, passage
from models.parts.equalized import Dense
from models.parts.fourier import FourierInput
from models.parts.mapping import Mapping
from models.parts.moving_mean import MovingMean
from models.parts.precision import computing, entering, widened
from models.parts.stylegan3_weights import from_authors as from_authors
from models.parts.styles import styles_of

SLOPE = 0.2
"""Of the leaky ReLU, below zero."""
CLAMP = 256.0
"""The largest magnitude of activations, in any precision."""
OUTPUT_SCALE = 0.25
"""Layers work at four times the deviation of images."""
W_BETA = 0.998


class Drawn(NamedTuple):
    """Images [N, C, R, R], the styles [N, layers, w_dim] that they were made of, and the mean squares [N, layers − 1]
    of what each layer after the input was given."""

    images: Tensor
    styles: Tensor
    squares: Tensor


class Generator(nn.Module):
    """Latents z [N, latent_dim] → images [N, image_channels, R, R], about in [−1, 1].

    Args:
        resolution: R, a power of two.
        w_dim: of what z is mapped to; None for ``latent_dim``.
        num_classes: labels [N] are given too; 0 for none.
        mapping_layers: of the mapping network.
        channel_base, channel_max: a layer has channel_base/(2·cutoff) channels, and no more than channel_max.
        layers: with a nonlinearity, the drawing one not counted.
        critical: of these, the last ones, sampled critically.
        margin: samples around the picture on each side.
        kernel_size: of convolutions.
        radial: whether filters that reduce are alike in all directions (not in the critical layers).
        half: how many of the highest resolutions are in half precision, where autocast is on.
        magnitude_beta: what a step leaves of the mean squares by which layers normalise their inputs.
        filtered: whether nonlinearities are filtered; without, they act on each sample, and the filters follow.

    Attributes:
        layers: how many styles an image is made of: those of the input, of each layer, and of the drawing.
        transformable: images can be moved.
        squares: means of the squares of what each layer is given. Training moves them, and the mean of w.
    """

    transformable = True

    def __init__(
        self,
        resolution: int,
        *,
        image_channels: int = 3,
        latent_dim: int = 512,
        w_dim: int | None = None,
        num_classes: int = 0,
        mapping_layers: int = 2,
        channel_base: int = 32768,
        channel_max: int = 512,
        layers: int = 14,
        critical: int = 2,
        margin: int = 10,
        kernel_size: int = 3,
        radial: bool = False,
        half: int = 4,
        magnitude_beta: float = 0.999,
        filtered: bool = True,
    ):
        super().__init__()
        w_dim = latent_dim if w_dim is None else w_dim
        self.latent_dim, self.num_classes, self.image_channels = latent_dim, num_classes, image_channels
        self.resolution, self.layers = resolution, layers + 2
        self.mapping = Mapping(latent_dim, w_dim, layers=mapping_layers, num_classes=num_classes, w_beta=W_BETA)
        plan = bands(resolution, layers, critical, margin)
        widths = [max(round(min(channel_base / band.channels_at, channel_max)), 1) for band in plan[:-1]]
        first = plan[0]
        self.input = FourierInput(w_dim, widths[0], first.size, first.rate, first.cutoff)
        befores, inputs = [first, *plan], [widths[0], *widths]
        self.convs = nn.ModuleList(
            Layer(
                w_dim,
                inputs[i],
                widths[i],
                befores[i],
                plan[i],
                kernel_size=kernel_size,
                radial=radial and not plan[i].critical,
                half=plan[i].rate << half > resolution,
                filtered=filtered,
            )
            for i in range(layers)
        )
        self.to_rgb = ToRgb(w_dim, widths[-1], image_channels)
        self.squares = MovingMean((layers + 1,), magnitude_beta, 1.0)

    def forward(
        self,
        z: Tensor,
        labels: Tensor | None = None,
        *,
        psi: float = 1.0,
        cutoff: int | None = None,
        transform: Tensor | None = None,
        with_styles: bool = False,
    ) -> Tensor | Drawn:
        """Images of z, and of labels if there are classes; float32 (float64 of float64) also under autocast.

        Args:
            psi, cutoff: truncation of the first ``cutoff`` layers' styles (None: of all).
            transform: of the plane, see :meth:`models.parts.fourier.FourierInput.forward`.
            with_styles: give the styles and mean squares too.
        """
        styles = styles_of(self.mapping, z, labels, self.layers, psi=psi, cutoff=cutoff)
        if not with_styles:
            return self.synthesis(styles, transform)
        squares: list[Tensor] = []
        images = self.synthesis(styles, transform, squares)
        return Drawn(images, styles, torch.stack(squares, 1))

    def synthesis(self, styles: Tensor, transform: Tensor | None = None, squares: list[Tensor] | None = None) -> Tensor:
        """Images of a style w for each layer [N, layers, w_dim].

        Args:
            transform: see :meth:`forward`.
            squares: is given the mean squares [N] of what each layer is given, one after the other.
        """
        if styles.dim() != 3 or styles.shape[1] != self.layers:
            raise ValueError(f"styles are {list(styles.shape)}, not [N, {self.layers}, {self.mapping.w_dim}]")
        first, *inner, last = styles.unbind(1)
        x = self.input(first, transform)
        gains = self.squares.mean.rsqrt().unbind(0)
        for layer, w, gain in zip([*self.convs, self.to_rgb], [*inner, last], gains, strict=True):
            if squares is not None:
                squares.append(widened(x.detach()).square().mean((1, 2, 3)))  # [N, C, H, W] → [N]
            x = layer(x, w, gain)
        return x


class Layer(nn.Module):
    """Convolution by weights modulated by w, filtered leaky ReLU, and the passage to another band and size.

    Args:
        inputs, outputs: channels.
        before, after: what the layer is given and gives.
        radial: whether the filter that reduces is alike in all directions.
        half, filtered: see :class:`Generator`.
    """

    up_filter: Tensor | None
    down_filter: Tensor | None

    def __init__(
        self,
        w_dim: int,
        inputs: int,
        outputs: int,
        before: Band,
        after: Band,
        *,
        kernel_size: int,
        radial: bool = False,
        half: bool = False,
        filtered: bool = True,
    ):
        super().__init__()
        self.affine = Dense(w_dim, inputs, start=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.half, self.filtered = half, filtered
        (self.up, self.down), (up_filter, down_filter) = passage(before, after, radial=radial)
        self.register_buffer("up_filter", up_filter, persistent=False)
        self.register_buffer("down_filter", down_filter, persistent=False)
        up_taps, down_taps = (1 if filter is None else len(filter) for filter in (up_filter, down_filter))
        # Samples of the enlarged image to add, or to cut off, so that `after.size` remain in the end.
        added = (after.size - 1) * self.down + 1 - (before.size + kernel_size - 1) * self.up + up_taps + down_taps - 2
        low = (added + self.up) // 2
        self.padding = [low, added - low, low, added - low]

    def forward(self, x: Tensor, w: Tensor, gain: Tensor) -> Tensor:
        """x [N, inputs, H, W], w [N, w_dim] → [N, outputs, H', W']; x is multiplied by ``gain``, 0-d."""
        style = self.affine(w)
        with computing(x, self.half):
            x = entering(x, self.half)
            y = modulated_conv2d(x, self.weight, style, padding=self.weight.shape[-1] - 1, input_gain=gain)
            filters, factors = (self.up_filter, self.down_filter), (self.up, self.down)
            if self.filtered:  # with a gain of √2, as in the other case
                return filtered_lrelu(y, *filters, self.bias, *factors, self.padding, slope=SLOPE, clamp=CLAMP)
            y = scale_bias_act(y, bias=self.bias, act="lrelu", alpha=SLOPE, clamp=CLAMP)
            y = upfirdn2d(y, filters[0], self.up, padding=self.padding, gain=self.up**2)
            return upfirdn2d(y, filters[1], down=self.down)


class ToRgb(nn.Module):
    """The picture: a 1×1 convolution modulated by w, without demodulation. x [N, inputs, H, W] → [N, outputs, H, W]."""

    def __init__(self, w_dim: int, inputs: int, outputs: int):
        super().__init__()
        self.affine = Dense(w_dim, inputs, start=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor, w: Tensor, gain: Tensor) -> Tensor:
        style = self.affine(w) * self.scale
        with computing(x, False):
            x = widened(x)
            y = modulated_conv2d(x, self.weight, style, demodulate=False, input_gain=gain)
            return OUTPUT_SCALE * scale_bias_act(y, bias=self.bias, act="linear", clamp=CLAMP)
