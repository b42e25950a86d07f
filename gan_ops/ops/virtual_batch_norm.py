"""Virtual batch norm: every example is normalised by itself and a fixed reference batch."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_ops import reference
from gan_ops._checks import check_reference_size
from gan_ops._dispatch import kernels_run, reference_only
from gan_ops._types import accumulate_type
from gan_ops.ops._layout import dense_like


def virtual_batch_norm(
    x: Tensor,
    reference_mean: Tensor,
    reference_var: Tensor,
    reference_size: float,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """y = (x − m) / sqrt(v + eps) · weight + bias: Salimans et al. 2016, section 3.5.

    Every example has a mean m and a variance v a channel, those of its own pixels joined to the reference batch's with
    the share a = 1 / (reference_size + 1). With m_i and v_i over the example's pixels, and δ = m_i − reference_mean:

        m = a·m_i + (1 − a)·reference_mean
        v = a·v_i + (1 − a)·reference_var + a·(1 − a)·δ²

    which is the paper's mean square less m², without its cancellation. An example's result does not depend on the
    other examples of the batch.

    Args:
        x: feature maps [N, C, *] or features [N, C], with at least one channel; float64, float32, float16 or bfloat16
            (computed in float32, for float64 in float64).
        reference_mean: [C], the reference batch's mean over examples and pixels.
        reference_var: [C], its biased variance.
        reference_size: how many examples the reference batch has, 0 or more: 0 is instance norm, ``math.inf``
            normalises by the reference statistics alone.
        weight: [C] or None for ones.
        bias: [C] or None for zeros. All four of any of these types, whatever x's.
        eps: added to the variance; not negative.

    Returns:
        A tensor of x's shape and type, and of its memory layout where that is contiguous or channels_last. First and
        second derivatives, to all five tensors, are kernels too; higher ones run as plain torch.

    Raises:
        ValueError: shapes or devices do not fit, reference_size or eps is negative.
        TypeError: a tensor is of another type.
    """
    if kernels_run():
        check_reference_size(reference_size)
        own = 1 / (reference_size + 1)
        return _virtual_batch_norm(x, reference_mean, reference_var, weight, bias, own, eps)[0]
    return reference.virtual_batch_norm(x, reference_mean, reference_var, reference_size, weight, bias, eps)


if not reference_only:
    _virtual_batch_norm = torch.ops.gan_ops.virtual_batch_norm.default

    @torch.library.register_fake("gan_ops::virtual_batch_norm")
    def _(
        x: Tensor,
        reference_mean: Tensor,
        reference_var: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        own: float,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, rstd = (x.new_empty(x.shape[:2], dtype=accumulate_type(x)) for _ in range(2))
        return dense_like(x), mean, rstd

    @torch.library.register_fake("gan_ops::virtual_batch_norm_backward")
    def _(
        grad: Tensor,
        x: Tensor,
        mean: Tensor,
        rstd: Tensor,
        reference_mean: Tensor,
        reference_var: Tensor,
        weight: Tensor | None,
        own: float,
        eps: float,
        with_x: bool,
        with_channels: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        d_x = dense_like(x) if with_x else x.new_empty([0])
        return d_x, *_channel_sums(x, 4, with_channels)

    @torch.library.register_fake("gan_ops::virtual_batch_norm_double_backward")
    def _(
        v: Tensor | None,
        v_weight: Tensor | None,
        v_bias: Tensor | None,
        v_reference_mean: Tensor | None,
        v_reference_var: Tensor | None,
        grad: Tensor,
        x: Tensor,
        mean: Tensor,
        rstd: Tensor,
        reference_mean: Tensor,
        reference_var: Tensor,
        weight: Tensor | None,
        own: float,
        eps: float,
        with_channels: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        return dense_like(x), dense_like(x), *_channel_sums(x, 3, with_channels)

    def _channel_sums(x: Tensor, count: int, wanted: bool) -> list[Tensor]:
        return [x.new_empty([x.shape[1] if wanted else 0], dtype=accumulate_type(x)) for _ in range(count)]
