"""Critics that are autoencoders: the energy of an image is by how much they fail to reconstruct it.

BEGAN's networks (Berthelot et al. 2017, arXiv 1703.10717, section 3.5), and convolutional ones like DCGAN's for EBGAN
(Zhao et al. 2017, arXiv 1609.03126, appendix C) and MAGAN (Wang et al. 2017, arXiv 1704.03817).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from gan_ops.objectives import Scores
from models.dcgan import Discriminator, Generator
from models.parts.generators import LatentGenerator
from models.parts.minibatches import one_by_one
from models.parts.norms import norm_layer
from models.parts.precision import widened

Energy = Literal["l1", "mse", "l2", "sse"]
ENERGIES: dict[Energy, Callable[[Tensor], Tensor]] = {
    "l1": lambda error: error.abs().mean(1),
    "mse": lambda error: error.square().mean(1),
    "l2": lambda error: torch.linalg.vector_norm(error, dim=1),
    "sse": lambda error: error.square().sum(1),
}
"""Of the error x − D(x) [N, F]: its mean absolute value (BEGAN), its mean square, its length (EBGAN, eq. 13) and the
square of that (MAGAN's code), all [N]."""


class AutoencoderCritic(nn.Module):
    """Images [N, C, R, R] → :class:`Scores`: minus the energy, and the codes [N, K] as ``maps``.

    Args:
        encoder: images to codes.
        decoder: codes to images.
        energy: a key of :data:`ENERGIES`.
        sees_batch: whether samples of a minibatch bear on each other.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        resolution: int,
        image_channels: int,
        energy: Energy,
        sees_batch: bool = False,
    ):
        super().__init__()
        if energy not in ENERGIES:
            raise ValueError(f"energy={energy!r} is not one of {', '.join(ENERGIES)}")
        self.encoder, self.decoder, self.energy = encoder, decoder, energy
        self.resolution, self.image_channels, self.sees_batch = resolution, image_channels, sees_batch

    def forward(self, x: Tensor, batches: int = 1) -> Scores:
        """Scores of x; with ``batches`` > 1 of that many interleaved minibatches, as if they came one by one."""
        r = self.resolution
        if x.dim() != 4 or x.shape[1:] != (self.image_channels, r, r):
            raise ValueError(f"x is {list(x.shape)}, not [N, {self.image_channels}, {r}, {r}]")
        again, code = one_by_one(self._reconstruct, x, batches if self.sees_batch else 1)
        error = (widened(x) - widened(again)).flatten(1)  # [N, C·R·R]
        return Scores(-ENERGIES[self.energy](error), None, (code,))

    def _reconstruct(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The reconstruction and the code."""
        code = self.encoder(x)
        return self.decoder(code), code


# ---- BEGAN


class Uniform(nn.Module):
    """Normal latents → uniform ones on (−1, 1)."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.erf(z / math.sqrt(2))


class BeganDecoder(LatentGenerator):
    """Latents [N, latent_dim] → images [N, image_channels, resolution, resolution], which no layer bounds: BEGAN's
    generator, and the decoder of its critic.

    A dense layer to 8×8, two 3×3 convolutions with ELU at each size, nearest neighbours between sizes, and one more
    convolution. No skip connections.

    Args:
        resolution: a power of two from 16 up.
        width: feature maps of all layers, the paper's n.
        uniform: take normal latents to uniform ones, which the paper draws.
    """

    def __init__(
        self, resolution: int, *, image_channels: int = 3, latent_dim: int = 64, width: int = 128, uniform: bool = True
    ):
        _check(resolution)
        layers: list[nn.Module] = [Uniform()] if uniform else []
        layers += [_started(nn.Linear(latent_dim, 64 * width)), nn.Unflatten(1, (width, 8, 8))]
        for height in _heights(resolution)[::-1]:
            layers += [*_convolution(width, width), *_convolution(width, width)]
            if height < resolution:
                layers.append(nn.Upsample(scale_factor=2))
        layers.append(_started(nn.Conv2d(width, image_channels, 3, padding=1)))
        super().__init__(latent_dim, layers)
        self.resolution = resolution


def began_critic(
    resolution: int, *, image_channels: int = 3, code: int = 64, width: int = 128, energy: Energy = "l1"
) -> AutoencoderCritic:
    """BEGAN's: two 3×3 convolutions with ELU at each size down to 8×8, of as many times ``width`` maps as the size is
    the n-th, and one of stride 2 between sizes; dense layers to and from the code; :class:`BeganDecoder`."""
    _check(resolution)
    heights = _heights(resolution)
    layers = [*_convolution(image_channels, width)]
    for i, height in enumerate(heights, 1):
        layers += [*_convolution(i * width, i * width), *_convolution(i * width, i * width)]
        if height > 8:
            layers += _convolution(i * width, (i + 1) * width, stride=2)
    encoder = nn.Sequential(*layers, nn.Flatten(), _started(nn.Linear(64 * len(heights) * width, code)))
    decoder = BeganDecoder(resolution, image_channels=image_channels, latent_dim=code, width=width, uniform=False)
    return AutoencoderCritic(encoder, decoder, resolution=resolution, image_channels=image_channels, energy=energy)


def _heights(resolution: int) -> list[int]:
    """resolution, … 16, 8."""
    return [resolution >> i for i in range((resolution // 8).bit_length())]


def _convolution(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    return _started(nn.Conv2d(inputs, outputs, 3, stride, 1)), nn.ELU(inplace=True)


def _started(layer: nn.Module) -> nn.Module:
    """Weights as Glorot and Bengio 2010 begin, which the paper does not say."""
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _check(resolution: int) -> None:
    if resolution < 16 or resolution & (resolution - 1):
        raise ValueError(f"resolution={resolution} is not a power of two from 16 on")


# ---- EBGAN, MAGAN


def convolutional_critic(
    resolution: int,
    *,
    image_channels: int = 3,
    code: int = 0,
    width: int = 64,
    kernel_size: int = 4,
    norm: str = "batch",
    energy: Energy = "l2",
) -> AutoencoderCritic:
    """The convolutions of DCGAN's discriminator, and back by those of its generator.

    Args:
        code: length of the code, by dense layers; 0 for the maps at 4×4 themselves, as the papers have it.
        width: feature maps at half the resolution; those at 4×4 are ``width``·resolution/8.
        norm: one of :data:`models.parts.norms.D_NORMS`; EBGAN's is "batch", MAGAN's "none".
    """
    shape = {"image_channels": image_channels, "width": width, "kernel_size": kernel_size, "norm": norm}
    there = Discriminator(resolution, outputs=code or 1, **shape)
    back = Generator(resolution, latent_dim=code or 1, **shape)
    encoder = nn.Sequential(*there.blocks.values(), nn.Flatten(), *([there.head.score] if code else []))
    decoder: nn.Module = back
    if not code:
        first = 3 + len(norm_layer(norm, 1))  # what comes before the maps at 4×4
        decoder = nn.Sequential(nn.Unflatten(1, (width * resolution // 8, 4, 4)), *back.layers[first:])
    return AutoencoderCritic(
        encoder,
        decoder,
        resolution=resolution,
        image_channels=image_channels,
        energy=energy,
        sees_batch=there.sees_batch,
    )
