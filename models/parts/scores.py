"""What a critic's last layer gives, as scores."""

from torch import Tensor


def scores_in(out: Tensor) -> Tensor:
    """[N, 1] → [N]; vectors [N, K] stay as they are."""
    return out[:, 0] if out.shape[1] == 1 else out
