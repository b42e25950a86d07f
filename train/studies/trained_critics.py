"""The ways to train a critic for an objective, by what the objective asks of expectations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from gan_ops.objectives import Objective, Scores, gradient_normalized, gradient_of
from train.studies.normals import Pair
from train.studies.optimal_critics import (
    Critic,
    Last,
    compressed,
    expected,
    expected_of_pairs,
    expected_penalty,
    minimise,
)

POINTS = 300
"""Of the grid of expectations with weights."""
PAIRED = 150
"""Of the grid whose points are all paired with each other."""
QUANTILES = 256
"""Of p, and of q, for objectives that compare samples: points of equal weight."""
COMPARED = 2048
"""Quantiles of p, and of q, where there is nothing to train."""


class Trained(NamedTuple):
    """A critic at its optimum, as its objective sees it."""

    objective: Objective
    loss: float  # L_D without penalties
    penalty: float  # what the objective's penalties add to it
    scores: Tensor  # [N], of points with
    p: Tensor  # [N] probabilities of real samples, and
    q: Tensor  # [N] of generated ones
    stats: dict[str, Tensor]  # what the objective reports


class Way(Protocol):
    """Trains a critic for an objective on a pair; ``compress``: with gradients of the logarithm of −L_D."""

    def __call__(self, objective: Objective, pair: Pair, compress: bool) -> Trained: ...


@dataclass(frozen=True)
class Alone:
    """Of objectives that judge each sample alone, with weighted points; penalties "between" have the density of x̂.

    Attributes:
        last, in_pieces: see :class:`Critic`.
        normalised: the form of gradient normalisation, of GN-GAN or GraN-GAN, that the critic has, if it has one.
        first: objectives that the critic, not normalised, is trained for before, where it would not find its way.
        adam, lbfgs: steps.
    """

    last: Last = "linear"
    in_pieces: bool = False
    normalised: str = ""
    first: tuple[Objective, ...] = ()
    adam: int = 150
    lbfgs: int = 100
    lr: float = 5e-3

    def __call__(self, objective: Objective, pair: Pair, compress: bool) -> Trained:
        grid, (p, q) = pair.grid(POINTS)[:, None], pair.weights(POINTS)
        u = pair.between.density(grid[:, 0])
        u = u / u.sum()
        critic = Critic(pair, last=self.last, in_pieces=self.in_pieces)

        def parts(objective: Objective, normalised: str) -> tuple[Tensor, Tensor, Tensor]:
            """The scores [N], the loss and the penalties."""
            if not (objective.penalties or normalised):
                scores = critic(grid)
                return scores, expected(objective, scores, p, q), torch.zeros(())
            points = grid.detach().requires_grad_()
            scores = critic(points)
            gradient = gradient_of(scores, points)
            if normalised:
                scores = gradient_normalized(scores, gradient, normalised)
            penalty = sum((expected_penalty(each, gradient, u) for each in objective.penalties), start=torch.zeros(()))
            return scores, expected(objective, scores, p, q), penalty

        def total(objective: Objective, normalised: str = "") -> Tensor:
            _, loss, penalty = parts(objective, normalised)
            return -compressed(-loss - penalty) if compress else loss + penalty

        for first in self.first:
            minimise(critic.parameters(), partial(total, first))
        minimise(
            critic.parameters(), lambda: total(objective, self.normalised), adam=self.adam, lbfgs=self.lbfgs, lr=self.lr
        )
        found, loss, penalty = (part.detach() for part in parts(objective, self.normalised))
        return Trained(objective, float(loss), float(penalty), found, p, q, {})


def paired(objective: Objective, pair: Pair, compress: bool) -> Trained:
    """Of objectives of pairs of a real and a generated sample, independent ones."""
    x, (p, q) = pair.grid(PAIRED)[:, None], pair.weights(PAIRED)
    weights = p[:, None] * q
    weights = torch.where(weights > 1e-15, weights, 0.0)
    weights = weights / weights.sum()
    critic = Critic(pair)
    minimise(critic.parameters(), lambda: expected_of_pairs(objective, critic(x), x, weights))
    found = critic(x).detach()
    return Trained(objective, float(expected_of_pairs(objective, found, x, weights)), 0.0, found, p, q, {})


def together(objective: Objective, pair: Pair, compress: bool) -> Trained:
    """Of objectives that see batches, with points of equal weight: quantiles of p and of q."""
    x, y = (pair.quantiles(side, QUANTILES)[:, None] for side in (pair.p, pair.q))
    both, critic, stats = torch.cat([x, y]), Critic(pair), {}

    def loss() -> Tensor:
        of_x, of_y = critic(both).split(QUANTILES)
        return objective.d(Scores(of_x, x=x), Scores(of_y, x=y), stats)

    minimise(critic.parameters(), loss, adam=300, after=lambda: objective.after(stats))
    final = float(loss().detach())
    p = torch.cat([torch.ones_like(x), torch.zeros_like(y)])[:, 0] / QUANTILES
    return Trained(objective, final, 0.0, critic(both).detach(), p, p.flip(0), stats)


def untrained(objective: Objective, pair: Pair, compress: bool) -> Trained:
    """Of objectives that bring their own optimum along: the points themselves are what the critic would give."""
    x, y = (pair.quantiles(side, COMPARED) for side in (pair.p, pair.q))
    empty = x.new_zeros(0)
    return Trained(objective, float(objective.d(x[:, None], y[:, None])), 0.0, empty, empty, empty, {})
