"""Growth as state of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class Growing(nn.Module):
    """Growth as state of a network: its resolution and how far the newest one has been faded in."""

    def __init__(self, max_resolution: int):
        super().__init__()
        _check_power_of_two(max_resolution)
        self.max_resolution = max_resolution
        self.resolution = 4
        self.fade: float | Tensor = 0.0

    def grow(self, resolution: int, fade: float | Tensor = 0.0) -> None:
        """Makes ``resolution`` the present one, with the weight ``fade`` on the path through the resolution below.

        ``fade`` falls from 1 (that path alone counts) to 0 (only the new one does). The number 0 runs the new path
        alone. A 0-d tensor is kept, not copied, so that changing it in place changes the fade; both paths run whatever
        its value, which is never read on the host. At 4 px there is no path below: a tensor is ignored there.
        """
        _check_power_of_two(resolution)
        if resolution > self.max_resolution:
            raise ValueError(f"resolution={resolution} is above {self.max_resolution}, the highest this network has")
        if isinstance(fade, Tensor):
            if fade.dim() != 0 or not fade.is_floating_point() or fade.requires_grad:
                raise ValueError(
                    "fade must be a 0-d floating-point tensor that requires no gradient, "
                    f"but is {fade.dtype} {list(fade.shape)}, requires_grad={fade.requires_grad}"
                )
        elif not 0 <= fade <= 1:
            raise ValueError(f"fade={fade} is not between 0 and 1")
        elif fade and resolution == 4:
            raise ValueError(f"fade={fade} at 4 px, which has no lower resolution to fade from")
        self.resolution = resolution
        self.fade = fade if isinstance(fade, Tensor) else float(fade)

    def _fading(self) -> bool:
        return self.resolution > 4 and is_fading(self.fade)

    def _resolutions(self) -> list[int]:
        """Resolutions above 4 px that have a block now."""
        return [2**r for r in range(3, self.resolution.bit_length())]

    def _active_modules(self) -> list[nn.Module]:
        raise NotImplementedError

    def active_parameters(self) -> list[nn.Parameter]:
        """The parameters that the present resolution and fade use: after ``backward`` these have a gradient."""
        return [p for module in self._active_modules() for p in module.parameters()]

    def get_extra_state(self) -> dict[str, int | float]:
        return {"resolution": self.resolution, "fade": float(self.fade) if self._fading() else 0.0}

    def set_extra_state(self, state: Mapping[str, int | float]) -> None:
        self.grow(state["resolution"], state["fade"])

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False):
        """As in torch, but a state of another shape is refused in one line, before anything is changed."""
        if strict and (problem := _misfit(self.state_dict(), state_dict)):
            raise ValueError(f"the checkpoint does not fit this {type(self).__name__}: {problem}")
        return super().load_state_dict(state_dict, strict=strict, assign=assign)


def is_fading(fade: float | Tensor) -> bool:
    """Whether the old path has to run. Of a tensor that is not asked: it would wait for the device."""
    return isinstance(fade, Tensor) or fade != 0


def _check_power_of_two(resolution: int) -> None:
    if not isinstance(resolution, int) or resolution < 4 or resolution & (resolution - 1):
        raise ValueError(f"resolution={resolution} is not a power of two from 4 on")


def _misfit(own: Mapping[str, Any], given: Mapping[str, Any]) -> str | None:
    """The first reason why the state ``given`` cannot be loaded over ``own``, or None."""
    for name, value in own.items():
        if name not in given:
            return f"{name} is missing"
        if isinstance(value, Tensor) and value.shape != given[name].shape:
            return f"{name} is {list(given[name].shape)} there but {list(value.shape)} here"
    return next((f"{name} is not known here" for name in given if name not in own), None)
