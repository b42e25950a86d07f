"""What generators of one size have in common: those that do not grow."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan_ops import nn as gnn
from models.parts.labels import one_hot


class LatentGenerator(nn.Module):
    """Latents z [N, latent_dim] through ``layers``; with ``num_classes`` the labels' one-hot vectors are joined to z.

    Args:
        reference: inputs [R, latent_dim + num_classes] of the first layer: the reference batch that virtual batch norms
            among the layers need.
    """

    def __init__(
        self, latent_dim: int, layers: list[nn.Module], reference: Tensor | None = None, *, num_classes: int = 0
    ):
        super().__init__()
        self.latent_dim, self.num_classes = latent_dim, num_classes
        if reference is None:
            self.layers = nn.Sequential(*layers)
        else:
            self.layers = gnn.ReferenceSequential(*layers)
            self.layers.set_reference(reference)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """What the layers make of z, and of labels int64 [N] if there are classes."""
        if z.dim() != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(f"z is {list(z.shape)}, not [N, {self.latent_dim}]")
        if self.num_classes:
            z = torch.cat((z, one_hot(labels, self.num_classes, z)), dim=1)
        elif labels is not None:
            raise ValueError("labels were given to a generator with num_classes=0")
        return self.layers(z)


def reference_of(count: int, latent_dim: int, num_classes: int = 0) -> Tensor:
    """What a generator's first layer is given of ``count`` random latents and labels: [count, latent_dim +
    num_classes]."""
    z = torch.randn(count, latent_dim)
    if not num_classes:
        return z
    return torch.cat((z, one_hot(torch.randint(num_classes, (count,)), num_classes, z)), dim=1)


def doubling(inputs: int, outputs: int, kernel_size: int, bias: bool) -> nn.ConvTranspose2d:
    """[N, inputs, H, W] → [N, outputs, 2H, 2W]."""
    padding = (kernel_size - 1) // 2
    return nn.ConvTranspose2d(inputs, outputs, kernel_size, 2, padding, output_padding=kernel_size % 2, bias=bias)
