"""The argument checks of the plain-torch definitions; the kernels' own, in csrc, say the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor, float16, float32, float64
from torch import bfloat16 as _bfloat16

from gan_ops._lengths import Metric
from gan_ops._resampling import Factors, Padding, both_axes, filter_size, four_sides, resampled_size
from gan_ops._types import GridMode, GridPadding, accumulate_type

_FLOATS = (float64, float32, float16, _bfloat16)


def check_feature_map(x: Tensor, name: str = "x") -> None:
    """x is [N, C, *] with C ≥ 1, of a floating-point type that the kernels know."""
    if x.dim() < 2 or x.shape[1] < 1:
        raise ValueError(f"{name} must be [N, C, *] with at least one channel, but its shape is {list(x.shape)}")
    check_float(x, name)


def check_samples(x: Tensor, name: str) -> None:
    """x is [N, *] with at least two axes, of a floating-point type that the kernels know."""
    if x.dim() < 2:
        raise ValueError(f"{name} must be [N, *] with at least two axes, but its shape is {list(x.shape)}")
    check_float(x, name)


def check_float(x: Tensor, name: str) -> None:
    """x is of a floating-point type that the kernels know."""
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
    check_float(m, "m")


def check_bias_act(
    x: Tensor, bias: Tensor | None, negative_slope: float, gain: float = 1.0, scale: float = 1.0
) -> None:
    """bias is [C] of a floating-point type; slope and gain keep the sign, and so does the scale of x."""
    if not negative_slope >= 0:
        raise ValueError(f"negative_slope must not be negative, but is {negative_slope:g}")
    float32 = torch.finfo(torch.float32)
    for name, factor in (("gain", gain), ("scale", scale)):
        if not float32.tiny <= factor <= float32.max:
            raise ValueError(f"{name} must be positive and within the range of float32, but is {factor:g}")
    if bias is None:
        return
    check_channels(bias, "bias", x)


def check_channels(tensor: Tensor, name: str, x: Tensor) -> None:
    """tensor is [C], on x's device and of a floating-point type that the kernels know."""
    check_float(tensor, name)
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


def check_target(target: float) -> None:
    """target ≥ 0."""
    if not target >= 0:
        raise ValueError(f"target must not be negative, but is {target:g}")


def check_interpolation(real: Tensor, fake: Tensor, weight: Tensor) -> None:
    """real and fake are alike, weight has one value a sample."""
    check_samples(real, "real")
    _check_matches(fake, "fake", real)
    check_float(weight, "weight")
    n = real.shape[0]
    if weight.dim() < 1 or weight.shape[0] != n or weight.numel() != n:
        raise ValueError(
            f"weight must have one value a sample, [{n}] or [{n}, 1, …], but its shape is {list(weight.shape)}"
        )
    if weight.device != real.device:
        raise ValueError(f"weight must be on {real.device}, but is on {weight.device}")


def check_pairs(x: Tensor, y: Tensor, metric: str) -> None:
    """x is [N, D] and y [M, D] with D ≥ 1, alike otherwise; the metric is one of three."""
    if x.dim() != 2 or x.shape[1] < 1:
        raise ValueError(f"x must be [N, D] with at least one feature, but its shape is {list(x.shape)}")
    check_float(x, "x")
    if y.dim() != 2 or y.shape[1] != x.shape[1]:
        raise ValueError(f"y must be [M, D] with the {x.shape[1]} features of x, but its shape is {list(y.shape)}")
    _check_matches(y[:0], "y", x[:0])
    if metric not in get_args(Metric):
        raise ValueError(f'metric must be "l1", "l2" or "squared", but is "{metric}"')


def check_projected_sets(a: Tensor, b: Tensor, rays: Tensor, channels: int | None) -> None:
    """a and b are [M, K] with M ≥ 1 and alike, rays [R, K], all float32 and constants; channels divide K."""
    if a.dim() != 2 or a.shape[0] < 1:
        raise ValueError(f"a must be [count, size] with at least one row, but its shape is {list(a.shape)}")
    if a.dtype != torch.float32:
        raise TypeError(f"a must be float32, but is {a.dtype}")
    _check_matches(b, "b", a)
    if rays.dim() != 2:
        raise ValueError(f"rays must be [directions, size], but its shape is {list(rays.shape)}")
    _check_matches(rays, "rays", a[:1].expand(len(rays), -1))
    if channels is not None and (channels < 1 or a.shape[1] % channels):
        raise ValueError(f"channels={channels} does not divide the {a.shape[1]} columns of a")
    _check_constant("projected_wasserstein", a, b, rays)


def check_patches(images: Tensor, places: Tensor) -> None:
    """images are [N, C, H, H], uint8 or float32, H even and at least 8; places are [N, P, 2] inside."""
    if (
        images.dim() != 4
        or images.shape[1] < 1
        or images.shape[2] != images.shape[3]
        or images.shape[2] < 8
        or (images.shape[2] % 2)
    ):
        raise ValueError(
            f"images must be [N, C, H, H] with an even H of at least 8, but their shape is {list(images.shape)}"
        )
    if images.dtype not in (torch.uint8, torch.float32):
        raise TypeError(f"images must be uint8 or float32, but are {images.dtype}")
    if places.dim() != 3 or places.shape[0] != len(images) or places.shape[2] != 2:
        raise ValueError(f"places must be [{len(images)}, patches, 2], but their shape is {list(places.shape)}")
    if places.dtype != torch.int64:
        raise TypeError(f"places must be int64, but are {places.dtype}")
    if places.device != images.device:
        raise ValueError(f"places must be on {images.device}, but are on {places.device}")
    last = images.shape[2] - 7
    if places.numel() and not 0 <= places.min() <= places.max() <= last:
        raise ValueError(f"places must be from 0 to {last}")
    _check_constant("laplacian_patches", images)


def _check_constant(op: str, *tensors: Tensor) -> None:
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        raise NotImplementedError(f"{op} has no derivative: detach its arguments")


def check_step(step: float | Tensor) -> None:
    """step is a number ≥ 1, or a 0-d tensor, whose value is not looked at: that would wait for its device."""
    if isinstance(step, Tensor):
        if step.dim():
            raise ValueError(f"step must be a number or a 0-d tensor, but its shape is {list(step.shape)}")
        if step.requires_grad:
            raise ValueError("step must not require a gradient: it is a constant")
    elif not step >= 1:
        raise ValueError(f"step must be at least 1, but is {step:g}")


def check_history(parameters: Sequence[Tensor], averages: Sequence[Tensor], step: float | Tensor) -> None:
    """The lists match place by place; each average is of its parameter's type or of the one that sums are taken in."""
    check_step(step)
    if any(average.requires_grad for average in averages):
        raise ValueError("averages must not require gradients: they are constants")
    if not parameters:
        raise ValueError("parameters must not be empty (an iterator that has been used up?)")
    if len(averages) != len(parameters):
        raise ValueError(f"averages must be as many as the {len(parameters)} parameters, but are {len(averages)}")
    device = parameters[0].device
    for i, (parameter, average) in enumerate(zip(parameters, averages, strict=True)):
        check_float(parameter, f"parameters[{i}]")
        if parameter.device != device:
            raise ValueError(f"parameters[{i}] must be on {device}, but is on {parameter.device}")
        if average.shape != parameter.shape:
            raise ValueError(
                f"averages[{i}] must have the shape {list(parameter.shape)}, but has {list(average.shape)}"
            )
        wide = accumulate_type(parameter)
        if average.dtype not in (parameter.dtype, wide):
            raise TypeError(f"averages[{i}] must be {parameter.dtype} or {wide}, but is {average.dtype}")
        if average.device != device:
            raise ValueError(f"averages[{i}] must be on {device}, but is on {average.device}")
    if isinstance(step, Tensor) and step.device.type != "cpu" and step.device != device:
        raise ValueError(f"step must be on the CPU or on {device}, but is on {step.device}")


def _check_matches(tensor: Tensor, name: str, like: Tensor) -> None:
    if tensor.shape != like.shape:
        raise ValueError(f"{name} must have the shape {list(like.shape)}, but has {list(tensor.shape)}")
    if tensor.dtype != like.dtype:
        raise TypeError(f"{name} must be {like.dtype}, but is {tensor.dtype}")
    if tensor.device != like.device:
        raise ValueError(f"{name} must be on {like.device}, but is on {tensor.device}")


def check_attention_options(
    bias: Tensor | None, attn_mask: Tensor | None, dropout_p: float, enable_gqa: bool
) -> Tensor | None:
    """The one of bias and attn_mask that is given; torch's other options are off."""
    if bias is not None and attn_mask is not None:
        raise ValueError("attn_mask is bias by another name: give one of them, not both")
    if dropout_p != 0:
        raise NotImplementedError(f"dropout_p must be 0, since attention has no dropout, but is {dropout_p:g}")
    if enable_gqa:
        raise NotImplementedError("enable_gqa must be False: repeat the keys and values of grouped queries yourself")
    return attn_mask if bias is None else bias


def check_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> None:
    """query [..., N, E] with E ≥ 1, key [..., M, E] and value [..., M, F] are alike; bias broadcasts to [..., N, M]."""
    if query.dim() < 2 or query.shape[-1] < 1:
        raise ValueError(f"query must be [..., N, E] with at least one feature, but its shape is {list(query.shape)}")
    check_float(query, "query")
    for name, tensor, shape in (("key", key, "[..., M, E]"), ("value", value, "[..., M, F]")):
        if tensor.dim() < 2:
            raise ValueError(f"{name} must be {shape}, but its shape is {list(tensor.shape)}")
        *_, columns, features = tensor.shape
        columns, features = (columns, query.shape[-1]) if name == "key" else (key.shape[-2], features)
        _check_matches(tensor, name, query.new_empty([]).expand(*query.shape[:-2], columns, features))
    if bias is None:
        return
    if bias.dtype != torch.bool:
        check_float(bias, "bias")
    if bias.device != query.device:
        raise ValueError(f"bias must be on {query.device}, but is on {bias.device}")
    scores = [*query.shape[:-1], key.shape[-2]]
    behind = scores[len(scores) - bias.dim() :]
    if bias.dim() > len(scores) or any(size not in (1, of) for size, of in zip(bias.shape, behind, strict=True)):
        raise ValueError(f"bias must broadcast to the scores' shape {scores}, but its shape is {list(bias.shape)}")


def check_fade_in(new: Tensor, old: Tensor, fraction: float | Tensor) -> None:
    """new is [N, C, 2H, 2W], old [N, C, H, W] of its type, the fraction one floating-point value."""
    check_float(new, "new")
    if new.dim() != 4 or new.shape[2] % 2 or new.shape[3] % 2:
        raise ValueError(f"new must be [N, C, 2·H, 2·W], but its shape is {list(new.shape)}")
    n, c, height, width = new.shape
    if old.shape != (n, c, height // 2, width // 2):
        half = [n, c, height // 2, width // 2]
        raise ValueError(f"old must have the shape {half}, but has {list(old.shape)}")
    if old.dtype != new.dtype:
        raise TypeError(f"old must be {new.dtype}, but is {old.dtype}")
    if old.device != new.device:
        raise ValueError(f"old must be on {new.device}, but is on {old.device}")
    if not isinstance(fraction, Tensor):
        return
    check_float(fraction, "fraction")
    if fraction.dim() != 0:
        raise ValueError(f"fraction must be a number or a 0-d tensor, but its shape is {list(fraction.shape)}")


def check_images(x: Tensor) -> None:
    """x is [N, C, H, W] with no axis empty but the batch, of a floating-point type that the kernels know."""
    if x.dim() != 4 or 0 in x.shape[1:]:
        raise ValueError(
            f"x must be [N, C, H, W] with at least one channel and pixel, but its shape is {list(x.shape)}"
        )
    check_float(x, "x")


def check_filter(filter: Tensor | None, name: str, x: Tensor) -> None:
    """A filter is [K] or [K, K'], of a floating-point type that the kernels know, and a constant; or None."""
    if filter is None:
        return
    if filter.dim() not in (1, 2) or filter.numel() == 0:
        raise ValueError(f"{name} must be [K] or [K, K'] with at least one tap, but its shape is {list(filter.shape)}")
    check_float(filter, name)
    if filter.device != x.device:
        raise ValueError(f"{name} must be on {x.device}, but is on {filter.device}")
    if torch.is_grad_enabled() and filter.requires_grad:
        raise NotImplementedError(f"{name} has no gradient: it is a constant; detach it")


def check_factors(factors: Factors, name: str) -> None:
    """An integer of at least 1 for both axes, or [x, y]."""
    if len(both_axes(factors)) != 2 or min(both_axes(factors)) < 1:
        raise ValueError(f"{name} must be an integer of at least 1, or [x, y], but is {factors}")


def check_factor(factor: int, name: str) -> None:
    """An integer of at least 1."""
    if not isinstance(factor, int) or factor < 1:
        raise ValueError(f"{name} must be an integer of at least 1, but is {factor}")


def check_padding(padding: Padding) -> None:
    """An integer for every side, or [x, y], or [x0, x1, y0, y1]."""
    if len(four_sides(padding)) != 4:
        raise ValueError(f"padding must be an integer, [x, y] or [x0, x1, y0, y1], but is {padding}")


def check_gain(gain: float) -> None:
    """gain is finite."""
    if not math.isfinite(gain):
        raise ValueError(f"gain must be finite, but is {gain:g}")


def check_upfirdn2d(
    x: Tensor, filter: Tensor | None, up: Factors, down: Factors, padding: Padding, gain: float
) -> None:
    """All arguments, and that at least one pixel remains."""
    check_images(x)
    check_filter(filter, "filter", x)
    check_factors(up, "up")
    check_factors(down, "down")
    check_padding(padding)
    check_gain(gain)
    if min(resampled_size(x.shape[2:], filter_size(filter), up, down, padding)) < 1:
        raise ValueError(
            f"padding={padding} makes images of {x.shape[2]}x{x.shape[3]}, enlarged by {up}, smaller than the filter"
            f" of {filter_size(filter)}"
        )


def check_resample_conv2d(
    x: Tensor, weight: Tensor, filter: Tensor | None, up: int, down: int, padding: Padding, groups: int
) -> None:
    """All arguments but whether the image is large enough."""
    check_images(x)
    check_filter(filter, "filter", x)
    check_factor(up, "up")
    check_factor(down, "down")
    check_padding(padding)
    if weight.dim() != 4 or 0 in weight.shape:
        raise ValueError(f"weight must be [C_out, C_in / groups, K, K'], but its shape is {list(weight.shape)}")
    if groups < 1 or weight.shape[0] % groups:
        raise ValueError(f"groups must divide the {weight.shape[0]} output channels, but is {groups}")
    if x.shape[1] != weight.shape[1] * groups:
        raise ValueError(f"x has {x.shape[1]} channels, but weight takes {weight.shape[1] * groups}")
    if weight.device != x.device:
        raise ValueError(f"weight must be on {x.device} as x is, but is on {weight.device}")
    if weight.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
        raise TypeError(f"weight must be {x.dtype} as x is, but is {weight.dtype}")


def check_scale(scale: Tensor | None, x: Tensor) -> None:
    """scale is [N, C], on x's device and of a floating-point type that the kernels know; or None."""
    if scale is None:
        return
    check_float(scale, "scale")
    if scale.shape != x.shape[:2]:
        raise ValueError(f"scale must have the shape {list(x.shape[:2])}, but has {list(scale.shape)}")
    if scale.device != x.device:
        raise ValueError(f"scale must be on {x.device}, but is on {scale.device}")


def check_noise(noise: Tensor | None, strength: float | Tensor | None, x: Tensor) -> None:
    """noise is [N, 1, *], [1, 1, *] or [*] beside x [N, C, *] and strength a number or a 0-d tensor; or None."""
    if noise is None:
        if strength is not None:
            raise ValueError("strength is what noise is multiplied by, but noise is None")
        return
    check_float(noise, "noise")
    n, _, *spatial = x.shape
    if list(noise.shape) not in ([n, 1, *spatial], [1, 1, *spatial], spatial):
        raise ValueError(f"noise must have the shape {[n, 1, *spatial]} or {spatial}, but has {list(noise.shape)}")
    if noise.device != x.device:
        raise ValueError(f"noise must be on {x.device}, but is on {noise.device}")
    if isinstance(strength, Tensor):
        check_float(strength, "strength")
        if strength.dim() != 0:
            raise ValueError(f"strength must be a number or a 0-d tensor, but its shape is {list(strength.shape)}")


def check_demodulation(weight: Tensor, style: Tensor, eps: float) -> None:
    """weight is [O, I, K', K] and style [N, I] beside it, of floating-point types that the kernels know; eps ≥ 0."""
    if weight.dim() != 4 or 0 in weight.shape:
        raise ValueError(f"weight must be [O, I, K', K], but its shape is {list(weight.shape)}")
    check_float(weight, "weight")
    if style.dim() != 2 or style.shape[1] != weight.shape[1]:
        raise ValueError(f"style must be [N, {weight.shape[1]}], but its shape is {list(style.shape)}")
    check_float(style, "style")
    if style.device != weight.device:
        raise ValueError(f"style must be on {weight.device} as weight is, but is on {style.device}")
    check_eps(eps)


def check_modulated_conv2d(
    x: Tensor, weight: Tensor, style: Tensor, input_gain: float | Tensor | None, eps: float
) -> None:
    """What demodulation and the convolution do not check themselves: that all is of one batch, and the input's gain."""
    check_demodulation(weight, style, eps)
    check_images(x)
    n, channels = x.shape[:2]
    if style.shape != (n, channels):
        raise ValueError(f"style must be {[n, channels]} as x's samples and channels, but is {list(style.shape)}")
    if isinstance(input_gain, Tensor):
        check_float(input_gain, "input_gain")
        if list(input_gain.shape) not in ([], [channels], [n, channels]):
            raise ValueError(
                f"input_gain must be a number, [], {[channels]} or {[n, channels]}, but is {list(input_gain.shape)}"
            )


def check_filtered_lrelu(
    x: Tensor,
    up_filter: Tensor | None,
    down_filter: Tensor | None,
    bias: Tensor | None,
    up: int,
    down: int,
    padding: Padding,
    gain: float,
    slope: float,
    clamp: float | None,
) -> None:
    """All arguments, and that at least one pixel remains."""
    check_images(x)
    check_filter(up_filter, "up_filter", x)
    check_filter(down_filter, "down_filter", x)
    if bias is not None:
        check_channels(bias, "bias", x)
    check_factor(up, "up")
    check_factor(down, "down")
    check_padding(padding)
    check_gain(gain)
    if not math.isfinite(slope):
        raise ValueError(f"slope must be finite, but is {slope:g}")
    if clamp is not None and not clamp >= 0:
        raise ValueError(f"clamp must not be negative, but is {clamp:g}")
    enlarged = resampled_size(x.shape[2:], filter_size(up_filter), up, 1, padding)
    if min(*enlarged, *resampled_size(enlarged, filter_size(down_filter), 1, down, 0)) < 1:
        raise ValueError(
            f"padding={padding} makes images of {x.shape[2]}x{x.shape[3]}, enlarged by {up}, smaller than the filters"
            f" of {filter_size(up_filter)} and {filter_size(down_filter)}"
        )


def check_grid_mode(mode: str) -> None:
    """Of grid_sample."""
    if mode == "bicubic":
        raise ValueError(
            'mode="bicubic" has no second derivative here; torch.nn.functional.grid_sample has it, with first'
            " derivatives"
        )
    if mode not in get_args(GridMode):
        raise ValueError(f'mode must be "bilinear" or "nearest", but is "{mode}"')


def check_grid_sample(input: Tensor, grid: Tensor, mode: str, padding_mode: str) -> None:
    """input is [N, C, H, W] or [N, C, D, H, W], grid [N, H', W', 2] or [N, D', H', W', 3] of its type."""
    check_grid_mode(mode)
    if padding_mode not in get_args(GridPadding):
        raise ValueError(f'padding_mode must be "zeros", "border" or "reflection", but is "{padding_mode}"')
    check_float(input, "input")
    shape, axes = list(input.shape), input.dim() - 2
    if axes not in (2, 3) or (shape[0] and 0 in shape[2:]):
        raise ValueError(
            f"input must be [N, C, H, W] or [N, C, D, H, W] with at least one pixel, but its shape is {shape}"
        )
    if grid.dim() != axes + 2 or grid.shape[0] != shape[0] or grid.shape[-1] != axes:
        wanted = f"[{shape[0]}, H', W', 2]" if axes == 2 else f"[{shape[0]}, D', H', W', 3]"
        raise ValueError(f"grid must be {wanted} beside an input of {shape}, but its shape is {list(grid.shape)}")
    if grid.dtype != input.dtype:
        raise TypeError(f"grid must be {input.dtype} as input is, but is {grid.dtype}")
    if grid.device != input.device:
        raise ValueError(f"grid must be on {input.device} as input is, but is on {grid.device}")
