"""What maximum entropy generators need beside a generator and an energy (Kumar et al. 2019, arXiv 1901.08508): a
statistic of pairs of images and latents, and a Markov chain among latents that refines samples."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ops.objectives import vectors_of
from models.dcgan import SLOPE, Discriminator
from models.parts.precision import widened


class Statistics(nn.Module):
    """Images x [N, C, R, R] and latents z [N, latent_dim] → T(x, z) [N], float32 or wider.

    DCGAN's discriminator gives as many features of x as z has values; a hidden dense layer sees both, as in the
    authors' code.

    Args:
        width: feature maps of the first layer, at resolution / 2; each next has twice as many.
        hidden: units of the dense layer.
    """

    def __init__(
        self,
        resolution: int,
        *,
        image_channels: int = 3,
        latent_dim: int = 128,
        width: int = 64,
        kernel_size: int = 4,
        hidden: int = 512,
    ):
        super().__init__()
        shape = {"image_channels": image_channels, "width": width, "kernel_size": kernel_size}
        self.features = Discriminator(resolution, outputs=latent_dim, norm="none", **shape)
        self.hidden, self.out = nn.Linear(2 * latent_dim, hidden), nn.Linear(hidden, 1)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        features = vectors_of(self.features(x))
        h = F.leaky_relu(self.hidden(torch.cat((features, z), 1)), SLOPE)  # [N, 2L] → [N, hidden]
        return widened(self.out(h))[:, 0]


class LatentLangevin(nn.Module):
    """Samples of a generator, after a Markov chain among its latents that lowers their energy.

    The Metropolis-adjusted Langevin algorithm for p(z) ∝ exp(−U(G(z))/T), from z ~ N(0, I): Kumar et al. 2019, section
    3.4. A step proposes z′ = z − α∇u(z) + √(2α)·ε with u = U(G(z))/T, and takes it with the probability
    min(1, exp(u(z) − u(z′))·q(z|z′)/q(z′|z)), q(z′|z) ∝ exp(−‖z′ − z + α∇u(z)‖²/(4α)). That density is of energies
    alone, without the prior of z: long chains leave the shell on which latents lie.

    All random numbers of a chain are one long latent: [N, latent_dim] → images [N, C, R, R], with ``latent_dim`` L +
    steps·(L + 1) where the generator's is L: z, and for each step ε and a number whose quantile decides. So samples are
    drawn like any generator's. They ask for gradients of both networks; no graph of the result is kept.

    Args:
        generator, critic: G, and what gives the score −U of images.
        steps, rate, temperature: of the chain: their number, α, and T. (The authors' code for pictures: 100, 0.01, 10.)
    """

    num_classes = 0

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        *,
        steps: int = 100,
        rate: float = 0.01,
        temperature: float = 1.0,
    ):
        super().__init__()
        self.generator, self.critic = generator, critic
        self.steps, self.rate, self.temperature = steps, rate, temperature
        self.resolution, self.start_dim = generator.resolution, generator.latent_dim
        self.latent_dim = self.start_dim + steps * (self.start_dim + 1)

    def forward(self, z: Tensor) -> Tensor:
        if z.dim() != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(f"z is {list(z.shape)}, not [N, {self.latent_dim}]")
        return self.generator(self.refined(z))

    def refined(self, z: Tensor) -> Tensor:
        """The last latents of the chains, [N, L]."""
        size = self.start_dim
        here, numbers = z[:, :size], z[:, size:].unflatten(1, (self.steps, size + 1))  # [N, steps, L + 1]
        energy, slope = self._energy(here)
        for eps, number in zip(numbers[..., :size].unbind(1), numbers[..., size].unbind(1), strict=True):
            there = here - self.rate * slope + (2 * self.rate) ** 0.5 * eps
            energy_there, slope_there = self._energy(there)
            log_ratio = energy - energy_there + self._log_q(here, there, slope_there) - self._log_q(there, here, slope)
            taken = torch.special.log_ndtr(number) < log_ratio  # of a normal number it is the log of a uniform one
            here, slope = (torch.where(taken[:, None], *pair) for pair in ((there, here), (slope_there, slope)))
            energy = torch.where(taken, energy_there, energy)
        return here

    def _energy(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """u [N] and its gradient [N, L] at z."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            energy = -self.critic(self.generator(z)).score / self.temperature
            (slope,) = torch.autograd.grad(energy.sum(), z)
        return energy.detach(), slope

    def _log_q(self, to: Tensor, start: Tensor, slope: Tensor) -> Tensor:
        """log q(to | start) [N], but for a constant."""
        return -(to - start + self.rate * slope).square().sum(1) / (4 * self.rate)
