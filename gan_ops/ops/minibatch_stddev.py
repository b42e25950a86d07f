"""Minibatch standard deviation: how varied a group of samples is, as extra feature maps."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_ops import reference
from gan_ops._dispatch import kernels_run, reference_only
from gan_ops.ops._layout import dense_like


def minibatch_stddev(x: Tensor, group_size: int | None = 4, num_channels: int = 1, eps: float = 1e-8) -> Tensor:
    """x with maps of its groups' mean standard deviation appended: Karras et al. 2018, section 3.

    The batch of N is split into groups of G = min(group_size, N) samples, sample n belonging to group n mod (N/G). For
    every group, channel and pixel sqrt(var + eps) is taken over the samples, with the biased variance; its mean over
    pixels and over each of ``num_channels`` equal parts of the channels becomes a constant map of the group's samples.

    Args:
        x: feature maps [N, C, *], with at least one channel; float64, float32, float16 or bfloat16 (sums are taken in
            float32, for float64 in float64).
        group_size: samples in a group; None for the whole batch, as in the paper. A G that is smaller than N must
            divide it.
        num_channels: how many maps to append; must divide C.
        eps: added to the variance; not negative.

    Returns:
        [N, C + num_channels, *] of x's type, and of its memory layout where that is contiguous or channels_last. First
        and second derivatives are kernels too; higher ones run as plain torch.

    Raises:
        ValueError: x has fewer than two axes or no channel; group_size does not divide the batch; num_channels does not
            divide the channels; one of them is below 1; eps is negative.
        TypeError: x is of another type.
    """
    if kernels_run():
        return _minibatch_stddev(x, group_size, num_channels, eps)
    return reference.minibatch_stddev(x, group_size, num_channels, eps)


if not reference_only:
    _minibatch_stddev = torch.ops.gan_ops.minibatch_stddev.default

    @torch.library.register_fake("gan_ops::minibatch_stddev")
    def _(x: Tensor, group_size: int | None, num_channels: int, eps: float) -> Tensor:
        return dense_like(x, [x.shape[0], x.shape[1] + num_channels, *x.shape[2:]])

    @torch.library.register_fake("gan_ops::minibatch_stddev_backward")
    def _(grad: Tensor, x: Tensor, group_size: int | None, num_channels: int, eps: float) -> Tensor:
        return dense_like(x)

    @torch.library.register_fake("gan_ops::minibatch_stddev_double_backward")
    def _(
        v: Tensor, grad: Tensor, x: Tensor, group_size: int | None, num_channels: int, eps: float
    ) -> tuple[Tensor, Tensor]:
        return dense_like(x, [x.shape[0], x.shape[1] + num_channels, *x.shape[2:]]), dense_like(x)
