"""A level of images' Laplacian pyramid, cut into patches. Only for metrics: it has no derivative."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_ops import reference
from gan_ops._dispatch import kernels_run, reference_only


def laplacian_patches(images: Tensor, places: Tensor, *, differences: bool = True) -> tuple[Tensor, Tensor]:
    """7×7 patches of the difference between images and their enlarged smaller version, and that smaller version.

    Images shrink by the binomial kernel 1 4 6 4 1 and every second pixel, borders mirrored, and are enlarged by the
    same kernel between zeros: Burt and Adelson 1983. On CUDA it is made of torch's ops.

    Args:
        images: [N, C, H, H], uint8 or float32, H even and at least 8.
        places: [N, P, 2], int64: row and column, from 0 to H − 7, where each image's patches begin.
        differences: False for patches of the images themselves, the pyramid's coarsest level.

    Returns:
        Patches [N·P, C·49] and the smaller images [N, C, H/2, H/2], both float32; without differences the latter are
        empty, [N, C, 0, 0].

    Raises:
        ValueError: a shape or device does not fit, or a place lies outside.
        TypeError: a tensor is of another type.
        NotImplementedError: images require a gradient.
    """
    if kernels_run() and all(x.device.type == "cpu" for x in (images, places)):
        return _laplacian_patches(images, places, differences)
    return reference.laplacian_patches(images, places, differences=differences)


if not reference_only:
    _laplacian_patches = torch.ops.gan_ops.laplacian_patches.default

    @torch.library.register_fake("gan_ops::laplacian_patches")
    def _(images: Tensor, places: Tensor, differences: bool) -> tuple[Tensor, Tensor]:
        n, channels, size, _ = images.shape
        half = size // 2 if differences else 0
        patches = images.new_empty([n * places.shape[1], channels * 49], dtype=torch.float32)
        return patches, images.new_empty([n, channels, half, half], dtype=torch.float32)
