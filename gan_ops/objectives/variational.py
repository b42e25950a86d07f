"""Terms of the variational bound of an autoencoder with a normal posterior (Kingma and Welling 2014, arXiv 1312.6114).

−log p(x) ≤ KL(q(z|x) ‖ p(z)) − E_q[log p(x|z)]: the first term is :func:`prior_divergence`, the second, for a normal
p of unit variance and but for a constant, :func:`normal_distance`; its expectation is taken at one z, which
:meth:`NormalPosterior.sample` gives with a gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["NormalPosterior", "normal_distance", "prior_divergence"]


class NormalPosterior(NamedTuple):
    """q(z|x) = N(mean, diag(exp(log_variance))) for N samples."""

    mean: Tensor  # [N, L]
    log_variance: Tensor  # [N, L]

    def sample(self, eps: Tensor) -> Tensor:
        """z = mean + exp(log_variance / 2)·eps [N, L] for eps ~ N(0, I) [N, L]: a draw that has a gradient with
        respect to both (the reparametrisation of Kingma and Welling 2014, §2.4)."""
        return self.mean + (self.log_variance / 2).exp() * eps


def prior_divergence(posterior: NormalPosterior) -> Tensor:
    """KL(q(z|x) ‖ N(0, I)) = ½ Σ (mean² + exp(log_variance) − log_variance − 1), a sum over the latents and a mean
    over the batch, in nats (Kingma and Welling 2014, appendix B). A scalar."""
    mean, log_variance = posterior
    return (mean.square() + log_variance.exp() - log_variance - 1).sum(1).mean() / 2


def normal_distance(x: Tensor, mean: Tensor) -> Tensor:
    """−log N(x; mean, I) without its constant: ½‖x − mean‖², a sum over all values of a sample and a mean over the
    batch. Of half precision it is taken in float32.

    With features of a discriminator for x this is L_llike of Larsen et al. 2016, eq. 7 and 8.

    Args:
        x, mean: [N, *].

    Raises:
        ValueError: they have different shapes.
    """
    if x.shape != mean.shape:
        raise ValueError(f"mean must be {list(x.shape)} as x is, but it is {list(mean.shape)}")
    return (_widened(x) - _widened(mean)).square().flatten(1).sum(1).mean() / 2


def _widened(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
