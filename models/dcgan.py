"""Generator and discriminator of DCGAN (Radford et al. 2016, arXiv 1511.06434, section 3).

Strided convolutions and no pooling, no hidden dense layer, ReLU and tanh in G, leaky ReLU in D, and no norm at G's
output and D's input. The paper's norm is batch norm; :mod:`models.parts.norms` has the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from gan_ops import nn as gnn
from gan_ops.objectives import Scores
from models.parts.codes import Codes
from models.parts.generators import LatentGenerator, doubling, reference_of
from models.parts.heads import Head, takes_labels
from models.parts.labels import with_planes
from models.parts.minibatches import one_by_one
from models.parts.norms import D_NORMS, G_NORMS, has_affine, norm_layer, reparametrized

SLOPE = 0.2
"""Of D's leaky ReLU, below zero."""


class Generator(LatentGenerator):
    """Latents z [N, latent_dim] → images [N, image_channels, resolution, resolution] in (−1, 1).

    Args:
        resolution: a power of two from 8 up.
        width: feature maps of the last hidden layer, at resolution / 2; each layer before it has twice as many as the
            next. The paper's networks have 128 in G and 64 in D; most implementations since have 64 in both.
        kernel_size: 4, or the paper's 5.
        norm: one of :data:`models.parts.norms.G_NORMS`. With "spectral" or "none" alone nothing holds the scale of
            signals: spectral norm lets each layer shrink them. "virtual" (Salimans et al. 2016, §3.5) keeps
            ``reference_batch`` latents, drawn here, as a buffer.
        num_classes: the labels' one-hot vectors are joined to z.
        categorical, continuous: codes that the last latents are made, see :class:`models.parts.codes.Codes`.
        weight_norm: weight normalisation of all layers, beside ``norm`` (Salimans and Kingma 2016).
    """

    def __init__(
        self,
        resolution: int,
        *,
        image_channels: int = 3,
        latent_dim: int = 100,
        width: int = 64,
        kernel_size: int = 4,
        norm: str = "batch",
        weight_norm: bool = False,
        reference_batch: int = 64,
        num_classes: int = 0,
        categorical: Sequence[int] = (),
        continuous: int = 0,
    ):
        _check(resolution, kernel_size, norm, G_NORMS)
        heights = [4 << i for i in range((resolution // 8).bit_length())]  # 4, 8, … resolution/2
        maps = [width * (resolution // 2 // height) for height in heights]
        bias = not has_affine(norm)
        finish = partial(_finished, norm=norm, weight_norm=weight_norm)

        def layer(convolution: nn.Module, channels: int) -> list[nn.Module]:
            return [finish(convolution), *norm_layer(norm, channels), nn.ReLU(inplace=True)]

        inputs = latent_dim + num_classes
        layers: list[nn.Module] = [nn.Unflatten(1, (inputs, 1, 1))]
        layers += layer(nn.ConvTranspose2d(inputs, maps[0], 4, bias=bias), maps[0])
        for before, after in pairwise(maps):
            layers += layer(doubling(before, after, kernel_size, bias), after)
        layers += [finish(doubling(maps[-1], image_channels, kernel_size, bias=True)), nn.Tanh()]
        codes = Codes(categorical, continuous)
        reference = reference_of(reference_batch, latent_dim, num_classes, codes) if norm == "virtual" else None
        super().__init__(latent_dim, layers, reference, num_classes=num_classes, codes=codes)
        self.resolution = resolution


class Discriminator(nn.Module):
    """Images [N, image_channels, resolution, resolution] → :class:`Scores`.

    Args:
        width: feature maps of the first layer, at resolution / 2; each following layer has twice as many.
        norm: one of :data:`models.parts.norms.D_NORMS`.
        condition: of the head for ``num_classes``, see :class:`models.parts.heads.Head`; with "cgan" the labels'
            one-hot planes are joined to the last convolution's input, the maps at 8×8.
        minibatch_kernels: those of a minibatch discrimination (Salimans et al. 2016, §3.2) of the last maps' means over
            the pixels, of ``minibatch_dim`` values each; 0 for none.
        outputs: values of a score: scores are [N], or [N, outputs] of more than one.
    """

    def __init__(
        self,
        resolution: int,
        *,
        image_channels: int = 3,
        width: int = 64,
        kernel_size: int = 4,
        norm: str = "batch",
        weight_norm: bool = False,
        num_classes: int = 0,
        condition: str = "none",
        minibatch_kernels: int = 0,
        minibatch_dim: int = 5,
        outputs: int = 1,
    ):
        super().__init__()
        _check(resolution, kernel_size, norm, D_NORMS)
        self.image_channels, self.resolution = image_channels, resolution
        self.num_classes, self.condition = num_classes, condition
        self._batch_norm = norm == "batch"
        # Whether samples of a minibatch bear on each other.
        self.sees_batch = self._batch_norm or minibatch_kernels > 0 or condition == "infogan"
        finish = partial(_finished, norm=norm, weight_norm=weight_norm)
        self.blocks = nn.ModuleDict()
        before, after, height = image_channels, width, resolution // 2
        while height >= 4:
            first = not self.blocks
            bias = first or not has_affine(norm)
            planes = num_classes if condition == "cgan" and height == 4 else 0
            convolution = nn.Conv2d(before + planes, after, kernel_size, 2, (kernel_size - 1) // 2, bias=bias)
            between = [] if first else norm_layer(norm, after)
            self.blocks[str(height)] = nn.Sequential(finish(convolution), *between, nn.LeakyReLU(SLOPE, inplace=True))
            before, after, height = after, 2 * after, height // 2
        self.minibatch = None
        inputs = 16 * before
        if minibatch_kernels:
            self.minibatch = gnn.MinibatchDiscrimination(before, minibatch_kernels, minibatch_dim)
            inputs += before + minibatch_kernels
        self.head = Head(inputs, condition=condition, num_classes=num_classes, outputs=outputs, finish=finish)

    def forward(self, x: Tensor, labels: Tensor | None = None, batches: int = 1) -> Scores:
        """Scores of x; ``maps`` are those of heights resolution/2, … 8, 4. Labels int64 [N] are for the conditions
        "cgan" and "projection" alone.

        With ``batches`` > 1, x interleaves that many minibatches (sample n belongs to minibatch n mod ``batches``), and
        the result is what they would give one by one.
        """
        r = self.resolution
        if x.dim() != 4 or x.shape[1:] != (self.image_channels, r, r):
            raise ValueError(f"x is {list(x.shape)}, not [N, {self.image_channels}, {r}, {r}]")
        if labels is not None and not takes_labels(self.condition):
            raise ValueError(f"labels were given to a discriminator with condition={self.condition!r}")
        # Batch norm must see each minibatch alone.
        maps = one_by_one(self._maps, x, batches if self._batch_norm else 1, labels)
        h = maps[-1]
        flat = h.flatten(1)  # [N, C, 4, 4] → [N, 16·C]
        if self.minibatch is not None:
            flat = torch.cat([flat, self.minibatch(h.mean((2, 3)), batches)], 1)  # → [N, 17·C + kernels]
        return Scores(*self.head(flat, labels, batches), maps)

    def _maps(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, ...]:
        """What each block gives, down to [N, C, 4, 4]."""
        maps = []
        for height, block in self.blocks.items():
            x = block(with_planes(x, labels, self.num_classes) if self.condition == "cgan" and height == "4" else x)
            maps.append(x)
        return tuple(maps)

    @torch.no_grad()
    def fit_minibatch(self, x: Tensor, labels: Tensor | None = None) -> None:
        """Scales the minibatch discrimination's kernels to images x, as its authors do; see its ``fit_scale``."""
        if self.minibatch is not None:
            self.minibatch.fit_scale(self._maps(x, labels)[-1].mean((2, 3)))


def _finished(layer: nn.Module, norm: str, weight_norm: bool) -> nn.Module:
    """Weights ~ N(0, 0.02²) and biases 0, the paper's section 4 and its code; then what :func:`reparametrized` does.

    Where no norm brings activations back to scale they would vanish within a few layers: there weights begin as He et
    al. 2015 have them, with variance 2 / (values that reach an output). A transposed convolution of stride 2 has a
    quarter of its kernel on each; the first, on a single pixel, one value a channel.
    """
    reaching = layer.weight[0].numel()
    if isinstance(layer, nn.ConvTranspose2d):
        reaching = layer.in_channels * (layer.kernel_size[0] ** 2 / 4 if layer.stride[0] == 2 else 1)
    nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / reaching) if norm == "none" else 0.02)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return reparametrized(layer, norm, weight_norm)


def _check(resolution: int, kernel_size: int, norm: str, norms: tuple[str, ...]) -> None:
    if resolution < 8 or resolution & (resolution - 1):
        raise ValueError(f"resolution={resolution} is not a power of two from 8 on")
    if kernel_size not in (4, 5):
        raise ValueError(f"kernel_size={kernel_size} is neither 4 nor 5")
    if norm not in norms:
        raise ValueError(f"norm={norm!r} is not one of {', '.join(norms)}")
