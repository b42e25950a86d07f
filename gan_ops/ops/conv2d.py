"""Stride-1 convolution with a fast double backward."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._prims_common import suggest_memory_format

from gan_ops import reference
from gan_ops._dispatch import kernels_run, reference_only


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, padding: int = 0, groups: int = 1) -> Tensor:
    """``torch.nn.functional.conv2d`` with stride 1, and with fast derivatives of every order.

    torch's own double backward takes the weight's gradient as a convolution with a kernel as large as the image; in a
    gradient penalty that is most of the time. Here each derivative is one of three ordinary convolutions
    (csrc/conv2d.cpp).

    Args:
        x: feature maps [N, C_in, H, W]; float64, float32, float16 or bfloat16.
        weight: [C_out, C_in / groups, K, K'] of x's type (under autocast any floating-point type).
        bias: [C_out] or None.
        padding: zeros on each side of H and W, from 0 to K - 1.
        groups: parts of the channels; each part of the output sees one part of the input.

    Returns:
        [N, C_out, H + 2·padding - K + 1, W + 2·padding - K' + 1].

    Raises:
        ValueError: shapes, devices, padding or groups do not fit.
        TypeError: types do not.
    """
    if kernels_run():
        return _conv2d(x, weight, bias, padding, groups)
    return reference.conv2d(x, weight, bias, padding, groups)


if not reference_only:
    _conv2d = torch.ops.gan_ops.conv2d.default

    @torch.library.register_fake("gan_ops::conv2d")
    def _(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, groups: int = 1) -> Tensor:
        return F.conv2d(x, weight, bias, padding=padding, groups=groups)

    @torch.library.register_fake("gan_ops::conv2d_input_grad")
    def _(grad: Tensor, weight: Tensor, padding: int, groups: int = 1) -> Tensor:
        (n, _, height, width), (_, of_group, kernel_h, kernel_w) = grad.shape, weight.shape
        channels = of_group * groups
        x = grad.new_empty([n, channels, height + kernel_h - 1 - 2 * padding, width + kernel_w - 1 - 2 * padding])
        x = torch.empty_like(x, memory_format=suggest_memory_format(grad))  # the kernel's stand-in has it too
        return _convolution_backward(grad, x, weight, padding, groups, (True, False, False))[0]

    @torch.library.register_fake("gan_ops::conv2d_weight_grad")
    def _(grad: Tensor, x: Tensor, padding: int, groups: int = 1) -> Tensor:
        kernel = [size + 2 * padding + 1 - out for size, out in zip(x.shape[2:], grad.shape[2:], strict=True)]
        weight = x.new_empty([grad.shape[1], x.shape[1] // groups, *kernel])
        weight = torch.empty_like(weight, memory_format=suggest_memory_format(x))
        return _convolution_backward(grad, x, weight, padding, groups, (False, True, False))[1]

    def _convolution_backward(
        grad: Tensor, x: Tensor, weight: Tensor, padding: int, groups: int, wanted: tuple[bool, bool, bool]
    ) -> tuple[Tensor, ...]:
        return torch.ops.aten.convolution_backward(
            grad, x, weight, None, [1, 1], [padding] * 2, [1, 1], False, [0, 0], groups, wanted
        )
