"""What generators of one size have in common: those that do not grow."""

from __future__ import annotations

from torch import Tensor, nn

from gan_ops import nn as gnn


class LatentGenerator(nn.Module):
    """Latents z [N, latent_dim] through ``layers``.

    Args:
        reference: latents [R, latent_dim] of the reference batch that virtual batch norms among the layers need.
    """

    num_classes = 0

    def __init__(self, latent_dim: int, layers: list[nn.Module], reference: Tensor | None = None):
        super().__init__()
        self.latent_dim = latent_dim
        if reference is None:
            self.layers = nn.Sequential(*layers)
        else:
            self.layers = gnn.ReferenceSequential(*layers)
            self.layers.set_reference(reference)

    def forward(self, z: Tensor) -> Tensor:
        """What the layers make of z."""
        if z.dim() != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(f"z is {list(z.shape)}, not [N, {self.latent_dim}]")
        return self.layers(z)


def doubling(inputs: int, outputs: int, kernel_size: int, bias: bool) -> nn.ConvTranspose2d:
    """[N, inputs, H, W] → [N, outputs, 2H, 2W]."""
    padding = (kernel_size - 1) // 2
    return nn.ConvTranspose2d(inputs, outputs, kernel_size, 2, padding, output_padding=kernel_size % 2, bias=bias)
