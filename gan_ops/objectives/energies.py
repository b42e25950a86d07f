"""Objectives of energies U(x) = −score, low where the data are: losses raise and lower them, up to margins.

An energy is mostly by how much an autoencoder fails to reconstruct x, which is never negative. Objectives that remember
move on in ``after``, by the means that their losses reported in a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ops._types import accumulable
from gan_ops.objectives.objective import (
    Objective,
    Stats,
    check_count,
    check_named,
    check_not_negative,
    check_positive,
    report,
)
from gan_ops.objectives.pairs import distances
from gan_ops.objectives.scores import Scores, score_of, values_of

__all__ = ["Began", "EnergyMargin", "LossSensitive", "Magan", "pulling_away"]


def energy_of(value: Scores | Tensor) -> Tensor:
    """U [N], in float32 or float64."""
    return -score_of(value)


def pulling_away(codes: Tensor) -> Tensor:
    """1/(N(N−1)) Σ_i Σ_{j≠i} cos²(s_i, s_j) of codes s [N, K], or [N, *]: Zhao et al. 2017, eq. 5.

    A scalar between 0, where all codes are orthogonal, and 1, where all are parallel; 0 for a single code. It compares
    all samples of the batch that it is given.
    """
    s = F.normalize(accumulable(codes).flatten(1), dim=1)
    with torch.autocast(s.device.type, enabled=False):
        squares = (s @ s.T).square()  # [N, N]
    pairs = max(len(s) * (len(s) - 1), 1)
    return (squares.sum() - squares.diagonal().sum()) / pairs


@dataclass(frozen=True)
class EnergyMargin(Objective):
    """L_D = E[U(x)] + E[max(0, m − U(G(z)))], L_G = E[U(G(z))] + weight·PT: EBGAN, Zhao et al. 2017, eq. 1, 2 and 5.

    The margin m is in the units of the energy. The paper's is ‖x − D(x)‖₂, with m = 10 for MNIST, 20 for CelebA and 80
    for LSUN, fixed. PT is :func:`pulling_away` of the codes of the generated samples: the last of ``Scores.maps``.

    Attributes:
        margin: m; energies of generated samples are raised up to it.
        pulling_away: weight of PT (the paper's EBGAN-PT: 0.1); 0 needs no codes.
    """

    margin: float = 10.0
    pulling_away: float = 0.1

    def __post_init__(self) -> None:
        check_positive(self, "margin")
        check_not_negative(self, "pulling_away")

    def d(self, real: Scores | Tensor, fake: Scores | Tensor, stats: Stats | None = None) -> Tensor:
        return energy_of(real).mean() + F.relu(self.margin - energy_of(fake)).mean()

    def g(self, fake: Scores | Tensor, real: Scores | Tensor | None = None, stats: Stats | None = None) -> Tensor:
        energy = energy_of(fake).mean()
        if not self.pulling_away:
            return energy
        if isinstance(fake, Tensor) or not fake.maps:
            raise ValueError(f"pulling_away={self.pulling_away} needs the critic's codes, as the last of Scores.maps")
        term = pulling_away(fake.maps[-1])
        report(stats, pulling_away=term)
        return energy + self.pulling_away * term


@dataclass(eq=False)
class Magan(Objective, nn.Module):
    """L_D = E[U(x)] + E[max(0, m − U(G(z)))], L_G = E[U(G(z))], with a margin m that falls: Wang et al. 2017, alg. 1.

    For ``pretraining`` epochs the critic learns on real samples alone, L_D = E[U(x)], and G waits, L_G = 0·E[U(G(z))].
    Then m is the mean energy of real samples over the last of them. After each later epoch but the first, m becomes the
    epoch's mean energy of real samples, if that is below m and below the mean energy of G's samples, and these have not
    fallen since the epoch before. Means are over steps; those of G's samples over G's own. Energies must not be
    negative.

    Adam goes on counting while G waits, with gradients of 0: forget its state when the pretraining ends, or G's first
    updates are up to 1/√(1 − β₂) times too long.

    Attributes:
        epoch: steps in an epoch.
        pretraining: epochs of it (the authors' code: 2, and the mean energy of one more, without learning).
    """

    epoch: int = 1000
    pretraining: int = 2

    def __post_init__(self) -> None:
        super().__init__()
        check_count(self, "epoch", "pretraining")
        self.register_buffer("step", torch.tensor(0))
        for name in ("margin", "real_sum", "fake_sum", "last_fake"):
            self.register_buffer(name, torch.tensor(0.0))

    @property
    def playing(self) -> Tensor:
        """1.0 from the end of the pretraining on, 0.0 before."""
        return (self.step >= self.epoch * self.pretraining).float()

    def d(self, real: Scores | Tensor, fake: Scores | Tensor, stats: Stats | None = None) -> Tensor:
        energy = energy_of(real).mean()
        report(stats, real_energy=energy, margin=self.margin.clone())
        return energy + self.playing * F.relu(self.margin - energy_of(fake)).mean()

    def g(self, fake: Scores | Tensor, real: Scores | Tensor | None = None, stats: Stats | None = None) -> Tensor:
        energy = energy_of(fake).mean()
        report(stats, fake_energy=energy)
        return self.playing * energy

    def after(self, stats: Stats) -> None:
        self.step += 1
        self.real_sum += stats["real_energy"]
        self.fake_sum += stats["fake_energy"]
        real, fake, past = self.real_sum / self.epoch, self.fake_sum / self.epoch, self.step // self.epoch
        ends = self.step % self.epoch == 0
        starts = ends & (past == self.pretraining)
        falls = ends & (past > self.pretraining + 1)  # there is an epoch of G before
        falls = falls & (real < self.margin) & (real < fake) & (self.last_fake <= fake)
        self.margin.copy_(torch.where(starts | falls, real, self.margin))
        self.last_fake.copy_(torch.where(ends, fake, self.last_fake))
        self.real_sum.mul_(~ends)
        self.fake_sum.mul_(~ends)


@dataclass(eq=False)
class Began(Objective, nn.Module):
    """L_D = E[U(x)] − k·E[U(G(z))], L_G = E[U(G(z))], k ← clip(k + rate·(γ·E[U(x)] − E[U(G(z))]), 0, 1) from k = 0.

    Berthelot et al. 2017, section 3.4; k moves by the fakes of G's step. The paper's energy is the mean of |x − D(x)|.
    Reports the energies, and k and the measure M = E[U(x)] + |γ·E[U(x)] − E[U(G(z))]| of the step before (section
    3.4.1; 0 in the first): it falls while training converges.

    Attributes:
        gamma: the ratio of energies E[U(G(z))]/E[U(x)] that k keeps: the higher, the more varied are the samples, the
            lower, the cleaner (the paper's: 0.3 to 0.7).
        rate: by which k moves, λ_k.
    """

    gamma: float = 0.5
    rate: float = 0.001

    def __post_init__(self) -> None:
        super().__init__()
        check_positive(self, "gamma", "rate")
        self.register_buffer("k", torch.tensor(0.0))
        self.register_buffer("convergence", torch.tensor(0.0))

    def d(self, real: Scores | Tensor, fake: Scores | Tensor, stats: Stats | None = None) -> Tensor:
        energy = energy_of(real).mean()
        report(stats, real_energy=energy, k=self.k.clone(), convergence=self.convergence.clone())
        return energy - self.k * energy_of(fake).mean()

    def g(self, fake: Scores | Tensor, real: Scores | Tensor | None = None, stats: Stats | None = None) -> Tensor:
        energy = energy_of(fake).mean()
        report(stats, fake_energy=energy)
        return energy

    def after(self, stats: Stats) -> None:
        balance = self.gamma * stats["real_energy"] - stats["fake_energy"]
        self.convergence.copy_(stats["real_energy"] + balance.abs())
        self.k.add_(self.rate * balance).clamp_(0, 1)


@dataclass(frozen=True)
class LossSensitive(Objective):
    """Energies of real samples lie below those of generated ones by a margin Δ = distance·‖x − G(z)‖₁ (Qi 2020).

    The norm is a sum over all values of a sample, the n-th real sample paired with the n-th generated one, as in the
    author's code (whose distance is 0.0002 at 64×64); Δ is a constant. Samples come as ``Scores.x``. L_G = E[U(G(z))].

    - "paper": L_D = E[U(x)] + weight·E[max(0, Δ + U(x) − U(G(z)))], eq. 5. It asks for energies that are not negative:
      otherwise its first term falls for ever.
    - "generalized": L_D = E[C(Δ + U(x) − U(G(z)))], C(a) = max(a, slope·a), appendix D and the author's later code. Of
      slope 0 it is the hinge alone, of slope 1 the loss of Wasserstein GANs, of slope −1 E|Δ + U(x) − U(G(z))|. It has
      no weight.

    Something should keep the critic Lipschitz.
    """

    form: Literal["paper", "generalized"] = "paper"
    weight: float = 1.0
    distance: float = 0.0002
    slope: float = 0.2
    shown = True

    def __post_init__(self) -> None:
        check_not_negative(self, "weight", "distance")
        check_named(self, "form", ("paper", "generalized"))
        if not -1 <= self.slope <= 1:
            raise ValueError(f"slope={self.slope} is not between -1 and 1")

    def d(self, real: Scores, fake: Scores, stats: Stats | None = None) -> Tensor:
        margin = self.distance * distances(values_of(real), values_of(fake), "l1")  # [N]
        energy = energy_of(real)
        above = margin + energy - energy_of(fake)  # [N]
        report(stats, margin=margin.mean())
        if self.form == "paper":
            return energy.mean() + self.weight * F.relu(above).mean()
        return F.leaky_relu(above, self.slope).mean()

    def g(self, fake: Scores | Tensor, real: Scores | Tensor | None = None, stats: Stats | None = None) -> Tensor:
        return energy_of(fake).mean()
