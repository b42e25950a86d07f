"""The two-sided gradient penalty of WGAN-GP."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["GradientPenalty"]


@dataclass(frozen=True)
class GradientPenalty:
    """weight·E[(‖∇D(x̂)‖ − target)² / target²] at points x̂ between real and generated samples.

    Gulrajani et al. 2017, eq. 3, with the target of Karras et al. 2018, appendix A.1 and D (750 for CIFAR-10). The norm
    is taken per sample over all its axes. Typical use::

        x = penalty.points(real, fake, generator).requires_grad_()
        (gradient,) = torch.autograd.grad(discriminator(x).score.sum(), x, create_graph=True)
        loss = penalty.loss(gradient)
    """

    weight: float = 10.0
    target: float = 1.0

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ValueError(f"weight={self.weight} must not be negative")
        if not self.target > 0:
            raise ValueError(f"target={self.target} must be positive")

    def points(self, real: Tensor, fake: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """x̂ = real + u·(fake − real) [N, *], with one u ~ U[0, 1) a sample drawn from ``generator``."""
        if real.shape != fake.shape:
            raise ValueError(f"real is {list(real.shape)} but fake is {list(fake.shape)}")
        shape = (real.shape[0],) + (1,) * (real.dim() - 1)
        u = torch.rand(shape, generator=generator, dtype=real.dtype, device=real.device)
        return torch.lerp(real, fake.to(real.dtype), u)

    def loss(self, gradient: Tensor) -> Tensor:
        """The penalty of ``gradient`` [N, *], the scores' gradient at the points: a scalar, float32 (or float64).

        Where a sample's gradient is 0, its norm has no derivative; there the first and second derivative of the
        penalty are 0. A gradient taken from a scaled loss must be unscaled first.
        """
        # Squares of float32 numbers neither overflow nor vanish in float64, and autocast leaves float64 alone. Next to
        # the network's own work a pass over the images is nothing.
        square = gradient.double().flatten(1).square().sum(1)  # [N, *] → [N]
        zero = square == 0
        # At 0 the root is taken of 1 and then struck out, so no derivative of any order meets 1/0.
        norm = (square + zero).sqrt().masked_fill(zero, 0.0)
        loss = (norm / self.target - 1).square().mean() * self.weight
        return loss if gradient.dtype == torch.float64 else loss.float()
