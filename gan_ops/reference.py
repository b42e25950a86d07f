"""The definition of every op in plain torch.

Each function here has the name and the signature of the kernel-backed one in :mod:`gan_ops` and says what that one
computes. They are differentiable to any order, run on any device, compile, and work under ``torch.func``;
the kernels are tested against them in float64.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_ops._activations import Act, activation_options
from gan_ops._checks import (
    check_attention,
    check_attention_options,
    check_bias_act,
    check_channels,
    check_demodulation,
    check_discrimination_features,
    check_eps,
    check_fade_in,
    check_feature_map,
    check_filtered_lrelu,
    check_grid_sample,
    check_history,
    check_interpolation,
    check_modulated_conv2d,
    check_noise,
    check_pairs,
    check_patches,
    check_projected_sets,
    check_reference_size,
    check_resample_conv2d,
    check_samples,
    check_scale,
    check_stddev_groups,
    check_target,
    check_upfirdn2d,
)
from gan_ops._lengths import Metric, lengths
from gan_ops._resampling import Factors, Padding, added, both_axes, down_padding, four_sides, up_padding
from gan_ops._types import GridMode, GridPadding, accumulable, accumulate_type


def pixel_norm(x: Tensor, eps: float = 1e-8) -> Tensor:
    """y = x / sqrt(mean_c(x²) + eps) for x [N, C, *]; see :func:`gan_ops.pixel_norm`."""
    check_feature_map(x)
    check_eps(eps)
    x_wide = accumulable(x)
    mean_square = x_wide.square().mean(dim=1, keepdim=True)  # [N, C, *] → [N, 1, *]
    return (x_wide * torch.rsqrt(mean_square + eps)).to(x.dtype)


def minibatch_stddev(x: Tensor, group_size: int | None = 4, num_channels: int = 1, eps: float = 1e-8) -> Tensor:
    """x [N, C, *] with maps of its groups' mean deviation appended; see :func:`gan_ops.minibatch_stddev`."""
    check_feature_map(x)
    check_eps(eps)
    n, c, *spatial = x.shape
    check_stddev_groups(n, c, group_size, num_channels)
    if n == 0:
        return torch.cat([x, x.new_zeros(0, num_channels, *spatial)], dim=1)
    group = n if group_size is None else min(group_size, n)
    # Sample i belongs to group i mod (N/G): the group's members lie along the first axis.
    groups = accumulable(x).reshape(group, n // group, num_channels, c // num_channels, *spatial)  # [G, M, F, C/F, *]
    variance = groups.var(dim=0, unbiased=False)  # → [M, F, C/F, *]
    stddev = (variance + eps).sqrt().flatten(2).mean(dim=2)  # → [M, F]
    maps = stddev.to(x.dtype).repeat(group, 1)  # → [N, F]
    maps = maps.reshape(n, num_channels, *[1] * len(spatial)).expand(n, num_channels, *spatial)  # → [N, F, *]
    return torch.cat([x, maps], dim=1)


def minibatch_discrimination(m: Tensor, include_self: bool = True) -> Tensor:
    """o_ib = Σ_j exp(−‖m_ib − m_jb‖₁) for m [N, B, C]; see :func:`gan_ops.minibatch_discrimination`."""
    check_discrimination_features(m)
    n, b, c = m.shape
    m_wide = accumulable(m)
    differences = m_wide[:, None] - m_wide[None]  # [N, N, B, C]
    if not include_self:
        # After its first element the flattened [N, N] is N − 1 rows of N + 1, with the diagonal as the last column.
        others = differences.flatten(0, 1)[1:].view(max(n - 1, 0), n + 1, b, c)[:, :-1]
        differences = others.reshape(n, max(n - 1, 0), b, c)  # [N, N − 1, B, C]
    return torch.exp(-differences.abs().sum(dim=3)).sum(dim=1).to(m.dtype)  # → [N, N, B] → [N, B]


def virtual_batch_norm(
    x: Tensor,
    reference_mean: Tensor,
    reference_var: Tensor,
    reference_size: float,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """x [N, C, *] normalised by its own and a reference's statistics; see :func:`gan_ops.virtual_batch_norm`."""
    check_reference_size(reference_size)
    check_feature_map(x)
    check_eps(eps)
    channels = {"reference_mean": reference_mean, "reference_var": reference_var, "weight": weight, "bias": bias}
    for name, tensor in channels.items():
        if tensor is not None:
            check_channels(tensor, name, x)
    n, c, *spatial = x.shape
    own = 1 / (reference_size + 1)
    flat = accumulable(x).reshape(n, c, math.prod(spatial))  # [N, C, P]
    reference_mean, reference_var = (t.to(flat.dtype)[:, None] for t in (reference_mean, reference_var))  # [C, 1]
    mean = flat.mean(dim=2, keepdim=True)  # → [N, C, 1]
    var = (flat - mean).square().mean(dim=2, keepdim=True)  # → [N, C, 1]
    delta = mean - reference_mean
    mean = reference_mean + own * delta
    var = own * var + (1 - own) * (reference_var + own * delta.square())
    scale = torch.rsqrt(var + eps)
    if weight is not None:
        scale = scale * weight.to(flat.dtype)[:, None]
    y = (flat - mean) * scale
    if bias is not None:
        y = y + bias.to(flat.dtype)[:, None]
    return y.reshape(x.shape).to(x.dtype)


def bias_act(
    x: Tensor, bias: Tensor | None = None, negative_slope: float = 0.2, gain: float = 1.0, scale: float = 1.0
) -> Tensor:
    """gain · leaky_relu(scale·x + bias) for x [N, C, *], bias [C]; see :func:`gan_ops.bias_act`."""
    check_feature_map(x)
    check_bias_act(x, bias, negative_slope, gain, scale)
    return (gain * F.leaky_relu(_biased(x, bias, scale), negative_slope)).to(x.dtype)


def bias_act_pixel_norm(
    x: Tensor, bias: Tensor | None = None, negative_slope: float = 0.2, eps: float = 1e-8, scale: float = 1.0
) -> Tensor:
    """pixel_norm(leaky_relu(scale·x + bias)) for x [N, C, *], bias [C]; see :func:`gan_ops.bias_act_pixel_norm`."""
    check_feature_map(x)
    check_bias_act(x, bias, negative_slope, scale=scale)
    return pixel_norm(F.leaky_relu(_biased(x, bias, scale), negative_slope), eps).to(x.dtype)


def fade_in(new: Tensor, old: Tensor, fraction: float | Tensor) -> Tensor:
    """lerp(new, up(old), fraction) for new [N, C, 2H, 2W], old [N, C, H, W]; see :func:`gan_ops.fade_in`."""
    check_fade_in(new, old, fraction)
    wide = accumulable(new)
    up = F.interpolate(accumulable(old), scale_factor=2.0, mode="nearest")  # [N, C, H, W] → [N, C, 2H, 2W]
    return torch.lerp(wide, up, fraction.to(wide) if isinstance(fraction, Tensor) else fraction).to(new.dtype)


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, padding: int = 0, groups: int = 1) -> Tensor:
    """Stride-1 convolution of x [N, C, H, W]; see :func:`gan_ops.conv2d`."""
    return F.conv2d(x, weight, bias, padding=padding, groups=groups)


def upfirdn2d(
    x: Tensor,
    filter: Tensor | None,
    up: Factors = 1,
    down: Factors = 1,
    padding: Padding = 0,
    flip: bool = False,
    gain: float = 1.0,
) -> Tensor:
    """Zeros between the pixels of x [N, C, H, W], padding, FIR filter, decimation; see :func:`gan_ops.upfirdn2d`."""
    check_upfirdn2d(x, filter, up, down, padding, gain)
    (up_x, up_y), (down_x, down_y) = both_axes(up), both_axes(down)
    n, c, height, width = x.shape
    y = accumulable(x).reshape(n * c, 1, height, 1, width, 1)
    y = F.pad(y, [0, up_x - 1, 0, 0, 0, up_y - 1]).reshape(n * c, 1, height * up_y, width * up_x)
    sides = four_sides(padding)
    y = F.pad(y, [max(side, 0) for side in sides])
    y = gain * F.pad(y, [min(side, 0) for side in sides])  # [N·C, 1, H', W']; negative padding crops
    if filter is not None:
        filter = filter.to(y.dtype)
        filter = filter if flip else filter.flip(list(range(filter.dim())))  # conv2d correlates
        passes = [filter] if filter.dim() == 2 else [filter[None, :], filter[:, None]]
        with torch.autocast(y.device.type, enabled=False):
            for each in passes:
                y = F.conv2d(y, each[None, None])  # → [N·C, 1, H' − K + 1, W' − K' + 1]
    y = y[:, :, ::down_y, ::down_x]
    return y.reshape(n, c, *y.shape[2:]).to(x.dtype)


def filtered_lrelu(
    x: Tensor,
    up_filter: Tensor | None = None,
    down_filter: Tensor | None = None,
    bias: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: Padding = 0,
    gain: float = 2**0.5,
    slope: float = 0.2,
    clamp: float | None = None,
    flip: bool = False,
) -> Tensor:
    """down(clamp(gain · leaky_relu(up(x + bias)))) for x [N, C, H, W]; see :func:`gan_ops.filtered_lrelu`."""
    check_filtered_lrelu(x, up_filter, down_filter, bias, up, down, padding, gain, slope, clamp)
    wide = accumulable(x)
    if bias is not None:
        wide = wide + bias.to(wide.dtype)[:, None, None]
    t = upfirdn2d(wide, up_filter, up=up, padding=padding, flip=flip, gain=up**2)
    s = gain * F.leaky_relu(t, slope)
    if clamp is not None:
        # clamp, but with the derivative 1 at the bounds, where versions of torch differ.
        s = torch.where(s.abs() <= clamp, s, s.detach().clamp(-clamp, clamp))
    return upfirdn2d(s, down_filter, down=down, flip=flip).to(x.dtype)


def resample_conv2d(
    x: Tensor,
    weight: Tensor,
    filter: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: Padding = 0,
    groups: int = 1,
    flip_weight: bool = True,
    flip_filter: bool = False,
) -> Tensor:
    """Upsampling, convolution, downsampling; see :func:`gan_ops.resample_conv2d`."""
    check_resample_conv2d(x, weight, filter, up, down, padding, groups)
    if up > 1:
        padding = added(padding, up_padding(filter, up))
    if down > 1:
        padding = added(padding, down_padding(filter, down))
    y = upfirdn2d(x, filter if up > 1 else None, up, padding=padding, flip=flip_filter, gain=up**2)
    y = F.conv2d(y, weight if flip_weight else weight.flip(2, 3), groups=groups)
    return upfirdn2d(y, filter, down=down, flip=flip_filter) if down > 1 else y


def scale_bias_act(
    x: Tensor,
    scale: Tensor | None = None,
    bias: Tensor | None = None,
    noise: Tensor | None = None,
    strength: float | Tensor | None = None,
    *,
    act: Act = "lrelu",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """clamp(act(x·scale + noise·strength + bias)·gain) for x [N, C, *]; see :func:`gan_ops.scale_bias_act`."""
    check_feature_map(x)
    alpha, gain, clamp = activation_options(act, alpha, gain, clamp)
    check_scale(scale, x)
    if bias is not None:
        check_channels(bias, "bias", x)
    check_noise(noise, strength, x)
    t = accumulable(x)
    if scale is not None:
        t = t * scale.to(t.dtype).reshape(*x.shape[:2], *[1] * (x.dim() - 2))  # [N, C] → [N, C, 1, …]
    if noise is not None:
        noise = noise.to(t.dtype)
        t = t + (noise if strength is None else noise * strength)
    if bias is not None:
        t = t + bias.to(t.dtype).view(-1, *[1] * (x.dim() - 2))  # [C] → [C, 1, …]
    y = gain * _ACTIVATIONS[act](t, alpha)
    return (y if clamp is None else y.clamp(-clamp, clamp)).to(x.dtype)


_ACTIVATIONS = {
    "linear": lambda t, _: t,
    "relu": lambda t, _: F.relu(t),
    "lrelu": F.leaky_relu,
    "tanh": lambda t, _: torch.tanh(t),
    "sigmoid": lambda t, _: torch.sigmoid(t),
    "elu": lambda t, _: F.elu(t),
    "selu": lambda t, _: F.selu(t),
    "softplus": lambda t, _: F.softplus(t),
    "swish": lambda t, _: F.silu(t),
}


def demodulation(weight: Tensor, style: Tensor, eps: float = 1e-8) -> Tensor:
    """(Σ_ik (weight[o, i, k]·style[n, i])² + eps)^(−½) → [N, O]; see :func:`gan_ops.demodulation`."""
    check_demodulation(weight, style, eps)
    w = accumulable(weight) * accumulable(style)[:, None, :, None, None]  # [N, O, I, K', K]
    return torch.rsqrt(w.square().sum((2, 3, 4)) + eps)


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    style: Tensor,
    *,
    demodulate: bool = True,
    noise: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: Padding = 0,
    filter: Tensor | None = None,
    flip_weight: bool = True,
    input_gain: float | Tensor | None = None,
    eps: float = 1e-8,
    fused: bool | None = None,
) -> Tensor:
    """Each sample convolved by weights of its own, weight·style·demodulation; see :func:`gan_ops.modulated_conv2d`."""
    check_modulated_conv2d(x, weight, style, input_gain, eps)
    s = accumulable(style) if input_gain is None else accumulable(style) * input_gain
    of_each = accumulable(weight) * s[:, None, :, None, None]  # [N, O, I, K', K]
    if demodulate:
        of_each = of_each * demodulation(weight, style, eps)[:, :, None, None, None]

    def convolved(images: Tensor, w: Tensor) -> Tensor:
        return resample_conv2d(images, w.to(x.dtype), filter, up, down, padding, flip_weight=flip_weight)

    maps = [convolved(image[None], w) for image, w in zip(x, of_each, strict=True)]  # [1, O, H', W'] each
    y = torch.cat(maps) if maps else convolved(x, weight)
    check_noise(noise, None, y)
    return y if noise is None else (accumulable(y) + noise.to(accumulate_type(y))).to(y.dtype)


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: GridMode = "bilinear",
    padding_mode: GridPadding = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """input [N, C, *] between its pixels, at the points of grid [N, *, axes]; see :func:`gan_ops.grid_sample`."""
    check_grid_sample(input, grid, mode, padding_mode)
    n, c, *sizes = input.shape
    points = accumulable(grid).flatten(1, -2)  # [N, P, axes]
    images = accumulable(input).flatten(2)  # [N, C, H·W]
    pixels = images.shape[2]
    images = torch.cat([images, images.new_zeros(n, c, 1)], dim=2)  # behind them what is not in the image
    # Along each axis (a grid has the last one first): pixels, weights, and whether the pixels are in the image.
    places = [
        _grid_places(points[..., a], sizes[-1 - a], mode, padding_mode, bool(align_corners)) for a in range(len(sizes))
    ]
    y = images.new_zeros(n, c, points.shape[1])  # [N, C, P]
    for corner in itertools.product(*places):
        pixel, weight, inside = 0, torch.ones_like(points[..., 0]), torch.ones_like(points[..., 0], dtype=torch.bool)
        for (at, share, is_in), size in zip(corner[::-1], sizes, strict=True):
            pixel, weight, inside = pixel * size + at, weight * share, inside & is_in
        values = images.gather(2, torch.where(inside, pixel, pixels)[:, None].expand(n, c, -1))
        y = y + (values if mode == "nearest" else values * torch.where(inside, weight, 0)[:, None])
    if mode == "nearest":  # the grid has a gradient, of zeros, as in torch
        y = y + torch.where(torch.ones_like(inside), 0, points[..., 0])[:, None]
    return y.reshape(n, c, *grid.shape[1:-1]).to(input.dtype)


def _grid_places(
    coordinate: Tensor, size: int, mode: GridMode, padding_mode: GridPadding, align_corners: bool
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Pixels along an axis that a point lies between, their weights and whether they are in the image."""
    u = (coordinate + 1) * (size - 1) / 2 if align_corners else ((coordinate + 1) * size - 1) / 2
    if padding_mode == "reflection":
        low, span = (0.0, size - 1) if align_corners else (-0.5, size)
        # A constant sign and shift at each point: to the last mirror before it, and from there back or forth.
        with torch.no_grad():
            distance = (u - low).abs()
            there = distance - (distance / (2 * span)).trunc() * 2 * span
            returns = there > 2 * span - there
            sign = torch.where(returns != (u < low), -1.0, 1.0).to(u)
            shift = torch.where(returns, 2 * span - there, there) + low - sign * u
        u = sign * u + shift
    if padding_mode != "zeros":
        clipped = torch.where(u > 0, torch.where(u < size - 1, u.detach(), size - 1), 0)
        u = torch.where((u > 0) & (u < size - 1), u, clipped)
    # Where no pixel of the image has a weight, the point is of no account, whatever its coordinate.
    near = (u >= -1) & (u < size)
    u = torch.where(near, u, torch.zeros_like(u))
    if mode == "nearest":
        pixel = u.detach().round().long()
        return [(pixel, torch.ones_like(u), near & (pixel >= 0) & (pixel < size))]
    pixel = u.detach().floor().long()
    fraction = u - pixel
    return [
        (pixel + side, share, near & (pixel + side >= 0) & (pixel + side < size))
        for side, share in ((0, 1 - fraction), (1, fraction))
    ]


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """The points of an affine warp; see :func:`gan_ops.affine_grid`."""
    return F.affine_grid(theta, list(size), bool(align_corners))


def gradient_penalty(gradient: Tensor, target: float = 1.0, one_sided: bool = False) -> Tensor:
    """(‖g‖ − target)²/target² of each sample of g [N, *] → [N]; see :func:`gan_ops.gradient_penalty`."""
    check_samples(gradient, "gradient")
    check_target(target)
    out_type = accumulate_type(gradient)
    # Squares of float32 numbers neither overflow nor vanish in float64, and autocast leaves float64 alone.
    square = gradient.double().square().sum(dim=tuple(range(1, gradient.dim())))  # [N, *] → [N]
    if target == 0:
        return square.to(out_type)
    zero = square == 0
    # At 0 the root is taken of 1 and then struck out, so no derivative of any order meets 1/0.
    norm = (square + zero).sqrt().masked_fill(zero, 0.0)
    excess = norm / target - 1
    return (excess.relu() if one_sided else excess).square().to(out_type)


def interpolate(real: Tensor, fake: Tensor, weight: Tensor) -> Tensor:
    """real + weight·(fake − real) for images [N, *], weight [N]; see :func:`gan_ops.interpolate`."""
    check_interpolation(real, fake, weight)
    start, end = accumulable(real), accumulable(fake)
    column = weight.to(start.dtype).reshape(-1, *[1] * (real.dim() - 1))  # [N] → [N, 1, …]
    return torch.lerp(start, end, column).to(real.dtype)


def pair_distances(x: Tensor, y: Tensor, metric: Metric = "l2") -> Tensor:
    """Distances of every x_i from every y_j for x [N, D], y [M, D] → [N, M]; see :func:`gan_ops.pair_distances`."""
    check_pairs(x, y, metric)
    return lengths(accumulable(x)[:, None] - accumulable(y)[None], metric)  # [N, M, D] → [N, M]


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None = None,
    *,
    scale: float | None = None,
    is_causal: bool = False,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(scale·query·keyᵀ + bias)·value; see :func:`gan_ops.attention`."""
    bias = check_attention_options(bias, attn_mask, dropout_p, enable_gqa)
    check_attention(query, key, value, bias)
    q, k, v = accumulable(query), accumulable(key), accumulable(value)
    scores = (q @ k.mT) * (query.shape[-1] ** -0.5 if scale is None else scale)  # [..., N, M]
    if bias is not None:
        scores = scores + additive_mask(bias, q).to(q.dtype)
    if is_causal:
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~seen, -math.inf)
    # A row without any key: softmax would make nan of it.
    alone = (scores == -math.inf).all(dim=-1, keepdim=True)  # [..., N, M] → [..., N, 1]
    weights = scores.masked_fill(alone, 0.0).softmax(dim=-1).masked_fill(alone, 0.0)
    return (weights @ v).to(query.dtype)


def additive_mask(bias: Tensor | None, like: Tensor) -> Tensor | None:
    """A boolean bias as numbers of ``like``'s type, −inf where it is False; any other as it is."""
    if bias is None or bias.dtype != torch.bool:
        return bias
    return torch.zeros_like(bias, dtype=like.dtype).masked_fill(~bias, -math.inf)


def projected_wasserstein(a: Tensor, b: Tensor, rays: Tensor, *, channels: int | None = None) -> Tensor:
    """Mean of |sort(a·ray) − sort(b·ray)| for each ray; see :func:`gan_ops.ops.projected_wasserstein`."""
    check_projected_sets(a, b, rays, channels)
    if channels is not None:
        a, b = (_standardised(x, channels) for x in (a, b))
    distances = [rays.new_empty(0, dtype=torch.float64)]
    for part in rays.split(max(1, _PROJECTIONS_AT_ONCE // len(a))):
        with torch.autocast(a.device.type, enabled=False):
            sorted_a, sorted_b = ((part @ x.T).sort(dim=1).values.double() for x in (a, b))
        finite = (sorted_a.isfinite() & sorted_b.isfinite()).all(dim=1)
        distances.append((sorted_a - sorted_b).abs().mean(dim=1).masked_fill(~finite, math.nan))
    return torch.cat(distances)


_PROJECTIONS_AT_ONCE = 2**26
"""That are in memory, for each set: 256 MB."""


def _standardised(x: Tensor, channels: int) -> Tensor:
    """[M, K] with each of so many runs of adjacent columns at mean 0 and deviation 1 (0 where it does not vary)."""
    sums = x.new_zeros(2, channels, dtype=torch.float64)
    for part in x.split(2**14):
        values = part.double().reshape(len(part), channels, -1)
        sums[0] += values.sum((0, 2))
        sums[1] += values.square().sum((0, 2))
    mean, square = sums / (x.numel() / channels)
    deviation = (square - mean.square()).clamp(min=0).sqrt()
    scale = torch.where(deviation > 0, 1 / deviation, 0)
    mean, scale = (moment.repeat_interleave(x.shape[1] // channels) for moment in (mean, scale))
    return torch.cat([((part - mean) * scale).float() for part in x.split(2**14)])


def laplacian_patches(images: Tensor, places: Tensor, *, differences: bool = True) -> tuple[Tensor, Tensor]:
    """Patches of a level of the Laplacian pyramid; see :func:`gan_ops.ops.laplacian_patches`."""
    check_patches(images, places)
    batches = zip(images.split(_IMAGES_AT_ONCE), places.split(_IMAGES_AT_ONCE), strict=True)
    patches, smaller = zip(*[_patches_of(*batch, differences) for batch in batches], strict=True)
    return torch.cat(patches), torch.cat(smaller)


_IMAGES_AT_ONCE = 256
"""Whose level is in memory: at 128 pixels 50 MB, and some copies of it."""


def _patches_of(images: Tensor, places: Tensor, differences: bool) -> tuple[Tensor, Tensor]:
    level = images.float()
    smaller = level[:, :, :0, :0]
    if differences:
        shrink, enlarge = (matrix.to(level) for matrix in _pyramid_step(images.shape[-1]))
        with torch.autocast(level.device.type, enabled=False):
            smaller = shrink @ level @ shrink.T
            level = level - enlarge @ smaller @ enlarge.T
    windows = level.unfold(2, 7, 1).unfold(3, 7, 1).permute(0, 2, 3, 1, 4, 5)  # [N, H−6, H−6, C, 7, 7]
    image = torch.arange(len(level), device=level.device)[:, None].expand(places.shape[:2])
    return windows[image, places[..., 0], places[..., 1]].flatten(0, 1).flatten(1), smaller


@lru_cache(maxsize=16)
def _pyramid_step(size: int) -> tuple[Tensor, Tensor]:
    """Shrinking and enlarging along an axis as matrices, [size/2, size] and [size, size/2]."""
    pixels = torch.arange(size)[:, None] + torch.arange(-2, 3)  # [size, 5]
    pixels = torch.where(pixels >= size, 2 * (size - 1) - pixels, pixels).abs()  # mirrored: −1 is 1
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]).expand(size, -1) / 16
    smooth = torch.zeros(size, size).scatter_add_(1, pixels, kernel)
    return smooth[0::2].contiguous(), 2 * smooth[:, 0::2].contiguous()


def historical_distance(parameters: Iterable[Tensor], averages: Iterable[Tensor], step: float | Tensor) -> Tensor:
    """Σ ‖θ − mean of θ[1..step]‖²; see :func:`gan_ops.historical_distance`."""
    parameters, averages = list(parameters), list(averages)
    check_history(parameters, averages, step)
    t = torch.as_tensor(step, dtype=torch.float64, device=parameters[0].device)
    total = torch.zeros((), dtype=torch.float64, device=parameters[0].device)
    for parameter, average in zip(parameters, averages, strict=True):
        gap = (accumulable(parameter) - average).masked_fill(t == 1, 0.0)
        total = total + gap.square().sum()
    distance = (1 - 1 / t).square() * total
    return distance.to(torch.float64 if any(p.dtype == torch.float64 for p in parameters) else torch.float32)


@torch.no_grad()
def historical_update_(parameters: Iterable[Tensor], averages: Iterable[Tensor], step: float | Tensor) -> None:
    """average += (θ − average)/step, in place; see :func:`gan_ops.historical_update_`."""
    parameters, averages = list(parameters), list(averages)
    check_history(parameters, averages, step)
    t = torch.as_tensor(step, dtype=torch.float64, device=parameters[0].device)
    for parameter, average in zip(parameters, averages, strict=True):
        wide = accumulable(parameter)
        moved = average + (wide - average) * (1 / t)
        average.copy_(torch.where(t == 1, wide, moved))


def _biased(x: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """scale·x [N, C, *] + bias [C], in the type that sums are taken in."""
    t = accumulable(x) if scale == 1 else scale * accumulable(x)
    return t if bias is None else t + bias.to(t.dtype).view(-1, *[1] * (x.dim() - 2))  # [C] → [C, 1, …]
