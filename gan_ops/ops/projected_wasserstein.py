"""The distance between two sets of vectors as seen along rays. Only for metrics: it has no derivative."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_ops import reference
from gan_ops._dispatch import kernels_run, reference_only


def projected_wasserstein(a: Tensor, b: Tensor, rays: Tensor, *, channels: int | None = None) -> Tensor:
    """Mean over i of |sort(a·ray)_i − sort(b·ray)_i| for each ray: 1-Wasserstein distances of the projected sets.

    On the CPU it takes a few passes over the projections and sorts hardly any of them; a projection x counts to within
    2^-23 of (|x| + the ray's mean |x|). On CUDA it is made of torch's matrix product and sort.

    Args:
        a, b: [M, K] with M ≥ 1, float32, of one shape and device.
        rays: [R, K], float32.
        channels: number of equal groups of adjacent columns. Each group of each set is first normalised to mean 0 and
            standard deviation 1 over the set (to 0 where it does not vary). None: no normalisation.

    Returns:
        [R], float64; NaN for a ray along which a projection is infinite or NaN.

    Raises:
        ValueError: shapes or devices do not fit, or channels do not divide K.
        TypeError: an argument is of another type.
        NotImplementedError: an argument requires a gradient.
    """
    if kernels_run() and all(x.device.type == "cpu" for x in (a, b, rays)):
        return _projected_wasserstein(a, b, rays, channels)
    return reference.projected_wasserstein(a, b, rays, channels=channels)


if not reference_only:
    _projected_wasserstein = torch.ops.gan_ops.projected_wasserstein.default

    @torch.library.register_fake("gan_ops::projected_wasserstein")
    def _(a: Tensor, b: Tensor, rays: Tensor, channels: int | None) -> Tensor:
        return a.new_empty([rays.shape[0]], dtype=torch.float64)
