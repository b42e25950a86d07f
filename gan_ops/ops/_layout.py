"""What ops' outputs are like, for their fakes: type, shape, and the layout, which is channels_last where the input is
stored so, else contiguous."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, channels_last, channels_last_3d, contiguous_format, memory_format

from gan_ops._types import accumulate_type


def format_of(x: Tensor) -> memory_format:
    """What csrc/common.h's dense() makes of x's layout."""
    # These queries, unlike reading strides, do not specialise a graph on sizes.
    if x.is_contiguous():
        return contiguous_format
    for format, dims in ((channels_last, 4), (channels_last_3d, 5)):
        if x.dim() == dims and x.is_contiguous(memory_format=format):
            return format
    return contiguous_format


def dense_like(x: Tensor, shape: Sequence[int] | None = None) -> Tensor:
    """An empty tensor of x's type and layout."""
    return x.new_empty(x.shape if shape is None else shape).contiguous(memory_format=format_of(x))


def scale_like(x: Tensor) -> Tensor:
    """An empty [N, 1, *] for x [N, C, *], in the type that sums are taken in."""
    return x.new_empty([x.shape[0], 1, *x.shape[2:]], dtype=accumulate_type(x))


def bias_gradient_like(x: Tensor, wanted: bool) -> Tensor:
    """An empty [C] for x [N, C, *] in the type that sums are taken in; [0] when nobody wants it."""
    return x.new_empty([x.shape[1] if wanted else 0], dtype=accumulate_type(x))
