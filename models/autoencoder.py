"""Encoder of a variational autoencoder to DCGAN's generator, and what reconstructs images (Larsen et al. 2016, arXiv
1512.09300, table 1; Kingma and Welling 2014).

Decoder and discriminator are :class:`models.dcgan.Generator` and :class:`models.dcgan.Discriminator`, whose maps are
what reconstructions are compared in.
"""

from __future__ import annotations

from torch import Tensor, nn

from gan_ops.objectives import NormalPosterior
from models.dcgan import Discriminator
from models.parts.precision import widened


class Encoder(nn.Module):
    """Images [N, image_channels, resolution, resolution] → a normal posterior of latents [N, latent_dim].

    Strided convolutions down to 4×4, each map twice as wide as the one before, as DCGAN's discriminator has them, then
    a dense layer to mean and log variance. The paper's encoder has ReLU and a hidden dense layer in between.

    Args:
        resolution: a power of two from 8 up.
        width: feature maps of the first layer, at resolution / 2.
        kernel_size: 4, or the paper's 5.
        norm: one of :data:`models.parts.norms.D_NORMS`; the paper's is "batch".
    """

    def __init__(
        self,
        resolution: int,
        *,
        image_channels: int = 3,
        latent_dim: int = 128,
        width: int = 64,
        kernel_size: int = 4,
        norm: str = "batch",
    ):
        super().__init__()
        self.resolution, self.image_channels, self.latent_dim = resolution, image_channels, latent_dim
        body = Discriminator(
            resolution,
            image_channels=image_channels,
            width=width,
            kernel_size=kernel_size,
            norm=norm,
            outputs=2 * latent_dim,
        )
        self.blocks, self.out = body.blocks, body.head.score

    def forward(self, x: Tensor) -> NormalPosterior:
        """Mean and log variance, float32 or wider."""
        r = self.resolution
        if x.dim() != 4 or x.shape[1:] != (self.image_channels, r, r):
            raise ValueError(f"x is {list(x.shape)}, not [N, {self.image_channels}, {r}, {r}]")
        for block in self.blocks.values():
            x = block(x)
        return NormalPosterior(*widened(self.out(x.flatten(1))).chunk(2, 1))


class Reconstruction(nn.Module):
    """Images → the decoder's for the means of their posteriors, [N, C, R, R] both."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.resolution, self.image_channels = encoder.resolution, encoder.image_channels

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x).mean)


class Encoding(nn.Module):
    """Images [N, C, R, R] → the means of their posteriors [N, latent_dim]."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.resolution, self.image_channels = encoder.resolution, encoder.image_channels

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x).mean
