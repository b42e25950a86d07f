"""Penalties on the weights of a network."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["orthogonal_penalty", "singular_value", "singular_value_penalty"]


def orthogonal_penalty(weights: Iterable[Tensor]) -> Tensor:
    """Σ ‖(W·Wᵀ) ⊙ (1 − I)‖²: Brock et al. 2019 (arXiv 1809.11096), equation 3, without its β.

    The products of different filters are driven to 0, and their lengths are left alone. The authors' code adds half of
    this gradient.

    Args:
        weights: [out, …] each, with a filter W_i for each output.

    Returns:
        A 0-d tensor.
    """
    terms = []
    for weight in weights:
        filters = weight.flatten(1)
        products = filters @ filters.T
        terms.append(products.square().sum() - products.diagonal().square().sum())
    return torch.stack(terms).sum()


def singular_value(weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """σ₀ = uᵀ·W·v, 0-d, of a weight W [out, …] and its first singular vectors u [out] and v [rest], taken as constants:
    its gradient is u·vᵀ."""
    return torch.dot(u.detach(), weight.flatten(1) @ v.detach())


def singular_value_penalty(values: Tensor, bound: float) -> Tensor:
    """½ Σ max(0, σ₀ − bound)² of first singular values [L].

    Its gradient is max(0, σ₀ − bound)·u·vᵀ, which equation 2 of Brock et al. 2019 subtracts from a weight to clamp it.
    """
    return (values - bound).clamp(min=0).square().sum() / 2
