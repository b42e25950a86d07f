"""The rules by which a role's parameters follow their gradients, as options (frozen) and as optimizers of torch.

All skip a step on the device where ``found_inf`` is 1, and leave parameters and state as they are: torch's fused
kernels can, its RMSprop cannot. So RMSProp is made of fused Adam, and the optimistic rules let a fused kernel move the
direction instead of the parameters. Nothing of a step is a number of Python's that changes, so CUDA graphs hold it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

_LONG_AGO = 2.0**40
"""A count of steps so large that float32 does not count on, and that any α to its power is 0."""


class OptimizerChoice(Protocol):
    """An option that stands for an optimizer."""

    def make(
        self, parameters: Sequence[nn.Parameter], lr: Tensor, *, betas: tuple[float, float], eps: float, pace: float
    ) -> torch.optim.Optimizer:
        """The optimizer; it reads its attributes ``found_inf`` and ``grad_scale``, as torch's fused ones do.

        Args:
            lr: η, 0-d, on the parameters' device; changed from outside.
            betas, eps: of the role.
            pace: of a role with lazy moves: what averages over steps keeps of each is raised to it.
        """


@dataclass(frozen=True)
class Adam:
    """Kingma and Ba 2015, algorithm 1."""

    def make(
        self, parameters: Sequence[nn.Parameter], lr: Tensor, *, betas: tuple[float, float], eps: float, pace: float
    ) -> torch.optim.Optimizer:
        betas, on_gpu = (betas[0] ** pace, betas[1] ** pace), lr.is_cuda
        return torch.optim.Adam(parameters, lr, betas, eps, fused=True, capturable=on_gpu)


ADAM = Adam()


@dataclass(frozen=True)
class RMSProp:
    """θ ← θ − η·g/(√v + eps) with v ← α·v + (1 − α)·g², as in torch (Arjovsky et al. 2017, algorithm 1).

    The role's betas are not used. Unlike Adam's with β₁ = 0, the first steps are long: v starts at 0, and nothing makes
    up for it.

    Attributes:
        alpha: α (the authors' code: torch's 0.99).
    """

    alpha: float = 0.99

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < 1:
            raise ValueError(f"alpha={self.alpha} is not at least 0 and below 1")

    def make(
        self, parameters: Sequence[nn.Parameter], lr: Tensor, *, betas: tuple[float, float], eps: float, pace: float
    ) -> torch.optim.Optimizer:
        return _RMSProp(parameters, lr, (0.0, self.alpha**pace), eps, fused=True, capturable=lr.is_cuda)


@dataclass(frozen=True)
class Optimistic:
    """Optimistic mirror descent, θ ← θ − 2η·g_t + η·g_{t−1} with g_0 = 0 (Daskalakis et al. 2018, section 2).

    The role's betas and eps are not used, nor does ``pace`` raise anything: there is no average.
    """

    def make(
        self, parameters: Sequence[nn.Parameter], lr: Tensor, *, betas: tuple[float, float], eps: float, pace: float
    ) -> torch.optim.Optimizer:
        return _Optimistic(parameters, {"lr": lr})


@dataclass(frozen=True)
class OptimisticAdam:
    """θ ← θ − 2η·d_t + η·d_{t−1} with Adam's d_t = m̂_t/(√v̂_t + eps) and d_0 = 0.

    Daskalakis et al. 2018, algorithm 1.
    """

    def make(
        self, parameters: Sequence[nn.Parameter], lr: Tensor, *, betas: tuple[float, float], eps: float, pace: float
    ) -> torch.optim.Optimizer:
        return _OptimisticAdam(parameters, {"lr": lr, "betas": (betas[0] ** pace, betas[1] ** pace), "eps": eps})


class _RMSProp(torch.optim.Adam):
    """Adam with β₁ = 0 whose bias corrections √(1 − α^t) are 1 from the start: it has been running for long."""

    def step(self, closure: Any = None) -> None:
        for parameter in self.param_groups[0]["params"]:
            if parameter.grad is not None and not self.state[parameter]:
                self.state[parameter] = {
                    "step": torch.full((), _LONG_AGO, device=parameter.device),
                    "exp_avg": torch.zeros_like(parameter),  # the kernel wants it; it holds the last gradient
                    "exp_avg_sq": torch.zeros_like(parameter),
                }
        super().step(closure)


class _Optimistic(torch.optim.Optimizer):
    """Steps along directions d_t: θ ← θ − 2η·d_t + η·d_{t−1}; η is that of step t in both. Here d_t is the gradient.

    ``state[parameter]["move"]`` is −d of the last step that was not skipped.
    """

    found_inf: Tensor
    grad_scale: Tensor | None = None

    def __init__(self, parameters: Sequence[nn.Parameter], values: dict[str, Any]) -> None:
        # "fused" is for loading, which then brings counts of steps to the parameters' device.
        super().__init__(parameters, {**values, "fused": True})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        group = self.param_groups[0]
        parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter] = self._start(parameter)
        moves = [self.state[parameter]["move"] for parameter in parameters]
        lr = group["lr"] * (1 - self.found_inf)  # 0-d; 0 in a step that is skipped
        change = torch._foreach_mul(moves, -lr)
        torch._foreach_mul_(moves, self.found_inf)  # 0, or what it was
        self._descend(moves, parameters)
        torch._foreach_add_(change, torch._foreach_mul(moves, 2 * lr))
        torch._foreach_add_(parameters, change)

    def _start(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        return {"move": torch.zeros_like(parameter)}

    def _descend(self, moves: list[Tensor], parameters: list[nn.Parameter]) -> None:
        """Adds −d_t to ``moves``, unless the step is skipped."""
        sgd(
            moves,
            [parameter.grad for parameter in parameters],
            [None] * len(moves),
            fused=True,
            **self._on_the_device(),
            lr=1.0,
            weight_decay=0.0,
            momentum=0.0,
            dampening=0.0,
            nesterov=False,
        )

    def _on_the_device(self) -> dict[str, Any]:
        return {"found_inf": self.found_inf, "grad_scale": self.grad_scale, "maximize": False}


class _OptimisticAdam(_Optimistic):
    """The same, where d_t is Adam's."""

    def _start(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        averages = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
        return {**super()._start(parameter), **averages, "step": torch.zeros((), device=parameter.device)}

    def _descend(self, moves: list[Tensor], parameters: list[nn.Parameter]) -> None:
        states, group = [self.state[parameter] for parameter in parameters], self.param_groups[0]
        adam(
            moves,
            [parameter.grad for parameter in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            **self._on_the_device(),
            lr=1.0,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            eps=group["eps"],
            weight_decay=0.0,
            amsgrad=False,
        )
