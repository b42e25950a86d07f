"""Softmax attention whose first and second derivatives need no matrix of all scores."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_ops import reference
from gan_ops._checks import check_attention_options
from gan_ops._dispatch import kernels_run, reference_only
from gan_ops._types import accumulate_type


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
    """softmax(scale·query·keyᵀ + bias)·value, as ``torch.nn.functional.scaled_dot_product_attention``.

    torch's fused attention has no second derivative, which a gradient penalty takes; its plain one has, and keeps a
    dozen matrices of all N·M scores for it. Here scores are made for some rows at a time, so the output and its
    derivatives of the first and second order need memory of the inputs' size (bias and its gradient included). The
    softmax is computed in float32, for float64 in float64. Results repeat to the bit with the same number of threads.

    Args:
        query: [..., N, E], with at least one feature; float64, float32, float16 or bfloat16 (under autocast any
            floating-point type).
        key: [..., M, E] of query's type and first axes.
        value: [..., M, F], likewise.
        bias: added to the scores: of any of these types, and of any shape that broadcasts to theirs, [..., N, M].
            −inf takes a pair out. A boolean one takes the pairs out where it is False.
        scale: of the scores; None for 1/√E.
        is_causal: whether query i sees no key after the i-th.
        attn_mask: torch's name for bias.
        dropout_p, enable_gqa: torch's; there is nothing but 0 and False.

    Returns:
        [..., N, F], contiguous. The output of a query that all keys are taken out for is 0, as torch's.
        Third and higher derivatives run as plain torch.

    Raises:
        ValueError: shapes or devices do not fit, or both bias and attn_mask are given.
        TypeError: types do not.
        NotImplementedError: dropout_p is not 0, or enable_gqa is True.
    """
    bias = check_attention_options(bias, attn_mask, dropout_p, enable_gqa)
    if kernels_run():
        return _attention(query, key, value, reference.additive_mask(bias, query), scale, is_causal)[0]
    return reference.attention(query, key, value, bias, scale=scale, is_causal=is_causal)


if not reference_only:
    _attention = torch.ops.gan_ops.attention.default

    @torch.library.register_fake("gan_ops::attention")
    def _(
        query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float | None, causal: bool
    ) -> tuple[Tensor, Tensor]:
        out = query.new_empty([*query.shape[:-1], value.shape[-1]])
        return out, query.new_empty(query.shape[:-1], dtype=accumulate_type(query))

    @torch.library.register_fake("gan_ops::attention_backward")
    def _(
        grad: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        bias: Tensor | None,
        log_sum: Tensor,
        scale: float | None,
        causal: bool,
        wanted: list[bool],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        of_query, of_key, of_value = map(_gradient_like, (query, key, value), wanted)
        return of_query, of_key, of_value, _bias_gradient_like(query, bias, wanted[3])

    @torch.library.register_fake("gan_ops::attention_double_backward")
    def _(
        v_query: Tensor | None,
        v_key: Tensor | None,
        v_value: Tensor | None,
        v_bias: Tensor | None,
        grad: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        bias: Tensor | None,
        log_sum: Tensor,
        scale: float | None,
        causal: bool,
        wanted: list[bool],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        of_grad, of_query, of_key, of_value = map(_gradient_like, (grad, query, key, value), wanted)
        return of_grad, of_query, of_key, of_value, _bias_gradient_like(query, bias, wanted[4])

    def _gradient_like(x: Tensor, wanted: bool) -> Tensor:
        return x.new_empty(x.shape if wanted else [0])

    def _bias_gradient_like(query: Tensor, bias: Tensor | None, wanted: bool) -> Tensor:
        shape = bias.shape if wanted and bias is not None else [0]
        return query.new_empty(shape, dtype=accumulate_type(query))
