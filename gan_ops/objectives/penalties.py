"""The usual penalties on a critic's gradient as functions: a critic and batches in, a scalar loss out.

Scores are D(x) for x [N, *]; expectations are means over the batch, so that losses of equal microbatches or processes
average to that of the whole (but for DRAGAN's deviation, which is that of the batch given). Each takes

- ``critic``: gives scores [N], or an object with them as ``score``; a closure where it needs labels. It is called once.
- ``generator``: where random numbers come from, on the batches' device; torch's default one if None. With several
  processes each has its own.
- ``scale``: fp16's loss scale, a number or a 0-d tensor (``scaler.get_scale()``): the inner gradient is carried scaled
  and unscaled before it is penalised. The result is not scaled: scale it like any other loss.

and returns the penalty in float32 (float64 for float64 batches), computed outside autocast, with a graph to the
critic's parameters. To the batches flows nothing. Parameters on which the scores' gradient does not depend, such as the
last bias, get no gradient from a penalty alone; DistributedDataParallel wants it summed with the scores' loss.

To compile a step with a penalty, set ``torch._dynamo.config.trace_autograd_ops = True`` (torch 2.11 and later) and
compile the function that takes the parameters' gradients too::

    torch._dynamo.config.trace_autograd_ops = True

    @torch.compile
    def step(real):
        return torch.autograd.grad(critic(real).mean() + r1(critic, real), list(critic.parameters()))

Without that setting torch differentiates compiled code only once. The functions here raise RuntimeError then. A
gradient of your own, ``torch.autograd.grad(…, create_graph=True)``, raises torch's error ("does not currently support
double backward"), or under autocast is taken for a constant: the penalty is missing from the gradients, and nothing
says so.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gan_ops.objectives.gradient_penalty import Critic, GradientPenalty, score_gradient

__all__ = ["dragan", "r1", "r2", "wgan_gp", "wgan_lp"]


def wgan_gp(
    critic: Critic,
    real: Tensor,
    fake: Tensor,
    *,
    weight: float = 10.0,
    target: float = 1.0,
    generator: torch.Generator | None = None,
    scale: float | Tensor | None = None,
) -> Tensor:
    """weight·E[(‖∇D(x̂)‖ − target)²/target²] between real and fake samples: Gulrajani et al. 2017, eq. 3.

    Args:
        real, fake: [N, *] of one shape.
    """
    penalty = GradientPenalty(weight, target)
    return penalty.loss(score_gradient(critic, penalty.points(real, fake, generator), scale))


def wgan_lp(
    critic: Critic,
    real: Tensor,
    fake: Tensor,
    *,
    weight: float = 10.0,
    target: float = 1.0,
    generator: torch.Generator | None = None,
    scale: float | Tensor | None = None,
) -> Tensor:
    """weight·E[max(‖∇D(x̂)‖ − target, 0)²/target²] between real and fake samples: Petzka et al. 2018.

    Args:
        real, fake: [N, *] of one shape.
    """
    penalty = GradientPenalty(weight, target, one_sided=True)
    return penalty.loss(score_gradient(critic, penalty.points(real, fake, generator), scale))


def r1(critic: Critic, real: Tensor, *, gamma: float = 10.0, scale: float | Tensor | None = None) -> Tensor:
    """γ/2·E‖∇D(x)‖² at real samples [N, *]: Mescheder et al. 2018, eq. 9."""
    return _zero_centred(gamma).loss(score_gradient(critic, real, scale))


def r2(critic: Critic, fake: Tensor, *, gamma: float = 10.0, scale: float | Tensor | None = None) -> Tensor:
    """γ/2·E‖∇D(G(z))‖² at generated samples [N, *]: Mescheder et al. 2018, eq. 10."""
    return _zero_centred(gamma).loss(score_gradient(critic, fake, scale))


def dragan(
    critic: Critic,
    real: Tensor,
    *,
    weight: float = 10.0,
    target: float = 1.0,
    noise: float = 0.5,
    generator: torch.Generator | None = None,
    scale: float | Tensor | None = None,
) -> Tensor:
    """weight·E[(‖∇D(x + δ)‖ − target)²/target²] around real samples: Kodali et al. 2017.

    As in the authors' code, δ = noise·std(x)·u with u ~ U[0, 1) for every value, and the standard deviation is that of
    all values of the batch.

    Args:
        real: [N, *].
    """
    if not noise >= 0:
        raise ValueError(f"noise={noise} must not be negative")
    u = torch.empty_like(real).uniform_(generator=generator)
    points = real + noise * real.std(unbiased=False) * u
    return GradientPenalty(weight, target).loss(score_gradient(critic, points, scale))


def _zero_centred(gamma: float) -> GradientPenalty:
    if not gamma >= 0:
        raise ValueError(f"gamma={gamma} must not be negative")
    return GradientPenalty(gamma / 2, target=0.0)
