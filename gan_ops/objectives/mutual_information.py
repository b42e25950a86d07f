"""Neural bounds of mutual information, from a statistic T(x, z) of pairs and of samples that belong to others."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from gan_ops._types import accumulable

__all__ = ["jensen_shannon_information"]


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
