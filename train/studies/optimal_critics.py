"""Critics of points on a line, trained until they are at their optimum, with expectations by quadrature.

An objective takes batches whose samples have equal weight. So there are two ways to expectations. The loss of an
objective that judges each sample alone is a sum over samples, which :func:`expected` takes with any weights. Other
objectives get quantiles, points of equal weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from gan_ops.objectives import Objective, Penalty, Scores
from train.studies.normals import Pair

Last = Literal["linear", "sinh", "tanh"]
LASTS: dict[Last, Callable[[Tensor], Tensor]] = {"linear": lambda s: s, "sinh": torch.sinh, "tanh": torch.tanh}

WIDTH = 128
TOLERANCE = 1e-8
"""L-BFGS ends where a step changes the loss by less."""


class Critic(nn.Module):
    """Points [N, 1] → scores [N], float64: 1 → 128 → 128 → 1.

    Args:
        last: what follows the last layer: sinh for scores that must reach over many powers of ten, tanh for those that
            must jump.
        in_pieces: whether it is linear in pieces (ReLU instead of tanh).
    """

    def __init__(self, pair: Pair, *, last: Last = "linear", in_pieces: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            activation = nn.ReLU if in_pieces else nn.Tanh
            self.layers = nn.Sequential(
                nn.Linear(1, WIDTH), activation(), nn.Linear(WIDTH, WIDTH), activation(), nn.Linear(WIDTH, 1)
            ).double()
        x = pair.grid(1000)
        mass = sum(pair.weights(1000)) / 2
        self.centre = x @ mass
        self.scale = ((x - self.centre).square() @ mass).sqrt()  # inputs have unit variance under (p + q)/2
        self.last = LASTS[last]

    def forward(self, points: Tensor) -> Tensor:
        return self.last(self.layers((points - self.centre) / self.scale)[:, 0])


def expected(objective: Objective, scores: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """L_D where samples with these scores [N] have probabilities p and q [N], real and generated, that sum to 1.

    The objective judges each sample alone: L_D = E_p[a(s)] + E_q[b(s)]. So L_D(s, 0) = a(s) + b(0).
    """
    zero = scores.new_zeros(1)
    of_real = torch.vmap(lambda score: objective.d(score[None], zero))(scores)  # [N]
    of_fake = torch.vmap(lambda score: objective.d(zero, score[None]))(scores)
    return of_real @ p + of_fake @ q - objective.d(zero, zero)


def expected_penalty(penalty: Penalty, gradient: Tensor, u: Tensor) -> Tensor:
    """The penalty of gradients [N, 1] at points of probabilities u [N], which sum to 1."""
    return torch.vmap(lambda one: penalty.loss(one[None]))(gradient) @ u


def expected_of_pairs(objective: Objective, scores: Tensor, x: Tensor, weights: Tensor) -> Tensor:
    """L_D where the pair of a real sample x_i and a generated sample x_j, of N points x [N, 1], has the probability
    weights_ij [N, N]; they sum to 1. The objective is a mean over pairs."""
    i, j = (weights > 0).nonzero(as_tuple=True)  # [M] each

    def of_one(real: Tensor, fake: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return objective.d(Scores(real[None], x=x[None]), Scores(fake[None], x=y[None]))

    return torch.vmap(of_one)(scores[i], scores[j], x[i], x[j]) @ weights[i, j]


def compressed(value: Tensor) -> Tensor:
    """sign(v)·log(1 + |v|): it has its maximum where v has, and values of many powers of ten have gradients alike."""
    return value.sign() * value.abs().log1p()


def minimise(
    parameters: Iterable[nn.Parameter],
    loss: Callable[[], Tensor],
    *,
    adam: int = 150,
    lbfgs: int = 100,
    lr: float = 5e-3,
    after: Callable[[], object] | None = None,
) -> None:
    """Moves the parameters to a minimum: steps of Adam with a falling rate, then of L-BFGS with a line search.

    Args:
        after: called after each of Adam's steps.
    """
    parameters = list(parameters)
    optimizer = torch.optim.Adam(parameters, lr=lr, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(adam, 1))

    def gradients() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    for _ in range(adam):
        gradients()
        optimizer.step()
        schedule.step()
        if after:
            after()
    if lbfgs:
        torch.optim.LBFGS(
            parameters, max_iter=lbfgs, history_size=50, line_search_fn="strong_wolfe", tolerance_change=TOLERANCE
        ).step(gradients)
