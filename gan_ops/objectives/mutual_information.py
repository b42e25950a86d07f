"""Neural bounds of mutual information: from a statistic T(x, z) of pairs and of samples that belong to others, and from
a network Q that tells of x which z it was made of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from gan_ops._types import accumulable

__all__ = ["jensen_shannon_information", "variational_information"]


def jensen_shannon_information(joint: Tensor, apart: Tensor) -> Tensor:
    """E[−softplus(−T(x, z))] − E[softplus(T(x, z̃))]: Hjelm et al. 2019, eq. 4; Kumar et al. 2019, section 3.2.

    A lower bound of 2·JSD(p(x, z) ‖ p(x)p(z)) − 2·log 2, reached by T = log p(x, z)/(p(x)p(z)): −2·log 2 of independent
    x and z, below 0 of any. It grows with the information I(x; z) but is none in nats.

    Args:
        joint: T(x, z) [N] of pairs that belong together.
        apart: T(x, z̃) [M], z̃ drawn without regard to x.

    Returns:
        A scalar, to be maximised with respect to T, and to x and z.
    """
    return -F.softplus(-accumulable(joint)).mean() - F.softplus(accumulable(apart)).mean()


def variational_information(told: Tensor, codes: Tensor, categorical: Sequence[int]) -> tuple[Tensor, Tensor]:
    """H(c) + E[log Q(c|x)] of categorical codes and of continuous ones: L_I(G, Q) of Chen et al. 2016, equation 5.

    A lower bound of the mutual information I(c; x), in nats, which is reached where Q is the posterior of c. Categories
    are uniform. Continuous codes are uniform over [−1, 1], and Q gives each a normal distribution of variance 1, as the
    authors' code does: a variance that is predicted would make this term grow without bound as G learns to write codes
    legibly.

    Args:
        told: what Q says [N, W]: logits of the first code's categories, of the next one's, …, then means of the
            continuous codes.
        codes: [N, W]: one-hot vectors of categories, then numbers.
        categorical: number of categories of each categorical code.

    Returns:
        Two scalars, to be maximised with respect to Q and to x; sums over the codes and means over the batch.

    Raises:
        ValueError: the shapes differ, or have no room for so many categories.
    """
    if told.shape != codes.shape or told.dim() != 2 or told.shape[1] < sum(categorical):
        raise ValueError(f"told={list(told.shape)} and codes={list(codes.shape)} with categorical={list(categorical)}")
    told, codes = accumulable(told), accumulable(codes)
    sizes = (*categorical, told.shape[1] - sum(categorical))
    *choices, (means, numbers) = zip(told.split(sizes, dim=1), codes.split(sizes, dim=1), strict=True)
    of_categories = told.new_zeros(())
    for logits, hot in choices:
        of_categories = of_categories + math.log(hot.shape[1]) + (hot * F.log_softmax(logits, 1)).sum(1).mean()
    # log 2 is the entropy of a continuous code.
    log_density = -(numbers - means).square() / 2 - math.log(2 * math.pi) / 2
    return of_categories, (log_density + math.log(2)).sum(1).mean()
