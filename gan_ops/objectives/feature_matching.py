"""Feature matching: the generator's aim is the statistics of the data as the discriminator sees it."""

from __future__ import annotations

from torch import Tensor

__all__ = ["feature_matching"]


def feature_matching(real: Tensor, fake: Tensor) -> Tensor:
    """‖E f(x) − E f(G(z))‖² for a layer f of the discriminator: Salimans et al. 2016, §3.1.

    Args:
        real, fake: that layer's activations [N, *] and [M, *]. Expectations are means over the batch; gradients flow to
            both (the generator's step gives ``real`` without a graph).

    Returns:
        A scalar.

    Raises:
        ValueError: the features have different shapes.
    """
    if real.shape[1:] != fake.shape[1:]:
        raise ValueError(
            f"fake must have features {list(real.shape[1:])} as real has, but they are {list(fake.shape[1:])}"
        )
    return (real.mean(0) - fake.mean(0)).square().sum()
