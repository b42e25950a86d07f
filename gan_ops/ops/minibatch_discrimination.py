"""Minibatch discrimination: how close each sample is to the others, as extra features."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_ops import reference
from gan_ops._dispatch import kernels_run, reference_only


def minibatch_discrimination(m: Tensor, include_self: bool = True) -> Tensor:
    """o_ib = Σ_j exp(−‖m_ib − m_jb‖₁): the closeness of sample i to its minibatch, Salimans et al. 2016, section 3.2.

    Args:
        m: [N, B, C]: for each of N samples, B kernels' feature vectors of C dimensions, both at least one; float64,
            float32, float16 or bfloat16 (computed in float32, for float64 in float64).
        include_self: whether the sum counts j = i, whose term is 1.

    Returns:
        [N, B] of m's type. First and second derivatives are kernels too, with |x|' = 0 at x = 0; there is no third.
        None of them holds anything of size N·N: besides their results they need O(N·B·C) memory. Terms below the
        smallest normal number, of a distance above 87 (float64: 708), may count as zero.

    Raises:
        ValueError: m is not [N, B, C] or has no kernel or no dimension.
        TypeError: m is of another type.
        NotImplementedError: a third derivative is taken.
    """
    # In compiled graphs too: compilers write out the pairs' differences.
    if kernels_run():
        return _minibatch_discrimination(m, include_self)
    return reference.minibatch_discrimination(m, include_self)


if not reference_only:
    _minibatch_discrimination = torch.ops.gan_ops.minibatch_discrimination.default

    @torch.library.register_fake("gan_ops::minibatch_discrimination")
    def _(m: Tensor, include_self: bool) -> Tensor:
        return m.new_empty(m.shape[:2])

    @torch.library.register_fake("gan_ops::minibatch_discrimination_backward")
    def _(grad: Tensor, m: Tensor) -> Tensor:
        return m.new_empty(m.shape)

    @torch.library.register_fake("gan_ops::minibatch_discrimination_double_backward")
    def _(v: Tensor, grad: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        return m.new_empty(grad.shape), m.new_empty(m.shape)
