"""Moments of the vectors that a critic gives, of real and of generated samples, compared: McGAN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ops.objectives.objective import Objective, Stats, check_count, check_named, check_not_negative
from gan_ops.objectives.scores import Scores, vectors_of

__all__ = ["McGanCovariance", "McGanMean"]


@dataclass(frozen=True)
class McGanMean(Objective):
    """L_D = −‖E[Φ(x)] − E[Φ(G(z))]‖, L_G = ‖E[Φ(x)] − E[Φ(G(z))]‖ for a critic Φ that gives vectors.

    Mroueh et al. 2017 (arXiv 1702.08398), IPM_μ in its dual form, the ``norm`` of order 1, 2 or infinity. The trainer
    clips Φ's weights to ±``clip``, as there. With several microbatches or processes, each has its own means.
    """

    norm: Literal["1", "2", "inf"] = "2"
    outputs: int = 16
    clip: float = 0.01
    compares = True

    def __post_init__(self) -> None:
        check_named(self, "norm", ("1", "2", "inf"))
        check_count(self, "outputs")
        check_not_negative(self, "clip")

    def d(self, real: Scores | Tensor, fake: Scores | Tensor, stats: Stats | None = None) -> Tensor:
        return -self.g(fake, real)

    def g(self, fake: Scores | Tensor, real: Scores | Tensor | None = None, stats: Stats | None = None) -> Tensor:
        return torch.linalg.vector_norm(self._difference(real, fake), float(self.norm))  # [m] → scalar

    def witness(self, points: Scores | Tensor, real: Scores | Tensor, fake: Scores | Tensor) -> Tensor:
        """⟨v, Φ(t)⟩ at points t [N], v the constant direction that attains the norm; 0 where the means are equal."""
        difference = self._difference(real, fake).detach()
        if self.norm == "1":
            direction = difference.sign()
        elif self.norm == "2":
            direction = F.normalize(difference, dim=0)
        else:
            largest = F.one_hot(difference.abs().argmax(), len(difference))
            direction = difference.sign() * largest
        return (vectors_of(points) * direction).sum(1)  # [N, m] → [N]

    def _difference(self, real: Scores | Tensor, fake: Scores | Tensor) -> Tensor:
        return vectors_of(real).mean(0) - vectors_of(fake).mean(0)  # [N, m] → [m]


@dataclass(eq=False)
class McGanCovariance(Objective, nn.Module):
    """L_D = −(E[f(x)] − E[f(G(z))]), L_G = −E[f(G(z))], with f(x) = Σ_j ⟨u_j, Φ(x)⟩⟨v_j, Φ(x)⟩ for vectors Φ(x).

    Mroueh et al. 2017 (arXiv 1702.08398), IPM_Σ: the critic learns orthonormal directions U and V [outputs,
    components] beside Φ, and at the best the difference of E[f] is the sum of that many largest singular values of
    E[Φ(x)Φ(x)ᵀ] − E[Φ(G(z))Φ(G(z))ᵀ]. These second moments are not centred. The trainer clips Φ's weights to
    ±``clip`` after each update, not U and V: those it brings back with :meth:`retract_`. They start alike in every run.
    """

    outputs: int = 16
    components: int = 4
    clip: float = 0.01

    def __post_init__(self) -> None:
        check_count(self, "outputs", "components")
        check_not_negative(self, "clip")
        if self.components > self.outputs:
            raise ValueError(f"components={self.components} must not be above outputs={self.outputs}")
        super().__init__()
        # Of equal U and V, f would be a sum of squares, and their gradients would keep them equal.
        random = torch.Generator().manual_seed(0)
        self.u, self.v = (nn.Parameter(torch.randn(self.outputs, self.components, generator=random)) for _ in "uv")
        self.retract_()

    def d(self, real: Scores | Tensor, fake: Scores | Tensor, stats: Stats | None = None) -> Tensor:
        return self._f(fake).mean() - self._f(real).mean()

    def g(self, fake: Scores | Tensor, real: Scores | Tensor | None = None, stats: Stats | None = None) -> Tensor:
        return -self._f(fake).mean()

    def witness(self, points: Scores | Tensor, real: Scores | Tensor, fake: Scores | Tensor) -> Tensor:
        return self._f(points)

    @torch.no_grad()
    def retract_(self) -> None:
        """U and V become the Q of their QR decompositions, of which R has a diagonal above 0: so it is continuous."""
        for directions in (self.u, self.v):
            q, r = torch.linalg.qr(directions)
            directions.copy_(q * torch.where(r.diagonal() < 0, -1.0, 1.0))  # [m, k] of [k]

    def _f(self, scores: Scores | Tensor) -> Tensor:
        """f [N]."""
        features = vectors_of(scores)
        with torch.autocast(features.device.type, enabled=False):
            u, v = self.u.to(features.dtype), self.v.to(features.dtype)
            return ((features @ u) * (features @ v)).sum(1)  # [N, k] → [N]
