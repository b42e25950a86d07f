"""The activations that ops have, by the names that StyleGAN's networks call them, with their usual gains."""

from __future__ import annotations

import math
from typing import Literal, get_args

Act = Literal["linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish"]

ACTS = get_args(Act)
_ROOT_2_GAIN = ("relu", "lrelu", "swish")
"""They halve a normal input's variance, more or less: a gain of √2 brings it back."""
_LRELU_SLOPE = 0.2


def activation_options(
    act: str, alpha: float | None, gain: float | None, clamp: float | None
) -> tuple[float, float, float | None]:
    """alpha, gain and clamp with the activation's own where they are None; errors where they do not fit."""
    if act not in ACTS:
        raise ValueError(f'act must be {", ".join(ACTS[:-1])} or {ACTS[-1]}, but is "{act}"')
    if alpha is None:
        alpha = _LRELU_SLOPE
    elif act != "lrelu":
        raise ValueError(f'alpha is the slope of lrelu, but act is "{act}" and alpha {alpha:g}')
    if gain is None:
        gain = math.sqrt(2) if act in _ROOT_2_GAIN else 1.0
    for name, value in (("alpha", alpha), ("gain", gain)):
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite, but is {value:g}")
    if clamp is not None and not clamp >= 0:
        raise ValueError(f"clamp must not be negative, but is {clamp:g}")
    return float(alpha), float(gain), None if clamp is None else float(clamp)
