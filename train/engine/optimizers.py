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

Beta2 = float | Tensor
_LONG_AGO = 2.0**40
"""A count of steps so large that float32 does not count on, and that any α to its power is 0."""


class OptimizerChoice(Protocol):
    """An option that stands for an optimizer."""

    def make(
        self, parameters: Sequence[nn.Parameter], lr: Tensor, *, betas: tuple[float, Beta2], eps: float, pace: float
    ) -> torch.optim.Optimizer:
        """The optimizer; it reads its attributes ``found_inf`` and ``grad_scale``, as torch's fused ones do.

        Args:
            lr: η, 0-d, on the parameters' device; changed from outside.
            betas, eps: of the role; β₂ may be a 0-d tensor as lr is, which has been raised to ``pace`` already.
            pace: of a role with lazy moves: what averages over steps keeps of each is raised to it.
        """


@dataclass(frozen=True)
class Adam:
    """Kingma and Ba 2015, algorithm 1."""

    def make(
        self, parameters: Sequence[nn.Parameter], lr: Tensor, *, betas: tuple[float, Beta2], eps: float, pace: float
    ) -> torch.optim.Optimizer:
        if isinstance(betas[1], Tensor):
            return _AdamOnTensors(parameters, {"lr": lr, "betas": (betas[0] ** pace, betas[1]), "eps": eps})
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
        _subtract_gradients(moves, parameters, self.found_inf, self.grad_scale)

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


class _AdamOnTensors(torch.optim.Optimizer):
    """Adam with a β₂ on the device, which torch's fused kernels take from the host alone. Of β₁ = 0 there is no mean
    gradient to keep."""

    found_inf: Tensor
    grad_scale: Tensor | None = None

    def __init__(self, parameters: Sequence[nn.Parameter], values: dict[str, Any]) -> None:
        super().__init__(parameters, {**values, "fused": True})  # as in _Optimistic

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        group = self.param_groups[0]
        (beta1, beta2), lr, eps = group["betas"], group["lr"], group["eps"]
        parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
        for parameter in parameters:
            if not self.state[parameter]:
                names = ("exp_avg", "exp_avg_sq") if beta1 else ("exp_avg_sq",)
                self.state[parameter] = {name: torch.zeros_like(parameter) for name in names}
                self.state[parameter]["step"] = torch.zeros((), device=parameter.device)
        states = [self.state[parameter] for parameter in parameters]
        steps, squares = ([state[name] for state in states] for name in ("step", "exp_avg_sq"))
        skipped = self.found_inf.bool()
        torch._foreach_add_(steps, [1 - self.found_inf] * len(steps))  # of a single tensor it would take the value

        moves = [torch.zeros_like(parameter) for parameter in parameters]
        _subtract_gradients(moves, parameters, self.found_inf, self.grad_scale)  # → −g, or 0
        new = torch._foreach_mul(moves, moves)
        torch._foreach_mul_(new, 1 - beta2)
        torch._foreach_mul_(squares, beta2.masked_fill(skipped, 1.0))
        torch._foreach_add_(squares, new)
        del new
        if beta1:
            means = [state["exp_avg"] for state in states]  # of −g
            first = torch.full_like(beta2, beta1)
            torch._foreach_mul_(means, first.masked_fill(skipped, 1.0))
            torch._foreach_add_(means, moves, alpha=1 - beta1)
            moves = torch._foreach_div(means, _corrections(steps, first))

        roots = torch._foreach_div(squares, _corrections(steps, beta2))
        torch._foreach_sqrt_(roots)
        torch._foreach_add_(roots, eps)
        moves = torch._foreach_div(moves, roots)
        torch._foreach_mul_(moves, lr * (1 - self.found_inf))
        torch._foreach_add_(parameters, moves)


def _corrections(steps: Sequence[Tensor], beta: Tensor) -> tuple[Tensor, ...]:
    """1 − β^t for each t, taken to be 1 where no step was made yet."""
    powers = torch._foreach_mul(torch._foreach_clamp_min(steps, 1.0), beta.log())
    torch._foreach_expm1_(powers)
    torch._foreach_neg_(powers)
    return powers


def _subtract_gradients(
    moves: list[Tensor], parameters: Sequence[nn.Parameter], found_inf: Tensor, grad_scale: Tensor | None
) -> None:
    """Subtracts the parameters' gradients from ``moves``, unless the step is skipped."""
    sgd(
        moves,
        [parameter.grad for parameter in parameters],
        [None] * len(moves),
        fused=True,
        found_inf=found_inf,
        grad_scale=grad_scale,
        maximize=False,
        lr=1.0,
        weight_decay=0.0,
        momentum=0.0,
        dampening=0.0,
        nesterov=False,
    )
