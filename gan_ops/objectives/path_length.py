"""Path length regularisation of generators (Karras et al. 2020, arXiv 1912.04958, section 3.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gan_ops.objectives.objective import check_not_negative

__all__ = ["PathLength", "path_directions", "path_lengths"]


@dataclass(frozen=True)
class PathLength:
    """weight·E[(‖Jᵀy‖ − a)²], where J is the Jacobian of an image by its styles, y a random direction among images, and
    a a moving mean of these lengths: equation 4.

    ::

        y = path_directions(images)
        (gradient,) = torch.autograd.grad((images * y).sum(), styles, create_graph=True)
        lengths = path_lengths(gradient)
        loss = penalty.loss(lengths, a)
        a.lerp_(lengths.detach().mean(), penalty.decay)

    Attributes:
        weight: 2 is near the authors' choice for all resolutions (their ln 2/(r²(ln r − ln 2)) in other units).
        decay: how far a moves in a step.
    """

    weight: float = 2.0
    decay: float = 0.01

    def __post_init__(self) -> None:
        check_not_negative(self, "weight", "decay")
        if self.decay > 1:
            raise ValueError(f"decay={self.decay} is not between 0 and 1")

    def loss(self, lengths: Tensor, mean: Tensor) -> Tensor:
        """The penalty of lengths [N], a scalar; ``mean`` is a, a constant."""
        return self.weight * (lengths - mean.detach()).square().mean()


def path_directions(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """y ~ N(0, 1/(H·W)) for images [N, C, H, W], so that lengths do not depend on the resolution."""
    y = torch.empty_like(images).normal_(generator=generator)
    return y / math.sqrt(images.shape[2] * images.shape[3])


def path_lengths(gradient: Tensor) -> Tensor:
    """‖Jᵀy‖ [N] of gradients by the styles, [N, W] or, of a style for each layer, [N, layers, W]: then the root of the
    layers' mean square. At 0 their derivative is 0."""
    lengths = torch.linalg.vector_norm(gradient.flatten(1), dim=1)  # [N, layers·W] → [N]
    return lengths if gradient.dim() == 2 else lengths / math.sqrt(gradient.shape[1])
