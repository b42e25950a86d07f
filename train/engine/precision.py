"""Mixed precision: which type the networks compute in, and fp16's loss scale, kept on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Autocast:
    """Runs the networks in ``dtype`` on ``device``; parameters, losses and penalties stay float32."""

    device: torch.device
    dtype: torch.dtype = torch.float32

    def __call__(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


class LossScale:
    """The factor that keeps fp16's small gradients from vanishing.

    It halves after a step with a non-finite gradient and doubles, up to ``highest``, after ``interval`` steps without
    one. It lives on the device and is never read by the host.
    """

    # A gradient penalty's inner gradient starts from the scale itself, and fp16 ends at 65504.
    HIGHEST = 32768.0

    def __init__(
        self, device: torch.device, initial: float = HIGHEST, interval: int = 2000, highest: float = HIGHEST
    ) -> None:
        self.scale = torch.tensor(initial, device=device)
        self.interval = interval
        self.highest = highest
        self._good_steps = torch.tensor(0.0, device=device)

    def update(self, found_inf: Tensor) -> None:
        """Takes note of a step; ``found_inf`` is a 0-d float tensor, 1 if its gradients were not all finite."""
        self._good_steps.add_(1).mul_(1 - found_inf)
        grow = (self._good_steps >= self.interval).float()
        self._good_steps.mul_(1 - grow)
        self.scale.mul_((1 + grow) * (1 - 0.5 * found_inf)).clamp_(max=self.highest)

    def state_dict(self) -> dict[str, Any]:
        return {"scale": self.scale.clone(), "good_steps": self._good_steps.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scale.copy_(state["scale"])
        self._good_steps.copy_(state["good_steps"])
