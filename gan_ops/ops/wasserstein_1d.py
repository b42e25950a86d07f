"""The distance between sets of numbers, row by row. It measures: there is no derivative."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_ops import reference
from gan_ops._dispatch import kernels_run, reference_only


def wasserstein_1d(a: Tensor, b: Tensor) -> Tensor:
    """Mean over i of |sort(a)_i − sort(b)_i|: the 1-Wasserstein distance of sets of as many numbers each.

    On the CPU it takes a few walks over the values and sorts hardly any of them; there values count to within 2^-23 of
    (|x| + the row's mean |x|), those of float64 exactly. On CUDA it is made of torch's sort.

    Args:
        a, b: [R, N] with N ≥ 1, of one shape, device and type: float64, float32, float16 or bfloat16.

    Returns:
        [R], float64; NaN for a row with a value that is infinite or NaN.

    Raises:
        ValueError: shapes or devices do not fit.
        TypeError: types do not.
        NotImplementedError: an argument requires a gradient.
    """
    if kernels_run():
        return _wasserstein_1d(a, b)
    return reference.wasserstein_1d(a, b)


if not reference_only:
    _wasserstein_1d = torch.ops.gan_ops.wasserstein_1d.default

    @torch.library.register_fake("gan_ops::wasserstein_1d")
    def _(a: Tensor, b: Tensor) -> Tensor:
        return a.new_empty([a.shape[0]], dtype=torch.float64)
