"""Distances of all pairs: each sample of one set from each of another."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_ops import reference
from gan_ops._dispatch import kernels_run, reference_only
from gan_ops._lengths import Metric
from gan_ops._types import accumulate_type


def pair_distances(x: Tensor, y: Tensor, metric: Metric = "l2") -> Tensor:
    """d_ij = ‖x_i − y_j‖₁, ‖x_i − y_j‖₂ or ‖x_i − y_j‖₂² of every pair.

    Kernels of distributions (MMD) and pairwise costs (the c-transform) are functions of these.

    Args:
        x: [N, D], with at least one feature; float64, float32, float16 or bfloat16.
        y: [M, D], of x's type.
        metric: "l1", "l2", or "squared" for l2's square.

    Returns:
        [N, M], float32 (float64 for float64). Differences are taken before they are squared, so the distance of close
        samples far from the origin has as many digits as any; squares must lie within the type's range. First and
        second derivatives are kernels too. Beside their results they need O((N + M)·D) memory, on CUDA at most 16 MB,
        but not N·M·D. Where a difference is 0, |z| has slope 0, and where x_i = y_j, so has l2's distance: these first
        and second derivatives count as 0. There is no third derivative.

    Raises:
        ValueError: x is not [N, D], y not [M, D] on its device, or the metric is another.
        TypeError: x is of another type, or y is not of x's.
        NotImplementedError: a third derivative is taken.
    """
    # In compiled graphs too: compilers write out the pairs' differences.
    if kernels_run():
        return _pair_distances(x, y, metric)
    return reference.pair_distances(x, y, metric)


if not reference_only:
    _pair_distances = torch.ops.gan_ops.pair_distances.default

    def _pairs_like(x: Tensor, y: Tensor) -> Tensor:
        return x.new_empty([x.shape[0], y.shape[0]], dtype=accumulate_type(x))

    @torch.library.register_fake("gan_ops::pair_distances")
    def _(x: Tensor, y: Tensor, metric: str) -> Tensor:
        return _pairs_like(x, y)

    @torch.library.register_fake("gan_ops::pair_distances_backward")
    def _(
        grad: Tensor, x: Tensor, y: Tensor, distance: Tensor | None, metric: str, with_x: bool, with_y: bool
    ) -> tuple[Tensor, Tensor]:
        return x.new_empty(x.shape if with_x else [0]), y.new_empty(y.shape if with_y else [0])

    @torch.library.register_fake("gan_ops::pair_distances_double_backward")
    def _(
        v_x: Tensor, v_y: Tensor, grad: Tensor, x: Tensor, y: Tensor, distance: Tensor | None, metric: str
    ) -> tuple[Tensor, Tensor, Tensor]:
        curved = metric != "l1"  # l1 has slopes that do not depend on x and y
        return _pairs_like(x, y), x.new_empty(x.shape if curved else [0]), y.new_empty(y.shape if curved else [0])
