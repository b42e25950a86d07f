"""The usual penalties on a critic's gradient: classes for trainers, and functions for anybody's own loop.

A function takes a critic and batches and returns a scalar loss. Scores are D(x) for x [N, *]; expectations are means
over the batch, so that losses of equal microbatches or processes average to that of the whole (but for DRAGAN's
deviation, which is that of the batch given). Each function takes

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

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gan_ops.objectives.gradients import Critic, score_gradient
from gan_ops.objectives.objective import check_count, check_not_negative
from gan_ops.ops import gradient_penalty, interpolate

__all__ = [
    "R1",
    "R2",
    "Dragan",
    "GradientPenalty",
    "Penalty",
    "WganDiv",
    "WganGP",
    "WganLP",
    "dragan",
    "r1",
    "r2",
    "wgan_div",
    "wgan_gp",
    "wgan_lp",
]


@dataclass(frozen=True)
class Penalty:
    """A penalty on the gradient of a critic's scores, for trainers: where the gradient is taken, and what it costs.

    ``at`` says where: at points "between" real and generated samples, "around" real ones, or at the "real" or the
    "fake" samples themselves, whose scores' own pass gives it. The first two have a method ``points``. ``every``
    penalises each ``every``-th step alone (lazy regularisation, Karras et al. 2020, §3.1); the trainer makes up for it.
    """

    at: ClassVar[Literal["between", "around", "real", "fake"]]
    every: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        check_count(self, "every")

    def loss(self, gradient: Tensor) -> Tensor:
        """The penalty of ``gradient`` [N, *], the scores' at the points: a scalar, float32 (or float64).

        A gradient taken from a scaled loss must be unscaled first.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class _Between(Penalty):
    """At points x̂ between real and generated samples."""

    at = "between"

    def points(
        self, real: Tensor, fake: Tensor, weights: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """x̂ = real + u·(fake − real) [N, *], with one u ~ U[0, 1) a sample.

        The u are given as ``weights`` [N], or drawn from ``generator``. ValueError unless the shapes are equal.
        """
        if real.shape != fake.shape:
            raise ValueError(f"real is {list(real.shape)} but fake is {list(fake.shape)}")
        if weights is None:
            weights = torch.rand(len(real), generator=generator, dtype=real.dtype, device=real.device)
        return interpolate(real, fake.to(real.dtype), weights)


@dataclass(frozen=True)
class _OfNorm(Penalty):
    """weight·E[(‖∇D(x̂)‖ − target)²/target²], the norm taken per sample over all its axes; of target 0 weight·E‖∇D‖²."""

    weight: float = 10.0
    target: float = 1.0
    one_sided: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(self, "weight", "target")

    def loss(self, gradient: Tensor) -> Tensor:
        return self.weight * gradient_penalty(gradient, self.target, self.one_sided).mean()


@dataclass(frozen=True)
class WganGP(_OfNorm, _Between):
    """weight·E[(‖∇D(x̂)‖ − target)²/target²] at points x̂ between real and generated samples.

    Gulrajani et al. 2017, eq. 3, with the target of Karras et al. 2018, appendix A.1 and D (750 for CIFAR-10)::

        points = penalty.points(real, fake)
        loss = penalty.loss(score_gradient(discriminator, points))
    """


@dataclass(frozen=True)
class WganLP(WganGP):
    """weight·E[max(‖∇D(x̂)‖ − target, 0)²/target²] at the points of :class:`WganGP`: Petzka et al. 2018."""

    one_sided = True


@dataclass(frozen=True)
class GradientPenalty(WganGP):
    """:class:`WganGP`, or with ``one_sided`` :class:`WganLP`."""

    one_sided: bool = False


@dataclass(frozen=True)
class WganDiv(_Between):
    """weight·E[‖∇D(x̂)‖^power] at the points of :class:`WganGP`: Wu et al. 2018 (arXiv 1712.01026), k = 2 and p = 6.

    Nothing is normalised: a gradient of norm 1 costs ``weight``, one of norm 100 10¹² times as much, and beyond a norm
    of about 2·10⁶ float32 overflows to infinity. Start with a critic whose gradients are of order 1. At a gradient of 0
    the derivative is 0; that takes a ``power`` of at least 2 (ValueError), where the paper's theory takes any above 1.
    """

    weight: float = 2.0
    power: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(self, "weight")
        if not 2 <= self.power < math.inf:
            raise ValueError(f"power={self.power} is not a finite number of at least 2")

    def loss(self, gradient: Tensor) -> Tensor:
        square = gradient_penalty(gradient, 0.0)  # [N, *] → [N]
        return self.weight * (square ** (self.power / 2)).mean()  # [N] → scalar


@dataclass(frozen=True)
class Dragan(_OfNorm):
    """weight·E[(‖∇D(x + δ)‖ − target)²/target²] around real samples: Kodali et al. 2017.

    As in the authors' code, δ = noise·std(x)·u with u ~ U[0, 1) for every value, and the standard deviation is that of
    all values of the batch.
    """

    at = "around"
    noise: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(self, "noise")

    def points(self, real: Tensor, u: Tensor | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        """x + δ [N, *]; u is given in the shape of ``real``, or drawn from ``generator``."""
        if u is None:
            u = torch.empty_like(real).uniform_(generator=generator)
        return real + self.noise * real.std(unbiased=False) * u


@dataclass(frozen=True)
class R1(Penalty):
    """γ/2·E‖∇D(x)‖² at real samples: Mescheder et al. 2018, eq. 9."""

    at = "real"
    gamma: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(self, "gamma")

    def loss(self, gradient: Tensor) -> Tensor:
        return self.gamma / 2 * gradient_penalty(gradient, 0.0).mean()


@dataclass(frozen=True)
class R2(R1):
    """γ/2·E‖∇D(G(z))‖² at generated samples: Mescheder et al. 2018, eq. 10."""

    at = "fake"


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
    penalty = WganGP(weight, target)
    return penalty.loss(score_gradient(critic, penalty.points(real, fake, generator=generator), scale))


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
    penalty = WganLP(weight, target)
    return penalty.loss(score_gradient(critic, penalty.points(real, fake, generator=generator), scale))


def wgan_div(
    critic: Critic,
    real: Tensor,
    fake: Tensor,
    *,
    weight: float = 2.0,
    power: float = 6.0,
    generator: torch.Generator | None = None,
    scale: float | Tensor | None = None,
) -> Tensor:
    """weight·E[‖∇D(x̂)‖^power] between real and fake samples: Wu et al. 2018; see :class:`WganDiv`.

    Args:
        real, fake: [N, *] of one shape.
    """
    penalty = WganDiv(weight, power)
    return penalty.loss(score_gradient(critic, penalty.points(real, fake, generator=generator), scale))


def r1(critic: Critic, real: Tensor, *, gamma: float = 10.0, scale: float | Tensor | None = None) -> Tensor:
    """γ/2·E‖∇D(x)‖² at real samples [N, *]: Mescheder et al. 2018, eq. 9."""
    return R1(gamma).loss(score_gradient(critic, real, scale))


def r2(critic: Critic, fake: Tensor, *, gamma: float = 10.0, scale: float | Tensor | None = None) -> Tensor:
    """γ/2·E‖∇D(G(z))‖² at generated samples [N, *]: Mescheder et al. 2018, eq. 10."""
    return R2(gamma).loss(score_gradient(critic, fake, scale))


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
    """weight·E[(‖∇D(x + δ)‖ − target)²/target²] around real samples [N, *]: Kodali et al. 2017; see :class:`Dragan`."""
    penalty = Dragan(weight, target, noise)
    return penalty.loss(score_gradient(critic, penalty.points(real, generator=generator), scale))
