"""A penalty on the norm of the scores' gradient, as an object: where the gradient is taken and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from gan_ops._types import accumulable
from gan_ops.ops import gradient_penalty, interpolate

__all__ = ["Critic", "GradientPenalty", "gradient_at", "score_gradient"]

Critic = Callable[[Tensor], Any]
"""Takes a batch [N, *] and gives scores [N], or an object that has them as ``score``. One that needs labels is a
closure over them: ``lambda x: discriminator(x, labels)``."""


@dataclass(frozen=True)
class GradientPenalty:
    """weight·E[(‖∇D(x̂)‖ − target)² / target²] at points x̂ between real and generated samples.

    Gulrajani et al. 2017, eq. 3, with the target of Karras et al. 2018, appendix A.1 and D (750 for CIFAR-10). The norm
    is taken per sample over all its axes; ``one_sided`` counts only what exceeds the target (Petzka et al. 2018),
    and target 0 stands for weight·E‖∇D(x̂)‖². :mod:`gan_ops.objectives.penalties` has the usual ones as functions.
    Their parts::

        points = penalty.points(real, fake, generator)
        loss = penalty.loss(score_gradient(discriminator, points))
    """

    weight: float = 10.0
    target: float = 1.0
    one_sided: bool = False

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ValueError(f"weight={self.weight} must not be negative")
        if not self.target >= 0:
            raise ValueError(f"target={self.target} must not be negative")

    def points(
        self, real: Tensor, fake: Tensor, generator: torch.Generator | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """x̂ = real + u·(fake − real) [N, *], with one u ~ U[0, 1) a sample.

        The u are drawn from ``generator``, or beforehand and given as ``weights`` [N].
        """
        if real.shape != fake.shape:
            raise ValueError(f"real is {list(real.shape)} but fake is {list(fake.shape)}")
        if weights is None:
            weights = torch.rand(len(real), generator=generator, dtype=real.dtype, device=real.device)
        return interpolate(real, fake.to(real.dtype), weights)

    def loss(self, gradient: Tensor) -> Tensor:
        """The penalty of ``gradient`` [N, *], the scores' gradient at the points: a scalar, float32 (or float64).

        See :func:`gan_ops.gradient_penalty`. A gradient taken from a scaled loss must be unscaled first.
        """
        return self.weight * gradient_penalty(gradient, self.target, self.one_sided).mean()


def score_gradient(critic: Critic, points: Tensor, scale: float | Tensor | None = None) -> Tensor:
    """∇D at each of ``points`` [N, *]: the gradient of the critic's scores, with a graph to its parameters.

    Args:
        critic: what gives the scores; an autocast that surrounds this call applies to it, and to nothing else here.
        points: where to take the gradient; constants. The gradient has their memory layout if the critic's keeps it.
        scale: fp16's loss scale. The gradient is carried through the critic times ``scale``, or small values would
            vanish, and divided by it at the end.

    Returns:
        The true gradient, float32 (float64 for float64 points).

    Raises:
        RuntimeError: if the critic is compiled and this call is not in the same graph; see
            :mod:`gan_ops.objectives.penalties`.
    """
    return gradient_at(critic, points.detach().requires_grad_(), scale)


def gradient_at(critic: Critic, points: Tensor, scale: float | Tensor | None = None) -> Tensor:
    """:func:`score_gradient` at points that require a gradient already.

    It compiles with every torch that can compile gradients at all: 2.11 lets no tensor begin to require one in a graph.
    """
    scores = critic(points)
    scores = getattr(scores, "score", scores)
    if not (torch.compiler.is_compiling() and torch._dynamo.config.trace_autograd_ops):
        _check_not_compiled(scores, points)
    with torch.autocast(points.device.type, enabled=False):
        total = accumulable(scores).sum()
        (gradient,) = torch.autograd.grad(total if scale is None else total * scale, points, create_graph=True)
        gradient = accumulable(gradient)
        return gradient if scale is None else gradient / scale


def _check_not_compiled(scores: Tensor, points: Tensor) -> None:
    """RuntimeError where compiled code lies between the points and the scores.

    Its backward pass cannot be differentiated. torch raises when that is tried, but not if autocast casts the weights
    within the compiled code: it then takes the gradient for a constant, and the penalty would move no weight.
    """
    if scores.grad_fn is None:
        return
    goal = torch.autograd.graph.get_gradient_edge(points).node
    compiled = [node for node in _nodes_before(scores.grad_fn, goal) if node.name() == "CompiledFunctionBackward"]
    if any(goal in _nodes_before(node, goal) for node in compiled):
        raise RuntimeError(
            "the critic's scores come from compiled code, whose gradient cannot be differentiated: set "
            "torch._dynamo.config.trace_autograd_ops = True and compile the function that takes the parameters' "
            "gradients too, not the critic alone"
        )


def _nodes_before(last: Node, first: Node) -> set[Node]:
    """The nodes of the graph that ends with ``last``, as far back as ``first``."""
    seen, waiting = {last}, [last]
    while waiting:
        node = waiting.pop()
        if node is first:
            continue
        for earlier, _ in node.next_functions:
            if earlier is not None and earlier not in seen:
                seen.add(earlier)
                waiting.append(earlier)
    return seen
