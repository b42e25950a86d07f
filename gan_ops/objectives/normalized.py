"""Gradient normalisation: a critic's scores divided by the norm of their own gradient."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from gan_ops._types import accumulable
from gan_ops.ops import gradient_penalty

__all__ = ["GradientNorm", "gradient_normalized"]

GradientNorm = Literal["gradient", "gradient-v2"]
"""GN-GAN's and GraN-GAN's."""


def gradient_normalized(
    score: Tensor,
    gradient: Tensor,
    form: GradientNorm = "gradient",
    *,
    lipschitz: float = 1.0,
    epsilon: float = 0.1,
) -> Tensor:
    """f̂ of a critic's scores f and their gradient ∇f, which has a graph: for the steps of both players.

    - "gradient": K·f/(‖∇f‖ + |f|), GN-GAN (Wu et al. 2021, arXiv 2109.02235). It lies within [−K, K].
    - "gradient-v2": K·f·‖∇f‖/(‖∇f‖² + ε), GraN-GAN (Bhaskara et al. 2022, arXiv 2111.03162).

    Where f is linear, as a critic with ReLU or leaky ReLU is in pieces, ‖∇f̂‖ is K·(‖∇f‖/(‖∇f‖ + |f|))² and
    K·‖∇f‖²/(‖∇f‖² + ε): at most K. Between two pieces f̂ jumps, unless f is 0 there.

    The critic must judge each sample alone: no batch norm. Each loss of f̂ takes second derivatives of the critic, and a
    penalty on the gradient of f̂ third ones.

    Args:
        score: [N].
        gradient: [N, *], the scores' with respect to the samples, such as
            :func:`gan_ops.objectives.gradients.gradient_of` gives; unscaled.
        form: which.
        lipschitz: K.
        epsilon: ε, of the second form alone; it bounds the factor of f by K/(2√ε) and the slope of that by K/ε. The
            default is ours: critics can make their gradients large beside it, and the bounds stay small.

    Returns:
        [N], float32 (float64 of float64). It and its first and second derivatives are finite also where f, ∇f or both
        are 0: there ‖∇f‖ counts as constant, and 0/0 as 0. Sizes below 10⁻¹⁸ count as 0.

    Raises:
        ValueError: scores and gradient are not of N samples, K or ε is not above 0, or there is no such form.
    """
    if score.dim() != 1 or gradient.dim() < 2 or len(score) != len(gradient):
        raise ValueError(f"score must be [N] and gradient [N, *], but are {list(score.shape)}, {list(gradient.shape)}")
    if not (lipschitz > 0 and epsilon > 0):
        raise ValueError(f"lipschitz={lipschitz} and epsilon={epsilon} must be above 0")
    score = accumulable(score)
    square = gradient_penalty(gradient, 0.0)  # ‖∇f‖², [N, *] → [N]
    zero = square == 0
    norm = (square + zero).sqrt().masked_fill(zero, 0.0)
    if form == "gradient":
        size = norm + score.abs()
        return lipschitz * score / (size + (size < 1e-18))
    if form == "gradient-v2":
        return lipschitz * score * (norm / (square + epsilon))
    raise ValueError(f"form={form} is not gradient or gradient-v2")
