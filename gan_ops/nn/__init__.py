"""Layers built on the ops, a file for each kind.

Every layer is differentiable twice and keeps the memory format: after ``module.to(memory_format=torch.channels_last)``
activations are channels_last throughout. All but virtual batch norm, whose network stores a reference batch, are
functions of their inputs and parameters alone (no buffers, no modes).
"""

from gan_ops.nn.attention import SelfAttention2d
from gan_ops.nn.equalized import EqualizedConv2d, EqualizedLinear, EqualizedUpConv2d
from gan_ops.nn.equalized import scaled_before_epilogue as scaled_before_epilogue
from gan_ops.nn.minibatch import MinibatchDiscrimination, MinibatchStddev
from gan_ops.nn.pixel_norm import PixelNorm
from gan_ops.nn.virtual_batch_norm import ReferenceSequential, VirtualBatchNorm

__all__ = [
    "EqualizedConv2d",
    "EqualizedLinear",
    "EqualizedUpConv2d",
    "MinibatchDiscrimination",
    "MinibatchStddev",
    "PixelNorm",
    "ReferenceSequential",
    "SelfAttention2d",
    "VirtualBatchNorm",
]
