"""What moves a role: its networks' optimizer, loss scale and counters of skipped updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from gan_ops import historical_distance, historical_update_
from train.engine.curve import Cosine
from train.engine.optimizers import ADAM, OptimizerChoice
from train.engine.precision import LossScale


@dataclass(frozen=True)
class Role:
    """What one optimizer moves.

    Attributes:
        networks: their names.
        lr: learning rate, times that of the schedule (two time scales, Heusel et al. 2017).
        betas, eps: Adam's, of which β₂ may change along the run; what other optimizers make of them, they say.
        clip: after each update the parameters are brought into [−clip, clip] (Arjovsky et al. 2017); 0 for none. A
            network with a method ``retract_`` is brought back to where its parameters must lie by that instead.
        historical_averaging: weight of ‖θ − mean of all past θ‖² in the role's cost, added in moves of every step
            (Salimans et al. 2016, section 3.3); 0 for none.
        optimizer: by which rule the parameters follow their gradients.
    """

    networks: tuple[str, ...]
    lr: float = 1.0
    betas: tuple[float, float | Cosine] = (0.0, 0.99)
    eps: float = 1e-8
    clip: float = 0.0
    historical_averaging: float = 0.0
    optimizer: OptimizerChoice = ADAM


class Player:
    """A role's networks and their optimizer.

    The optimizer knows all parameters from the start and passes over those without a gradient, so a network may use
    more of them as it grows and nothing is rebuilt.

    Args:
        networks: by name; one that grows has ``active_parameters()``, the parameters in use at present.
        role: the optimizer's values.
        pace: of a role with lazy moves, m/(m + Σ 1/every) where it makes m others a step: multiplies its learning rate,
            and its betas are raised to it (Karras et al. 2020, appendix B).
        loss_scaling: scale losses, as fp16 needs.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        role: Role,
        *,
        pace: float = 1.0,
        loss_scaling: bool = False,
    ) -> None:
        self.networks = dict(networks)
        named = nn.ModuleDict(self.networks).named_parameters()
        self._names = {parameter: name for name, parameter in named if parameter.requires_grad}
        parameters = list(self._names)
        device = parameters[0].device
        self._role, self._pace = role, pace
        self._lr = torch.tensor(0.0, device=device)
        self._lr_value = 0.0
        beta1, beta2 = role.betas
        self._beta2 = torch.tensor(0.0, device=device) if isinstance(beta2, Cosine) else beta2
        self.optimizer = role.optimizer.make(parameters, self._lr, betas=(beta1, self._beta2), eps=role.eps, pace=pace)
        self.anneal(0)
        self.loss_scale = LossScale(device) if loss_scaling else None
        # Those of parameters not yet in use stay where they are, as these do.
        self._averages = {p: p.detach().clone() for p in parameters} if role.historical_averaging else {}
        self._time = torch.tensor(1.0, device=device)  # of the averages; 1 is the start
        # Read by the host only when a line is logged.
        self.skipped = torch.tensor(0.0, device=device)
        self.streak = torch.tensor(0.0, device=device)
        self.active: list[nn.Parameter] = []
        self.refresh()

    def refresh(self) -> None:
        """Looks up the active parameters anew; to be called when a network has grown."""
        self.active = [p for net in self.networks.values() for p in active_parameters(net) if p in self._names]

    def name_of(self, index: int) -> str:
        """Of an active parameter, for messages."""
        return self._names[self.active[index]]

    def begin_with(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Other values for some tensors of the networks, by their names, before training: the past of the averages
        begins there."""
        for name, some in tensors.items():
            self.networks[name].load_state_dict({**self.networks[name].state_dict(), **some})
        for parameter, average in self._averages.items():
            average.copy_(parameter.detach())

    def set_lr(self, lr: float) -> None:
        """The schedule's learning rate, of which the role may have a multiple."""
        lr = lr * self._role.lr * self._pace
        if lr != self._lr_value:
            self._lr.fill_(lr)
            self._lr_value = lr

    def anneal(self, images: int) -> None:
        """Brings β₂ to where it is after so many images, if it changes."""
        if isinstance(self._beta2, Tensor):
            self._beta2.fill_(self._role.betas[1].at(images) ** self._pace)

    def reset_optimizer(self) -> None:
        self.optimizer.state.clear()

    @property
    def scale(self) -> Tensor | None:
        """What losses are multiplied by, a 0-d tensor, or None where they are not scaled."""
        return None if self.loss_scale is None else self.loss_scale.scale

    def scaled(self, loss: Tensor) -> Tensor:
        return loss if self.scale is None else loss * self.scale

    def update(self, gradients: Sequence[Tensor], *, averaging: bool = True) -> tuple[Tensor, Tensor]:
        """Applies gradients, unless they are not all finite: then the step is skipped and counted (to the historical
        average the parameters contribute all the same).

        A norm that float32 cannot hold counts as not finite. Nothing is read back to the host.

        Args:
            gradients: one for each active parameter, times the loss scale.
            averaging: whether historical averaging, if there is any, acts in this update.

        Returns:
            The gradients' norm and 1 if the step was skipped, else 0; 0-d float tensors.
        """
        gradients = laid_out_like(self.active, gradients)
        if self._averages and averaging:
            gradients = self._with_historical_averaging(gradients)
        norm = get_total_norm(gradients)
        found_inf = (norm * 0).ne(0).float()  # 0·inf and 0·nan are nan; isfinite takes twice the launches
        for parameter, gradient in zip(self.active, gradients, strict=True):
            parameter.grad = gradient
        # Fused kernels read both on the device, as they do for torch's own GradScaler.
        self.optimizer.found_inf = found_inf
        self.optimizer.grad_scale = self.scale
        self.optimizer.step()
        self.optimizer.found_inf = self.optimizer.grad_scale = None
        self._retract()
        if self.loss_scale is not None:
            norm = norm / self.loss_scale.scale
            self.loss_scale.update(found_inf)
        self.skipped.add_(found_inf)
        self.streak.add_(1).mul_(found_inf)
        for parameter in self.active:
            parameter.grad = None  # a gradient kept would keep the memory of a whole CUDA graph
        return norm, found_inf

    @torch.no_grad()
    def _retract(self) -> None:
        """Brings the parameters back into their bounds."""
        for network in self.networks.values():
            if hasattr(network, "retract_"):
                network.retract_()
            elif self._role.clip:
                bounded = active_parameters(network)
                torch._foreach_clamp_min_(bounded, -self._role.clip)
                torch._foreach_clamp_max_(bounded, self._role.clip)

    def _with_historical_averaging(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """The gradients of the loss with the distance from the average in it; moves the average on."""
        averages = [self._averages[parameter] for parameter in self.active]
        distance = self._role.historical_averaging * historical_distance(self.active, averages, self._time)
        more = torch.autograd.grad(self.scaled(distance), self.active)
        historical_update_(self.active, averages, self._time)
        self._time.add_(1)
        return list(torch._foreach_add(list(gradients), list(more)))

    def _averaged(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, p) for p, name in self._names.items() if p in self._averages]

    def state_dict(self) -> dict[str, Any]:
        """All but the networks."""
        return {
            # The learning rate is the schedule's to say, and nothing else in the groups ever changes.
            "optimizer": self.optimizer.state_dict()["state"],
            "rule": self._rule,
            "loss_scale": None if self.loss_scale is None else self.loss_scale.state_dict(),
            "skipped": self.skipped.clone(),
            "streak": self.streak.clone(),
            "averages": {name: self._averages[p].clone() for name, p in self._averaged()},
            "time": self._time.clone(),
        }

    @property
    def _rule(self) -> str:
        return type(self._role.optimizer).__name__

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what :meth:`state_dict` gave. Another optimizer than the one that it was of starts anew."""
        groups = self.optimizer.state_dict()["param_groups"]
        # Before there was a choice, all were Adam.
        moments = state["optimizer"] if state.get("rule", type(ADAM).__name__) == self._rule else {}
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        # Loading replaces the groups' tensors by copies.
        self._lr = self.optimizer.param_groups[0]["lr"]
        if isinstance(self._beta2, Tensor):
            self._beta2 = self.optimizer.param_groups[0]["betas"][1]
        if self.loss_scale is not None and state["loss_scale"] is not None:
            self.loss_scale.load_state_dict(state["loss_scale"])
        self.skipped.copy_(state["skipped"])
        self.streak.copy_(state["streak"])
        if self._averages:
            # Where nothing was averaged until now, the past begins here.
            for name, parameter in self._averaged():
                self._averages[parameter].copy_(state["averages"].get(name, parameter.detach()))
            self._time.copy_(state["time"])
        self.refresh()


def active_parameters(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that a network uses at present: all, unless it says that it grows."""
    return network.active_parameters() if hasattr(network, "active_parameters") else list(network.parameters())


def laid_out_like(parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
    """The gradients in their parameters' memory layouts: fused optimizers walk both as they lie."""
    return [_laid_out_like(p, gradient) for p, gradient in zip(parameters, gradients, strict=True)]


def _laid_out_like(parameter: Tensor, gradient: Tensor) -> Tensor:
    """The gradient in the parameter's memory layout: fused optimizers walk both as they lie."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
