"""The gradient of a critic's scores with respect to what it was shown, with a graph: what penalties are taken of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from gan_ops._types import accumulable
from gan_ops.objectives.scores import Scores, score_of

__all__ = ["Critic", "gradient_at", "gradient_of", "score_gradient"]

Critic = Callable[[Tensor], Any]
"""Takes a batch [N, *] and gives scores [N], or an object that has them as ``score``. One that needs labels is a
closure over them: ``lambda x: discriminator(x, labels)``."""


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
    return gradient_of(critic(points), points, scale)


def gradient_of(scores: Scores | Tensor, points: Tensor, scale: float | Tensor | None = None) -> Tensor:
    """:func:`score_gradient` where the critic has run already: one pass gives scores and gradient.

    Args:
        scores: [N], or an object that has them as ``score``; each computed from its own point alone.
        points: [N, *], what the scores were computed from; required a gradient then.
        scale: as there.

    Raises:
        ValueError: the points require no gradient.
        RuntimeError: as there.
    """
    if not points.requires_grad:
        raise ValueError("points must require a gradient before scores are computed from them")
    scores = score_of(scores)
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
