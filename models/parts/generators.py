"""What generators of one size have in common: those that do not grow."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan_ops import nn as gnn
from models.parts.codes import Codes
from models.parts.labels import one_hot


class LatentGenerator(nn.Module):
    """Latents z [N, latent_dim] through ``layers``; with ``num_classes`` the labels' one-hot vectors are joined to z.

    Args:
        reference: inputs [R, latent_dim + num_classes] of the first layer: the reference batch that virtual batch norms
            among the layers need.
        codes: made of the last latents.
    """

    def __init__(
        self,
        latent_dim: int,
        layers: list[nn.Module],
        reference: Tensor | None = None,
        *,
        num_classes: int = 0,
        codes: Codes | None = None,
    ):
        super().__init__()
        self.latent_dim, self.num_classes, self.codes = latent_dim, num_classes, codes or Codes()
        if reference is None:
            self.layers = nn.Sequential(*layers)
        else:
            self.layers = gnn.ReferenceSequential(*layers)
            self.layers.set_reference(reference)

    def forward(self, z: Tensor, labels: Tensor | None = None, *, placed: bool = False) -> Tensor:
        """What the layers make of z, and of labels int64 [N] if there are classes. With ``placed`` the codes stand in z
        themselves."""
        if z.dim() != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(f"z is {list(z.shape)}, not [N, {self.latent_dim}]")
        z = z if placed else self.codes.placed(z)
        return self.layers(with_labels(z, labels, self.num_classes))


def with_labels(z: Tensor, labels: Tensor | None, num_classes: int) -> Tensor:
    """Latents z [N, L] and the labels' one-hot vectors: [N, L + num_classes]. ValueError for labels without classes."""
    if num_classes:
        return torch.cat((z, one_hot(labels, num_classes, z)), dim=1)
    if labels is not None:
        raise ValueError("labels were given to a generator with num_classes=0")
    return z


def reference_of(count: int, latent_dim: int, num_classes: int = 0, codes: Codes | None = None) -> Tensor:
    """What a generator's first layer is given of ``count`` random latents and labels: [count, latent_dim +
    num_classes]."""
    z = torch.randn(count, latent_dim)
    labels = torch.randint(num_classes, (count,)) if num_classes else None
    return with_labels((codes or Codes()).placed(z), labels, num_classes)


def doubling(inputs: int, outputs: int, kernel_size: int, bias: bool) -> nn.ConvTranspose2d:
    """[N, inputs, H, W] → [N, outputs, 2H, 2W]."""
    padding = (kernel_size - 1) // 2
    return nn.ConvTranspose2d(inputs, outputs, kernel_size, 2, padding, output_padding=kernel_size % 2, bias=bias)
