"""Filters, and resampling by them that keeps images where they are: what upfirdn2d is mostly called for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gan_ops._resampling import Factors, Padding, added, both_axes, down_padding, filter_size, up_padding
from gan_ops.ops.upfirdn2d import upfirdn2d


def setup_filter(
    taps: Tensor | Sequence[float] | Sequence[Sequence[float]] | float | None,
    *,
    device: torch.device | str | None = None,
    normalize: bool = True,
    flip: bool = False,
    gain: float = 1.0,
    separable: bool | None = None,
) -> Tensor:
    """A filter for :func:`gan_ops.upfirdn2d`, float32, from numbers.

    Args:
        taps: [K] for both axes, or [K', K]; or one number; None is 1.
        device: where the filter shall be.
        normalize: whether its taps shall have the sum 1, so that it keeps the mean of images.
        flip: whether to turn it around.
        gain: what a filtered image is to be multiplied by (a filter for both axes has the root of it in each).
        separable: whether taps [K] stay so, for two passes; otherwise they become the outer product [K, K]. None
            (StyleGAN3's rule): they stay from 8 taps on.

    Returns:
        [K] or [K', K].

    Raises:
        ValueError: taps are not [K] or [K', K], have the sum 0 where they are to be normalised, or are [K', K] where
            they are to be separable.
    """
    given = torch.as_tensor(1.0 if taps is None else taps, dtype=torch.float32, device=device)
    filter = given.detach()
    filter = filter[None] if filter.dim() == 0 else filter
    if filter.dim() > 2 or filter.numel() == 0:
        raise ValueError(f"taps must be [K] or [K', K] with at least one tap, but their shape is {list(given.shape)}")
    if separable and filter.dim() == 2:
        raise ValueError(f"separable=True needs taps [K], but their shape is {list(given.shape)}")
    if separable is None:
        separable = len(filter) >= 8
    if filter.dim() == 1 and not separable:
        filter = torch.outer(filter, filter)
    if normalize:
        total = filter.sum()
        if total == 0:
            raise ValueError("taps have the sum 0, so they cannot be normalised: give normalize=False")
        filter = filter / total
    if flip:
        filter = filter.flip(list(range(filter.dim())))
    return filter * gain ** (filter.dim() / 2)


def filter2d(x: Tensor, filter: Tensor | None, padding: Padding = 0, flip: bool = False, gain: float = 1.0) -> Tensor:
    """x [N, C, H, W] filtered, of the same size.

    Args:
        x, filter, flip, gain: as for :func:`gan_ops.upfirdn2d`.
        padding: on top of the K // 2 and (K − 1) // 2 pixels that keep the size.

    Raises:
        As :func:`gan_ops.upfirdn2d`.
    """
    height, width = filter_size(filter)
    aligned = [width // 2, (width - 1) // 2, height // 2, (height - 1) // 2]
    return upfirdn2d(x, filter, padding=added(padding, aligned), flip=flip, gain=gain)


def upsample2d(
    x: Tensor, filter: Tensor | None, up: Factors = 2, padding: Padding = 0, flip: bool = False, gain: float = 1.0
) -> Tensor:
    """x [N, C, H, W] enlarged to [N, C, H·up, W·up], with zeros between pixels, and filtered.

    Args:
        x, filter, flip: as for :func:`gan_ops.upfirdn2d`.
        up: an integer or [x, y].
        padding: on top of what keeps the size and the place of the image; in enlarged pixels.
        gain: multiplied by the factors of both axes, so that a filter with the sum 1 keeps the mean.

    Raises:
        As :func:`gan_ops.upfirdn2d`.
    """
    return upfirdn2d(x, filter, up, padding=added(padding, up_padding(filter, up)), flip=flip, gain=gain * _product(up))


def downsample2d(
    x: Tensor, filter: Tensor | None, down: Factors = 2, padding: Padding = 0, flip: bool = False, gain: float = 1.0
) -> Tensor:
    """x [N, C, H, W] filtered, and thinned out to [N, C, H / down, W / down].

    Args:
        x, filter, flip, gain: as for :func:`gan_ops.upfirdn2d`.
        down: an integer or [x, y].
        padding: on top of what keeps the place of the image.

    Raises:
        As :func:`gan_ops.upfirdn2d`.
    """
    return upfirdn2d(x, filter, down=down, padding=added(padding, down_padding(filter, down)), flip=flip, gain=gain)


def _product(factors: Factors) -> int:
    x, y = both_axes(factors)
    return x * y
