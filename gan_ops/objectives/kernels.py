"""Maximum mean discrepancy (MMD): distributions compared by a kernel of what the critic gives for their samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from gan_ops.objectives.objective import (
    Objective,
    Stats,
    check_count,
    check_named,
    check_not_negative,
)
from gan_ops.objectives.pairs import pair_distances
from gan_ops.objectives.penalties import WganGP
from gan_ops.objectives.scores import Scores, score_of, vectors_of

__all__ = ["Kernel", "Mmd", "kernel_values", "squared_mmd"]

Kernel = Literal["gaussian", "rational-quadratic", "distance", "exponential"]

_WIDTHS = (1.0, 2.0, 4.0, 8.0, 16.0)
_EXPONENTS = (0.2, 0.5, 1.0, 2.0, 5.0)


def kernel_values(x: Tensor, y: Tensor, kernel: Kernel) -> Tensor:
    """k(x_i, y_j) [N, M] of vectors [N, K] and [M, K].

    With d = ‖x − y‖ they are:

    - "gaussian": Σ_σ exp(−d²/2σ²), σ of 1, 2, 4, 8 and 16 (Li et al. 2017, arXiv 1705.08584, §5);
    - "rational-quadratic": Σ_α (1 + d²/2α)^−α, α of 0.2, 0.5, 1, 2 and 5 (Bińkowski et al. 2018, arXiv 1801.01401);
    - "distance": −d. The kernel proper is ‖x‖ + ‖y‖ − ‖x − y‖, as in the authors' code of that paper; in the unbiased
      estimate of the MMD, and in the gradient of the witness, the first two terms cancel. MMD² is the energy distance
      2E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖;
    - "exponential": exp(−d), Laplace's.
    """
    if kernel == "distance":
        return -pair_distances(x, y, "l2")
    if kernel == "exponential":
        return (-pair_distances(x, y, "l2")).exp()
    square = pair_distances(x, y, "squared")
    if kernel == "gaussian":
        return sum((square * (-0.5 / width**2)).exp() for width in _WIDTHS)
    return sum((1 + square / (2 * exponent)) ** -exponent for exponent in _EXPONENTS)


def squared_mmd(xx: Tensor, yy: Tensor, xy: Tensor) -> Tensor:
    """The unbiased estimate of MMD² from kernel values [N, N], [M, M] and [N, M]: Gretton et al. 2012, eq. 3.

    Pairs of a sample with itself do not count; so it may be negative, and its mean is 0 for equal distributions. A
    scalar. ValueError unless there are two samples of each.
    """
    if min(xy.shape) < 2:
        raise ValueError(f"MMD compares at least two samples with two, but got {xy.shape[0]} and {xy.shape[1]}")

    def mean_of_others(k: Tensor) -> Tensor:
        return (k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1))  # [N, N] → scalar

    return mean_of_others(xx) + mean_of_others(yy) - 2 * xy.mean()  # [N, M] → scalar


@dataclass(frozen=True)
class Mmd(Objective):
    """L_D = −MMD²(h(x), h(G(z))), L_G = MMD²(h(x), h(G(z))) for a critic h that gives vectors.

    :func:`squared_mmd` with a kernel of :func:`kernel_values`. With several processes, or microbatches, each compares
    its own samples. Bińkowski et al. 2018 (arXiv 1801.01401) have the defaults, with a gradient penalty on the
    :meth:`witness`; their script for CIFAR-10 adds ``linear=1`` and a penalty on the squares of all activations, which
    is not here. Li et al. 2017 (1705.08584) have ``mmd(kernel=gaussian, weight=0, clip=0.01)`` and an autoencoder as
    critic, ``reconstruction`` being their λ_AE, 8; the root of MMD² and the rank hinge of their code are not here.

    Attributes:
        linear: c of an additional term c·⟨x, y⟩; with 1 the second is the k^rq* of the later paper's code.
        weight: of the gradient penalty; 0 for none.
        clip: bound of the critic's weights; 0 for none.
        reconstruction: if above 0, the critic is an autoencoder that gives minus its energy as score [N], so with
            ``outputs`` of 1, and its code as the last of its maps. Codes are compared, and this times the mean energies
            of real and of generated samples joins L_D.
    """

    kernel: Kernel = "rational-quadratic"
    outputs: int = 16
    linear: float = 0.0
    weight: float = 1.0
    clip: float = 0.0
    reconstruction: float = 0.0
    compares = True
    least = 2

    def __post_init__(self) -> None:
        check_named(self, "kernel", get_args(Kernel))
        check_count(self, "outputs")
        check_not_negative(self, "linear", "weight", "clip", "reconstruction")
        if self.reconstruction and self.outputs != 1:
            raise ValueError(f"outputs={self.outputs}: an autoencoder's energy is one number, so outputs must be 1")

    @property
    def penalties(self) -> tuple[WganGP, ...]:
        return (WganGP(self.weight),) if self.weight else ()

    def d(self, real: Scores | Tensor, fake: Scores | Tensor, stats: Stats | None = None) -> Tensor:
        loss = -self.g(fake, real)
        if not self.reconstruction:
            return loss
        return loss - self.reconstruction * (score_of(real).mean() + score_of(fake).mean())  # scores are −energies

    def g(self, fake: Scores | Tensor, real: Scores | Tensor | None = None, stats: Stats | None = None) -> Tensor:
        x, y = self._vectors(real), self._vectors(fake)
        return squared_mmd(self._kernel(x, x), self._kernel(y, y), self._kernel(x, y))

    def witness(self, points: Scores | Tensor, real: Scores | Tensor, fake: Scores | Tensor) -> Tensor:
        """E k(h(t), h(x)) − E k(h(t), h(G(z))) at points t [N]: the gradient penalty is on it."""
        t = self._vectors(points)
        return self._kernel(t, self._vectors(real)).mean(1) - self._kernel(t, self._vectors(fake)).mean(1)  # → [N]

    def _vectors(self, scores: Scores | Tensor) -> Tensor:
        return vectors_of(scores.maps[-1] if self.reconstruction else scores)

    def _kernel(self, x: Tensor, y: Tensor) -> Tensor:
        found = kernel_values(x, y, self.kernel)
        if not self.linear:
            return found
        with torch.autocast(x.device.type, enabled=False):
            return found + self.linear * (x @ y.T)
