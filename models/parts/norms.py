"""Norms that a convolutional network can be given by name."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from gan_ops import nn as gnn

DNorm = Literal["batch", "instance", "layer", "group", "pixel", "spectral", "none"]
GNorm = Literal[DNorm, "virtual"]
D_NORMS, G_NORMS = get_args(DNorm), get_args(GNorm)
"""Virtual batch norm runs every batch with a reference batch beside it: too dear for D (Salimans et al. 2016, §3.5)."""

GROUP = 16
"""Channels of a group (Wu and He 2018, table 3); fewer where 16 does not divide their number."""


def norm_layer(norm: str, channels: int) -> list[nn.Module]:
    """The layer for activations [N, channels, H, W]; none for "none" and for "spectral", which is one of weights.

    Learnt scales start at N(1, 0.02²), as DCGAN's do, and shifts at 0.
    """
    match norm:
        case "batch":
            return [_started(nn.BatchNorm2d(channels))]
        case "instance":
            return [_started(nn.InstanceNorm2d(channels, affine=True))]
        case "layer":
            return [_started(GroupNorm(1, channels))]
        case "group":
            return [_started(GroupNorm(channels // math.gcd(GROUP, channels), channels))]
        case "pixel":
            return [gnn.PixelNorm()]
        case "virtual":
            return [gnn.VirtualBatchNorm(channels)]
        case "spectral" | "none":
            return []
        case _:
            raise ValueError(f"norm={norm!r} is not one of {', '.join(G_NORMS)}")


class GroupNorm(nn.GroupNorm):
    """``torch.nn.GroupNorm`` (Wu and He 2018, equation 7) that compiles for channels_last.

    torch 2.11 to 2.14 compile the backward pass of the fused op with a view that gradients in channels_last refuse
    ("view size is not compatible with input tensor's size and stride"). In a graph the formula is written out instead,
    which compilers fuse. There the result has x's type, under autocast too, where CUDA's fused op gives float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            return super().forward(x)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        groups = wide.unflatten(1, (self.num_groups, -1))  # [N, C, *] → [N, G, C/G, *]
        variance, mean = torch.var_mean(groups, dim=tuple(range(2, groups.dim())), correction=0, keepdim=True)
        normal = ((groups - mean) * torch.rsqrt(variance + self.eps)).flatten(1, 2)  # → [N, C, *]
        per_channel = (-1, *[1] * (x.dim() - 2))
        return (normal * self.weight.view(per_channel) + self.bias.view(per_channel)).to(x.dtype)


def _started(layer: nn.Module) -> nn.Module:
    nn.init.normal_(layer.weight, 1.0, 0.02)
    return layer


def has_affine(norm: str) -> bool:
    """Whether the norm shifts each channel itself, so that a bias before it would be lost."""
    return norm in ("batch", "instance", "layer", "group", "virtual")


def reparametrized(layer: nn.Module, norm: str, weight_normalised: bool) -> nn.Module:
    """A convolution or dense layer, its weight divided by its spectral norm (Miyato et al. 2018) or its rows by their
    lengths (Salimans and Kingma 2016), if the options say so; ValueError where they say both."""
    if weight_normalised and norm == "spectral":
        raise ValueError("weight_norm cannot be combined with norm='spectral': both determine the scale of the weights")
    if norm == "spectral":
        return spectral(layer)
    if weight_normalised:
        return parametrizations.weight_norm(layer, dim=1 if isinstance(layer, nn.ConvTranspose2d) else 0)
    return layer


class SpectralNorm(parametrizations._SpectralNorm):
    """torch's, in the weight's own type under autocast too: on CUDA autocast would have σ's factors in two types, which
    torch refuses to multiply."""

    def forward(self, weight: Tensor) -> Tensor:
        if weight.is_meta:  # of which autocast knows nothing
            return super().forward(weight)
        with torch.autocast(weight.device.type, enabled=False):
            return super().forward(weight)


def spectral(layer: nn.Module) -> nn.Module:
    """The layer with its weight divided by its largest singular value (Miyato et al. 2018, equation 8).

    On the meta device, where there is nothing to iterate on, torch's first iterations would take a tenth of a second a
    layer. There they are made on a weight of one value, and tensors of the right shapes follow.
    """
    weight, dim = layer.weight, 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    norm = SpectralNorm(torch.ones((1,) * weight.dim(), device="cpu") if weight.is_meta else weight, dim=dim)
    if weight.is_meta:
        norm._u = weight.new_empty(weight.shape[dim])
        norm._v = weight.new_empty(weight.numel() // weight.shape[dim])
    parametrize.register_parametrization(layer, "weight", norm, unsafe=weight.is_meta)
    return layer
