"""The argument checks of the plain-torch definitions; the kernels' own, in csrc, say the same."""

from __future__ import annotations

from torch import Tensor, float16, float32, float64
from torch import bfloat16 as _bfloat16

_FLOATS = (float64, float32, float16, _bfloat16)


def check_feature_map(x: Tensor, name: str = "x") -> None:
    """x is [N, C, *] with C ≥ 1, of a floating-point type that the kernels know."""
    if x.dim() < 2 or x.shape[1] < 1:
        raise ValueError(f"{name} must be [N, C, *] with at least one channel, but its shape is {list(x.shape)}")
    if x.dtype not in _FLOATS:
        raise TypeError(f"{name} must be float64, float32, float16 or bfloat16, but is {x.dtype}")


def check_eps(eps: float) -> None:
    """eps ≥ 0."""
    if not eps >= 0:
        raise ValueError(f"eps must not be negative, but is {eps:g}")


def check_discrimination_features(m: Tensor) -> None:
    """m is [N, B, C] with B, C ≥ 1, of a floating-point type that the kernels know."""
    if m.dim() != 3 or m.shape[1] < 1 or m.shape[2] < 1:
        raise ValueError(
            f"m must be [N, B, C] with at least one kernel and one dimension, but its shape is {list(m.shape)}"
        )
    if m.dtype not in _FLOATS:
        raise TypeError(f"m must be float64, float32, float16 or bfloat16, but is {m.dtype}")


def check_bias_act(x: Tensor, bias: Tensor | None, negative_slope: float, gain: float) -> None:
    """bias is [C] of a floating-point type; slope and gain keep the sign."""
    if not negative_slope >= 0:
        raise ValueError(f"negative_slope must not be negative, but is {negative_slope:g}")
    if not gain > 0:
        raise ValueError(f"gain must be positive, but is {gain:g}")
    if bias is None:
        return
    check_channels(bias, "bias", x)


def check_channels(tensor: Tensor, name: str, x: Tensor) -> None:
    """tensor is [C], on x's device and of a floating-point type that the kernels know."""
    if tensor.dtype not in _FLOATS:
        raise TypeError(f"{name} must be float64, float32, float16 or bfloat16, but is {tensor.dtype}")
    if tensor.shape != (x.shape[1],):
        raise ValueError(f"{name} must have the shape [{x.shape[1]}], but has {list(tensor.shape)}")
    if tensor.device != x.device:
        raise ValueError(f"{name} must be on {x.device}, but is on {tensor.device}")


def check_reference_size(reference_size: float) -> None:
    """A number of examples, 0 or more."""
    if not reference_size >= 0:
        raise ValueError(f"reference_size must not be negative, but is {reference_size:g}")


def check_stddev_groups(batch: int, channels: int, group_size: int | None, num_channels: int) -> None:
    """Groups and maps of minibatch stddev divide the batch and the channels."""
    if group_size is not None and group_size < 1:
        raise ValueError(f"group_size must be at least 1 or None, but is {group_size}")
    if num_channels < 1:
        raise ValueError(f"num_channels must be at least 1, but is {num_channels}")
    if channels % num_channels:
        raise ValueError(f"num_channels={num_channels} does not divide the {channels} channels of x")
    if group_size is not None and batch and batch % min(group_size, batch):
        raise ValueError(f"group_size={group_size} does not divide the batch of {batch}")
