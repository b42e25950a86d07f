"""Mapping networks: from latents and labels to the styles that images are made of (Karras et al. 2019, section 2)."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from gan_ops import pixel_norm
from models.parts.equalized import Dense
from models.parts.labels import one_hot
from models.parts.moving_mean import MovingMean


class Mapping(nn.Module):
    """Latents z [N, latent_dim], and labels int64 [N] if there are classes → w [N, w_dim].

    z and a dense layer of the labels are each divided by their root mean square, joined, and go through dense layers
    with leaky ReLU. In float32 or wider, under autocast too.

    Args:
        latent_dim: 0 for a mapping of labels alone, such as a discriminator has.
        layers: how many dense layers (8 in StyleGAN 1 and 2, 2 in StyleGAN3 and the ``auto`` of StyleGAN2-ADA).
        lr_multiplier: of these layers, not of that of the labels.
        w_beta: of ``average``; None for a mapping without it.

    Attributes:
        average: the moving mean of w, at which truncation aims, or None.
    """

    average: MovingMean | None

    def __init__(
        self,
        latent_dim: int,
        w_dim: int,
        *,
        layers: int = 8,
        num_classes: int = 0,
        lr_multiplier: float = 0.01,
        w_beta: float | None = 0.995,
    ):
        super().__init__()
        if latent_dim + num_classes == 0:
            raise ValueError("latent_dim=0 and num_classes=0: a mapping needs latents, labels or both")
        if layers < 1:
            raise ValueError(f"layers={layers}: a mapping has at least one")
        self.latent_dim, self.w_dim, self.num_classes = latent_dim, w_dim, num_classes
        self.embed = Dense(num_classes, w_dim) if num_classes else None
        widths = [latent_dim + (w_dim if num_classes else 0), *[w_dim] * layers]
        self.layers = nn.ModuleList(
            Dense(inputs, outputs, lr_multiplier=lr_multiplier, act="lrelu") for inputs, outputs in pairwise(widths)
        )
        self.average = None if w_beta is None else MovingMean((w_dim,), w_beta)

    def forward(self, z: Tensor | None, labels: Tensor | None = None) -> Tensor:
        """w of z, which is None in a mapping of labels alone."""
        parts = []
        with torch.autocast(self.layers[0].weight.device.type, enabled=False):
            if self.latent_dim:
                if z is None or z.dim() != 2 or z.shape[1] != self.latent_dim:
                    raise ValueError(f"z is {None if z is None else list(z.shape)}, not [N, {self.latent_dim}]")
                parts.append(pixel_norm(z.to(self.layers[0].weight.dtype)))
            if self.embed is not None:
                parts.append(pixel_norm(self.embed(self._one_hot(labels))))
            elif labels is not None:
                raise ValueError("labels were given to a network with num_classes=0")
            w = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
            for layer in self.layers:
                w = layer(w)
        return w

    def _one_hot(self, labels: Tensor | None) -> Tensor:
        rows = 0 if labels is None else labels.shape[0]  # of any size in a graph that is exported, unlike len()
        like = self.layers[0].weight.new_empty(0).expand(rows, 0)
        return one_hot(labels, self.num_classes, like)

    def truncated(self, w: Tensor, psi: float) -> Tensor:
        """w̄ + ψ·(w − w̄), of w [N, w_dim] or [N, layers, w_dim] (Karras et al. 2019, appendix B)."""
        if psi == 1:
            return w
        if self.average is None:
            raise ValueError(f"psi={psi} needs a mapping with a mean of w")
        mean = cast(Tensor, self.average.mean).to(w.dtype)
        return torch.lerp(mean, w, psi)
