"""A game's networks as its losses see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from gan_ops.objectives import Scores, gradient_of
from train.engine.precision import Autocast


class Networks:
    """Networks by name, run under autocast: ``nets.G(z)``.

    Those that do not move are constants, through which gradients pass to their inputs.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        autocast: Autocast,
        scale: Tensor | None,
        zero: Tensor,
        shared: dict[str, Any],
    ) -> None:
        self._networks, self._autocast = networks, autocast
        self._scale, self._zero, self._shared = scale, zero, shared

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or name not in self._networks:
            raise AttributeError(f"the game has no network {name!r}, only {', '.join(self._networks)}")
        network, autocast = self._networks[name], self._autocast

        def run(*args: Any, **options: Any) -> Any:
            with autocast():
                return network(*args, **options)

        return run

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        """``make()``, computed once in a graph, however many of its losses ask for it."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def point(self, x: Tensor) -> Tensor:
        """``x`` as a constant at which gradients can be taken; in its memory layout."""
        # In a graph torch 2.11 lets no tensor begin to require a gradient; the zero has begun outside.
        return x.detach() + self._zero

    def gradient(self, scores: Tensor | Scores, points: Tensor) -> Tensor:
        """∇ of the scores at the points, in float32 or wider and with a graph (see ``gan_ops.objectives.gradient_of``).

        ``points`` are what :meth:`point` gave, or were computed from it.
        """
        return gradient_of(scores, points, self._scale)

    def parameter(self, network: str, name: str) -> Tensor:
        """A parameter, such as that of a last layer at which a loss takes gradients."""
        return self._networks[network].get_parameter(name)
